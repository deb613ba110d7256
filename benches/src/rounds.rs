//! The whole benchmark: every scenario against every server it compares, in turn, several times.
//!
//! Servers take turns within a round, so that whatever else the machine does meets them alike; each run has a fresh
//! server on the first core and the clients on the second. What is compared are medians over the rounds.

pub mod server;
pub mod table;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use starling_load::report::Report;

use crate::load::Load;
use server::{Server, ServerKind};

/// One row of the benchmark: a scenario, who takes part, and what Starling is to reach.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Name in the table and on the command line.
    pub name: &'static str,
    /// What the clients do.
    pub scenario: Load,
    /// Options for the clients beside the usual ones.
    pub options: &'static [&'static str],
    /// Whether it is spoken over TLS.
    pub tls: bool,
    /// Whether it runs only when it is asked for by name.
    pub on_request: bool,
    /// The servers, in the order in which they take turns.
    pub servers: &'static [ServerKind],
    /// What Starling is to reach.
    pub goal: Goal,
}

/// What Starling is to reach.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At most this processor time per operation, as a ratio to the bare loop.
    Ratio(f64),
    /// At most this many bytes per connection, of which nine tenths return within a minute.
    Bytes(f64),
    /// At most this p99 latency with a stalled member, as a ratio to that without.
    Stall(f64),
}

impl Row {
    /// Every server in turn, plain.
    const fn new(name: &'static str, scenario: Load, servers: &'static [ServerKind], goal: Goal) -> Self {
        Self { name, scenario, options: &[], tls: false, on_request: false, servers, goal }
    }

    const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    const fn on_request(self) -> Self {
        Self { on_request: true, ..self }
    }

    const fn encrypted(self) -> Self {
        Self { tls: true, ..self }
    }
}

const PAIR: &[ServerKind] = &[ServerKind::Limit, ServerKind::Starling];
const THREE: &[ServerKind] = &[ServerKind::Limit, ServerKind::Starling, ServerKind::LimitBatch];
const ALONE: &[ServerKind] = &[ServerKind::Starling];

/// All rows.
pub const ROWS: &[Row] = &[
    Row::new("fanout-rate", Load::FanoutRate, PAIR, Goal::Ratio(1.15)),
    Row::new("fanout", Load::Fanout, THREE, Goal::Ratio(0.40)),
    Row::new("fanout10k", Load::Fanout10k, THREE, Goal::Ratio(1.1)),
    Row::new("rooms", Load::Rooms, THREE, Goal::Ratio(1.1)),
    Row::new("echo", Load::Echo, PAIR, Goal::Ratio(1.3)),
    Row::new("connect", Load::Connect, PAIR, Goal::Ratio(1.4)),
    Row::new("idle", Load::Idle, ALONE, Goal::Bytes(2048.0)),
    Row::new("idle-sse", Load::Idle, ALONE, Goal::Bytes(2048.0)).with(&["--transport", "sse"]).on_request(),
    Row::new("idle-tls", Load::Idle, ALONE, Goal::Bytes(10240.0)).with(&["--connections", "5000"]).encrypted(),
    Row::new("stall", Load::Stall, ALONE, Goal::Stall(1.2)),
];

/// How thoroughly to measure, and with which programs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of `limit` and `load`.
    pub programs: PathBuf,
    /// The binary `starling`; without one, only the bare loops run.
    pub starling: Option<PathBuf>,
    /// Runs of each server in each scenario.
    pub rounds: usize,
    /// Time before measuring.
    pub warmup: Duration,
    /// Time of measuring.
    pub window: Duration,
    /// How long memory is watched after idle connections have left.
    pub watch: Duration,
    /// Whether the clients never sleep.
    pub spin: bool,
}

/// The reports of one row, by server, in the order of the rounds.
#[derive(Debug)]
pub struct Outcome {
    /// The row.
    pub row: Row,
    /// What was measured.
    pub reports: Vec<(ServerKind, Report)>,
    /// The runs that failed, and why.
    pub failures: Vec<String>,
}

/// Runs one row; failed runs are noted, not fatal.
///
/// Memory and the latencies of a stalled member are measured once: the first in one long run, the second over several
/// windows within one run.
pub fn measure(row: Row, settings: &Settings) -> Outcome {
    let rounds = match row.goal {
        Goal::Ratio(_) => settings.rounds,
        Goal::Bytes(_) | Goal::Stall(_) => 1,
    };
    let mut outcome = Outcome { row, reports: Vec::new(), failures: Vec::new() };
    for round in 1..=rounds {
        for &kind in row.servers {
            if kind == ServerKind::Starling && settings.starling.is_none() {
                continue;
            }
            match run(row, kind, settings) {
                Ok(report) => {
                    eprintln!("[{round}/{rounds}] {}: {}", kind.name(), report);
                    outcome.reports.push((kind, report));
                }
                Err(error) => {
                    eprintln!("[{round}/{rounds}] {}: {}: {error:#}", kind.name(), row.name);
                    outcome.failures.push(format!("{} in {}: {error:#}", kind.name(), row.name));
                }
            }
        }
    }
    outcome
}

fn run(row: Row, kind: ServerKind, settings: &Settings) -> Result<Report> {
    let server = Server::start(kind, row.tls, settings)?;
    let seconds = |duration: Duration| duration.as_secs_f64().to_string();
    let output = pinned(1, &settings.programs.join("load"))
        .arg(row.scenario.name())
        .args(["--server", &server.address.to_string(), "--server-pid", &server.pid().to_string(), "--json"])
        .args(["--warmup", &seconds(settings.warmup), "--window", &seconds(settings.window)])
        .args(["--watch", &seconds(settings.watch)])
        .args(row.options)
        .args(settings.spin.then_some("--spin"))
        .args(server.certificate.iter().flat_map(|path| [OsStr::new("--tls-certificate"), path.as_os_str()]))
        .stderr(Stdio::piped())
        .output()
        .context("failed to run load")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}; the server's log is {}", errors.trim(), server.log.display());
    let mut report: Report = serde_json::from_slice(&output.stdout).context("failed to read the report")?;
    report.scenario = row.name.to_owned();
    Ok(report)
}

/// A command for `program`, bound to the core with this number where the machine has one.
fn pinned(core: usize, program: &Path) -> Command {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > core) {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program);
        return command;
    }
    Command::new(program)
}
