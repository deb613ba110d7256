//! The binary `starling`: configuration, commands, signals, logs.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backend;
mod bench;
mod check;
mod config;
mod credentials;
mod engines;
mod failure;
mod init;
mod logs;
mod publish;
mod serve;
mod settings;
mod subscribe;
mod token;
mod top;

/// Gives memory back after clients leave; see `.cargo/config.toml` for how soon.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Realtime messaging server: WebSocket, SSE, long-polling, Socket.IO, Phoenix and Pusher on one set of channels.
#[derive(Debug, Parser)]
#[command(name = "starling", version, after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: logs::LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Token(token::TokenArgs),
    Publish(publish::PublishArgs),
    Subscribe(subscribe::SubscribeArgs),
    Bench(bench::BenchArgs),
    Top(top::TopArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody may be there to read it; the exit code tells, too.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), failure::Failure> {
    cli.logs.init(if matches!(cli.command, Command::Serve(_)) { "info" } else { "off" })?;
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Init(args) => init::run(args),
        Command::Check(args) => check::run(args),
        Command::Token(args) => token::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Top(args) => top::run(args),
    }
}
