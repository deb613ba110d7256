//! Messages to the members of one channel, or of many.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Meter, Pace, Plan, Stretch, publishes::Publishes};
use crate::{
    fleet::Fleet,
    report::{Latency, Memory, Report},
    watch::{Stage, Watch},
};

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a run that failed goes on, to tell a server that is gone from one that ended a connection.
const MOMENT: Duration = Duration::from_secs(1);

/// Publishes to the members of [`Plan::channels`].
pub(super) fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let before = plan.memory()?;
    let mut publishes = Publishes::open(&mut fleet, plan, watch, plan.channel_names())?;
    let mut report = Report { operation: "deliveries".to_owned(), ..Report::default() };

    drive(&mut fleet, &mut publishes, watch, plan.pace, Stretch::new(Stage::WarmingUp, plan.warmup))?;
    publishes.latencies = Default::default();
    let (delivered, published) = (publishes.deliveries, publishes.published);
    let meter = Meter::start(plan.server_pid)?;
    drive(&mut fleet, &mut publishes, watch, plan.pace, Stretch::new(Stage::Measuring, plan.window))?;
    meter.stop(&mut report, publishes.deliveries - delivered)?;
    report.published = publishes.published - published;
    report.latency = Some(Latency::of(&publishes.latencies));
    if let (Some(before), Ok(Some(now))) = (before, plan.memory()) {
        report.memory = Some(Memory::new(before, now, plan.connections));
    }

    settle(&mut fleet, &mut publishes, watch)?;
    publishes.conclude(&mut report);
    Ok(report)
}

/// Publishes at `pace` for a stretch, or until the run cannot go on.
pub(super) fn drive(
    fleet: &mut Fleet,
    publishes: &mut Publishes<'_>,
    watch: &mut dyn Watch,
    pace: Pace,
    stretch: Stretch,
) -> Result<()> {
    let mut due = Instant::now();
    let mut glance = Instant::now();
    let mut left = stretch.left(watch);
    while let Some(most) = left
        && publishes.failure.is_none()
    {
        let now = Instant::now();
        let timeout = match pace {
            Pace::PerSecond(rate) => {
                while due <= now {
                    publishes.publish(fleet, due)?;
                    due += Duration::from_secs_f64(1.0 / rate);
                }
                most.min(due - now)
            }
            Pace::InFlight(wanted) => {
                while publishes.in_flight < wanted {
                    publishes.publish(fleet, now)?;
                }
                most
            }
        };
        fleet.turn(Some(timeout), |id, event| publishes.on_event(id, event))?;
        // The watch is told ten times a second, and time is looked at in every turn.
        let now = Instant::now();
        if now >= glance || now >= stretch.start + stretch.length {
            glance = now + Duration::from_millis(100);
            publishes.write_off();
            left = stretch.left(watch);
        }
    }
    Ok(())
}

/// Waits for what is on its way; after a failure only a moment, for what else the server ends.
pub(super) fn settle(fleet: &mut Fleet, publishes: &mut Publishes<'_>, watch: &mut dyn Watch) -> Result<()> {
    let failed = publishes.failure.is_some();
    let end = Instant::now() + if failed { MOMENT } else { PATIENCE };
    let waiting = publishes.in_flight as u64;
    while (failed || publishes.in_flight > 0) && Instant::now() < end && !publishes.all_are_lost() {
        watch.see(Stage::Settling, waiting - (publishes.in_flight as u64).min(waiting), waiting);
        fleet.turn(Some(Duration::from_millis(50)), |id, event| publishes.on_event(id, event))?;
    }
    Ok(())
}
