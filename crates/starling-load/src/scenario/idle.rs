//! What a connection costs that does nothing, and what remains of it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Plan, Stretch};
use crate::{
    fleet::{Event, Fleet},
    process::resident,
    report::{Memory, Problems, Report},
    target::Protocol,
    watch::{Stage, Watch},
};

/// Connections that come and go beforehand, so that what the server sets up once is not counted.
const FIRST: usize = 100;

/// Opens, waits, measures, closes, and watches the memory until nine tenths are back, at most for [`Plan::watch`].
pub(super) fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let names = plan.channel_names();
    let joins = |count: usize| (0..count).map(|index| Some(names[index % names.len()].as_str()));
    let mut rest = Rest::default();

    if plan.server_pid.is_some() {
        fleet.open_all(watch, joins(FIRST.min(plan.connections)))?;
        leave(&mut fleet, plan.identity.protocol)?;
        rest.wait(&mut fleet, watch, Stretch::new(Stage::WarmingUp, plan.warmup))?;
    }
    let before = plan.memory()?;
    let opening = Instant::now();
    fleet.open_all(watch, joins(plan.connections))?;
    let opened = opening.elapsed();
    let mut report = Report {
        operation: "connections".to_owned(),
        connections: fleet.len(),
        channels: names.len().min(fleet.len()),
        ..Report::default()
    };
    let meter = super::Meter::start(plan.server_pid)?;
    rest.wait(&mut fleet, watch, Stretch::new(Stage::Measuring, plan.window))?;
    meter.stop(&mut report, fleet.len() as u64)?;
    // Connections that are held are no operations: what counts a second is how fast they came.
    report.rate = fleet.len() as f64 / opened.as_secs_f64();
    report.set_idle_cpu();

    if let (Some(pid), Some(before), Ok(Some(idle))) = (plan.server_pid, before, plan.memory()) {
        let mut memory = Memory::new(before, idle, plan.connections);
        leave(&mut fleet, plan.identity.protocol)?;
        observe(pid, plan.watch, &mut memory)?;
        report.memory = Some(memory);
    } else {
        leave(&mut fleet, plan.identity.protocol)?;
    }
    report.faults.errors = rest.errors;
    report.failure = rest.failure;
    report.problems = rest.problems.into_list();
    Ok(report)
}

/// Watches what the server gives back.
fn observe(pid: u32, patience: Duration, memory: &mut Memory) -> Result<()> {
    let left = Instant::now();
    while left.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(500));
        let after = resident(pid)?;
        let grown = memory.idle_bytes.saturating_sub(memory.before_bytes).max(1) as f64;
        let returned = memory.idle_bytes.saturating_sub(after) as f64 / grown;
        memory.after_bytes = Some(after);
        memory.returned = Some(returned);
        if returned >= 0.9 {
            memory.seconds_to_nine_tenths = Some(left.elapsed().as_secs_f64());
            break;
        }
    }
    Ok(())
}

/// Closes all connections; streams just end, as when a browser's tab is closed.
fn leave(fleet: &mut Fleet, protocol: Protocol) -> Result<()> {
    let patience = match protocol {
        Protocol::Sse => Duration::ZERO,
        _ => Duration::from_secs(20),
    };
    fleet.close_all(patience)
}

#[derive(Default)]
struct Rest {
    errors: u64,
    problems: Problems,
    failure: Option<String>,
}

impl Rest {
    /// Answers pings for a while; nothing else should come.
    fn wait(&mut self, fleet: &mut Fleet, watch: &mut dyn Watch, stretch: Stretch) -> Result<()> {
        let had = fleet.len();
        while let Some(left) = stretch.left(watch)
            && self.failure.is_none()
        {
            let mut last = None;
            fleet.turn(Some(left), |_, event| {
                let text = match event {
                    Event::Problem(text) => text.to_owned(),
                    Event::Closed(reason) => format!("connection lost: {}", reason.unwrap_or("closed without a word")),
                    Event::Message(..) => "a message that nobody published".to_owned(),
                    Event::Ready | Event::Answer(_) => return,
                };
                self.errors += 1;
                self.problems.note(&text);
                last = Some(text);
            })?;
            if had > 0 && fleet.is_empty() {
                self.failure =
                    Some(format!("the server ended all connections; the last: {}", last.unwrap_or_default()));
            }
        }
        Ok(())
    }
}
