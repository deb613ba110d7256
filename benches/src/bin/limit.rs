//! The bare loop that servers are compared with; see `docs/performance.md`.

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;
use starling_bench::bare::{Bare, Flush};
use starling_load::process;

/// Serves the few messages that the benchmarks need, with one bare send per member.
#[derive(Debug, Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Send what one turn of the loop published to a channel together.
    #[arg(long)]
    batch: bool,
}

fn main() -> ExitCode {
    starling_bench::exit_code(run(Options::parse()))
}

fn run(options: Options) -> anyhow::Result<()> {
    process::raise_descriptor_limit()?;
    let flush = if options.batch { Flush::EachTurn } else { Flush::EachMessage };
    Bare::listen(options.listen, flush)?.run()?;
    Ok(())
}
