//! Connections that come, subscribe, and go.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Meter, Plan};
use crate::{
    fleet::{Event, Fleet},
    report::Report,
    tally::Faults,
};

/// Connections that exist at a time.
const AT_ONCE: usize = 32;

#[derive(Default)]
struct Comings {
    completed: u64,
    faults: Faults,
    /// Opened so far, for the names of channels.
    opened: usize,
}

/// Measures the whole life of a short connection.
pub(super) fn run(plan: &Plan) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let at_once = plan.connections.unwrap_or(AT_ONCE);
    let mut report = Report { connections: at_once, ..Report::default() };
    let mut comings = Comings::default();

    comings.drive(&mut fleet, plan, at_once, plan.warmup)?;
    let before = comings.completed;
    let meter = Meter::start(plan.server_pid)?;
    comings.drive(&mut fleet, plan, at_once, plan.window)?;
    meter.stop(&mut report, comings.completed - before)?;

    fleet.close_all(Duration::from_secs(5))?;
    report.faults = comings.faults;
    Ok(report)
}

impl Comings {
    fn drive(&mut self, fleet: &mut Fleet, plan: &Plan, at_once: usize, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        let mut ready = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            while fleet.len() < at_once && fleet.may_open() {
                let channel = format!("connect-{:03}", self.opened % 1000);
                self.opened += 1;
                fleet.open(plan.transport, Some(&channel))?;
            }
            fleet.turn(Some(left), |id, event| match event {
                Event::Ready => ready.push(id),
                Event::Closed => self.completed += 1,
                Event::Text(_) => self.faults.errors += 1,
            })?;
            ready.drain(..).for_each(|id| fleet.close(id));
        }
        Ok(())
    }
}
