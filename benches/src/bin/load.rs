//! The clients of the benchmarks; see `docs/performance.md`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use rustls::pki_types::ServerName;
use starling_bench::{
    load::{Load, Transport},
    rounds::server::{APP_KEY, APP_SECRET},
    tls,
};
use starling_load::{
    process,
    scenario::Pace,
    target::{App, Target, Tls, trust},
    watch::Unwatched,
};

/// Loads a server that speaks the native protocol, checks what it delivers, and measures what that costs.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure.
    scenario: Load,
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:8090")]
    server: SocketAddr,
    /// Process id of the server, to measure its processor time and memory.
    #[arg(long)]
    server_pid: Option<u32>,
    /// What members speak.
    #[arg(long, default_value = "websocket")]
    transport: Transport,
    /// Key of the app that publishes for event streams, as `benches/run` configures it; dev-key for `--dev`.
    #[arg(long, default_value = APP_KEY)]
    key: String,
    /// Secret of the same app; dev-secret for `--dev`.
    #[arg(long, default_value = APP_SECRET)]
    secret: String,
    /// Speak TLS and trust this certificate (PEM, for `localhost`).
    #[arg(long)]
    tls_certificate: Option<PathBuf>,
    /// Never sleep: what waking the clients costs the server depends on how busy they are.
    #[arg(long)]
    spin: bool,
    /// Seconds before measuring; `idle` has its own.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds of measuring; `idle` has its own.
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Connections, instead of the scenario's own number.
    #[arg(long)]
    connections: Option<usize>,
    /// Publishes on their way, instead of the scenario's own pace.
    #[arg(long)]
    in_flight: Option<usize>,
    /// Publishes a second, instead of the scenario's own pace.
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
    let mut target = Target::plain(options.server);
    if let Some(certificate) = &options.tls_certificate {
        target.tls = Some(Tls { config: trust(Some(certificate))?, name: ServerName::try_from(tls::NAME)? });
    }
    let app = App { id: "1".to_owned(), key: options.key, secret: options.secret };
    let mut plan = options.scenario.plan(target, options.transport, app);
    plan.server_pid = options.server_pid;
    plan.spins = options.spin;
    plan.payload = options.payload;
    // Memory comes to rest in its own time.
    if options.scenario != Load::Idle {
        plan.warmup = Duration::from_secs_f64(options.warmup);
        plan.window = Duration::from_secs_f64(options.window);
    }
    plan.watch = Duration::from_secs_f64(options.watch);
    plan.connections = options.connections.unwrap_or(plan.connections);
    plan.pace = match (options.rate, options.in_flight) {
        (Some(rate), _) => Pace::PerSecond(rate.into()),
        (None, Some(most)) => Pace::InFlight(most),
        (None, None) => plan.pace,
    };
    let mut report = options.scenario.scenario().run(&plan, &mut Unwatched)?;
    report.scenario = options.scenario.name();
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    anyhow::ensure!(report.failure.is_none(), report.failure.unwrap_or_default());
    Ok(())
}
