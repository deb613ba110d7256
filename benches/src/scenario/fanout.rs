//! Messages to the members of one channel, or of many.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Meter, Plan, publishes::Publishes};
use crate::{
    fleet::Fleet,
    report::{Latency, Report},
};

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// When the next message is published.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// So many times a second.
    PerSecond(u32),
    /// As soon as fewer than so many are on their way.
    InFlight(usize),
}

/// Publishes to `channels` channels with `members` members in all.
pub(super) fn run(plan: &Plan, channels: usize, members: usize, pace: Pace) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let names = (0..channels).map(|channel| format!("bench-{channel:04}")).collect();
    let mut publishes = Publishes::open(&mut fleet, plan, names, plan.connections.unwrap_or(members))?;
    let mut report = Report::default();

    drive(&mut fleet, &mut publishes, pace, plan.warmup)?;
    publishes.latencies = Default::default();
    let before = publishes.deliveries;
    let meter = Meter::start(plan.server_pid)?;
    drive(&mut fleet, &mut publishes, pace, plan.window)?;
    meter.stop(&mut report, publishes.deliveries - before)?;
    report.latency = Some(Latency::of(&publishes.latencies));

    settle(&mut fleet, &mut publishes)?;
    publishes.conclude(&mut report);
    Ok(report)
}

/// Publishes at `pace` for `duration`.
pub(super) fn drive(fleet: &mut Fleet, publishes: &mut Publishes, pace: Pace, duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    let mut due = Instant::now();
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        let timeout = match pace {
            Pace::PerSecond(rate) => {
                while due <= now {
                    publishes.publish(fleet);
                    due += Duration::from_secs(1) / rate;
                }
                due.min(end) - now
            }
            Pace::InFlight(most) => {
                while publishes.in_flight < most {
                    publishes.publish(fleet);
                }
                end - now
            }
        };
        fleet.turn(Some(timeout), |id, event| publishes.on_event(id, event))?;
    }
}

/// Waits for what is on its way.
pub(super) fn settle(fleet: &mut Fleet, publishes: &mut Publishes) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while publishes.in_flight > 0 && Instant::now() < end {
        fleet.turn(Some(Duration::from_millis(50)), |id, event| publishes.on_event(id, event))?;
    }
    Ok(())
}
