//! `starling bench`: a load generator for this server, or any other that speaks one of its protocols.
//!
//! The clients are those of `starling-load`; here is what a user asks for, turned into a plan for them, and what is
//! printed. `docs/bench.md` explains scenarios, figures and how to drive other servers.

#[cfg(feature = "tui")]
mod bar;
#[cfg(not(feature = "tui"))]
#[path = "bench/bar_off.rs"]
mod bar;
mod options;
mod plan;
mod spectator;

use starling_load::process;

use crate::failure::Failure;
pub use options::BenchArgs;

/// Descriptors that are needed beside one for each connection.
const SPARE_DESCRIPTORS: u64 = 64;

/// Runs one scenario and prints what it measured.
///
/// # Errors
///
/// A usage failure for options that do not fit together; otherwise why the server could not be measured, after what was
/// measured until then has been printed.
pub fn run(args: BenchArgs) -> Result<(), Failure> {
    let json = args.json;
    let (scenario, plan) = plan::plan(&args)?;
    let descriptors = process::raise_descriptor_limit().map_err(anyhow::Error::from)?;
    if plan.connections as u64 + SPARE_DESCRIPTORS > descriptors {
        let message = format!(
            "{} connections need more file descriptors than this process may have ({descriptors}): raise `ulimit -n`",
            plan.connections
        );
        return Err(Failure::Failed(anyhow::anyhow!(message)));
    }
    let mut spectator = spectator::Spectator::start()?;
    let ran = scenario.run(&plan, &mut spectator);
    spectator.finish();
    let mut report = ran.map_err(|error| error.context(format!("cannot measure {}", args.url)))?;
    report.scenario = args.scenario.name();
    report.protocol = args.protocol.name();
    match json {
        true => println!("{}", serde_json::to_string(&report).map_err(anyhow::Error::from)?),
        false => println!("{report}"),
    }
    if report.problems.iter().any(|problem| problem.text.contains("RATE_LIMITED")) {
        eprintln!(
            "starling: the server limits the messages of a connection: publish less (--rate, --publishers, --publish api), or raise its limits.messages_per_second"
        );
    }
    match report.failure {
        Some(failure) => Err(Failure::Failed(anyhow::anyhow!(failure))),
        None => Ok(()),
    }
}
