//! The clients of the benchmarks; see `docs/performance.md`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use starling_bench::{
    fleet::Transport,
    process,
    scenario::{Plan, Scenario},
    tls,
};

/// Loads a server that speaks the native protocol, checks what it delivers, and measures what that costs.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure.
    scenario: Scenario,
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:8090")]
    server: SocketAddr,
    /// Process id of the server, to measure its processor time and memory.
    #[arg(long)]
    server_pid: Option<u32>,
    /// What members speak.
    #[arg(long, default_value = "websocket")]
    transport: Transport,
    /// Speak TLS and trust this certificate (PEM, for `localhost`).
    #[arg(long)]
    tls_certificate: Option<PathBuf>,
    /// Never sleep: what waking the clients costs the server depends on how busy they are.
    #[arg(long)]
    spin: bool,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Connections, instead of the scenario's own number.
    #[arg(long)]
    connections: Option<usize>,
    /// Publishes on their way, instead of the scenario's own number.
    #[arg(long)]
    in_flight: Option<usize>,
    /// Publishes a second, instead of the scenario's own number.
    #[arg(long)]
    rate: Option<u32>,
    /// Seconds to watch the server's memory after idle connections have left.
    #[arg(long, default_value_t = 60.0)]
    watch: f64,
    /// Print the result as one JSON line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    starling_bench::exit_code(run(Options::parse()))
}

fn run(options: Options) -> anyhow::Result<()> {
    process::raise_descriptor_limit()?;
    let plan = Plan {
        server: options.server,
        server_pid: options.server_pid,
        transport: options.transport,
        tls: options.tls_certificate.as_deref().map(tls::trusting).transpose()?,
        spins: options.spin,
        warmup: Duration::from_secs_f64(options.warmup),
        window: Duration::from_secs_f64(options.window),
        payload: options.payload,
        connections: options.connections,
        in_flight: options.in_flight,
        rate: options.rate,
        watch: Duration::from_secs_f64(options.watch),
    };
    let report = options.scenario.run(&plan)?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
