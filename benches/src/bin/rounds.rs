//! Runs the benchmark and prints its tables; see `docs/performance.md`.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use starling_bench::rounds::{ROWS, Row, Settings, measure, table};

/// Compares Starling with the bare loop in every scenario.
#[derive(Debug, Parser)]
struct Options {
    /// How thorough to be.
    #[arg(default_value = "full")]
    extent: Extent,
    /// Only rows with these names, separated by commas [default: all but idle-sse].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also write the tables to this file.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The server's binary; `none` to measure the bare loops only [default: beside this program].
    #[arg(long)]
    starling: Option<PathBuf>,
    /// Runs of each server in each scenario [default: 3, quick: 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of measuring in each run [default: 4, quick: 2].
    #[arg(long)]
    window: Option<f64>,
    /// Clients that never sleep: steadier figures, without what waking them costs a server.
    #[arg(long)]
    spin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Extent {
    /// Three rounds, less than ten minutes.
    Full,
    /// One short round, less than two minutes: for a first impression, not for a comparison.
    Quick,
}

fn main() -> ExitCode {
    starling_bench::exit_code(run(Options::parse()))
}

fn run(options: Options) -> Result<()> {
    let programs = std::env::current_exe()?.parent().context("the program is in no folder")?.to_owned();
    let starling = match options.starling {
        Some(none) if none.as_os_str() == "none" => None,
        Some(path) => Some(path),
        None => Some(programs.join("starling")),
    };
    let (rounds, warmup, window, watch) = match options.extent {
        Extent::Full => (3, 1.0, 4.0, 60),
        Extent::Quick => (1, 0.5, 2.0, 4),
    };
    let settings = Settings {
        programs,
        starling,
        rounds: options.rounds.unwrap_or(rounds),
        warmup: Duration::from_secs_f64(warmup),
        window: Duration::from_secs_f64(options.window.unwrap_or(window)),
        watch: Duration::from_secs(watch),
        spin: options.spin,
    };
    let known = |name: &&String| ROWS.iter().any(|row| row.name == *name);
    if let Some(unknown) = options.only.iter().find(|name| !known(name)) {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        anyhow::bail!("no row is called `{unknown}`; there are {}", names.join(", "));
    }
    let chosen = |row: &&Row| match options.only.as_slice() {
        [] => !row.on_request,
        only => only.iter().any(|name| name == row.name),
    };
    let outcomes: Vec<_> = ROWS.iter().filter(chosen).map(|&row| measure(row, &settings)).collect();
    let tables = table::markdown(&outcomes);
    println!("{tables}");
    if let Some(path) = options.out {
        fs::write(&path, &tables).with_context(|| format!("failed to write {}", path.display()))?;
    }
    anyhow::ensure!(table::all_met(&outcomes), "not all goals are met");
    Ok(())
}
