//! What a connection costs that does nothing, and what remains of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Plan;
use crate::{
    fleet::{Event, Fleet, Transport},
    process::resident,
    report::{Memory, Report},
    tally::Faults,
};

const CONNECTIONS: usize = 15_000;
const CHANNELS: usize = 1000;
/// How long the server has to come to rest before its memory counts.
const REST: Duration = Duration::from_secs(5);
/// Connections that come and go beforehand, so that what the server sets up once is not counted.
const FIRST: usize = 100;

/// Opens, waits, measures, closes, and watches the memory until nine tenths are back, at most for [`Plan::watch`].
pub(super) fn run(plan: &Plan) -> Result<Report> {
    let pid = plan.server_pid.context("`idle` measures memory and needs --server-pid")?;
    let mut fleet = plan.fleet()?;
    let connections = plan.connections.unwrap_or(CONNECTIONS);
    let mut report = Report { connections, ..Report::default() };
    let names: Vec<String> = (0..CHANNELS).map(|channel| format!("idle-{channel:04}")).collect();
    let joins = |count: usize| (0..count).map(|index| Some(names[index % CHANNELS].as_str()));

    fleet.open_all(plan.transport, joins(FIRST))?;
    leave(&mut fleet, plan.transport)?;
    rest(&mut fleet, REST, &mut report.faults)?;
    let before = resident(pid)?;

    fleet.open_all(plan.transport, joins(connections))?;
    rest(&mut fleet, REST, &mut report.faults)?;
    let idle = resident(pid)?;
    let per_connection = idle.saturating_sub(before) as f64 / connections as f64;
    let mut memory = Memory { before, idle, after: None, per_connection, returned: None, seconds_to_nine_tenths: None };

    leave(&mut fleet, plan.transport)?;
    let left = Instant::now();
    while left.elapsed() < plan.watch {
        std::thread::sleep(Duration::from_millis(500));
        let after = resident(pid)?;
        let returned = idle.saturating_sub(after) as f64 / idle.saturating_sub(before).max(1) as f64;
        memory.after = Some(after);
        memory.returned = Some(returned);
        if returned >= 0.9 {
            memory.seconds_to_nine_tenths = Some(left.elapsed().as_secs_f64());
            break;
        }
    }
    report.memory = Some(memory);
    Ok(report)
}

/// Closes all connections; streams just end, as when a browser's tab is closed.
fn leave(fleet: &mut Fleet, transport: Transport) -> Result<()> {
    let patience = match transport {
        Transport::Websocket => Duration::from_secs(20),
        Transport::Sse => Duration::ZERO,
    };
    fleet.close_all(patience)
}

/// Answers pings for a while; nothing else should come.
fn rest(fleet: &mut Fleet, duration: Duration, faults: &mut Faults) -> Result<()> {
    let end = Instant::now() + duration;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        fleet.turn(Some(left), |_, event| match event {
            Event::Text(_) | Event::Closed => faults.errors += 1,
            Event::Ready => {}
        })?;
    }
    Ok(())
}
