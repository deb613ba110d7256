//! What one member that does not read does to the latency of the others.

use anyhow::{Context as _, Result};

use super::{
    Meter, Plan, Stretch,
    fanout::{drive, settle},
    publishes::Publishes,
};
use crate::{
    fleet::Fleet,
    histogram::Histogram,
    report::{Latency, Report},
    watch::{Stage, Watch},
};

/// Windows with everyone reading, each followed by one with a stalled member.
const ROUNDS: u32 = 7;

/// The last member of [`Plan::channel`] reads in every other window only. A window lasts half as long as in other
/// scenarios.
///
/// Each half has the quantiles of the round in the middle: one hiccup of the machine does not decide.
pub(super) fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let mut publishes = Publishes::open(&mut fleet, plan, watch, vec![plan.channel.clone()])?;
    let stalled = publishes.last_member().context("no members")?;
    publishes.disregarded = Some(stalled);
    let mut report = Report { operation: "deliveries".to_owned(), ..Report::default() };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let warm = |length| Stretch::new(Stage::WarmingUp, length);

    drive(&mut fleet, &mut publishes, watch, plan.pace, warm(plan.warmup))?;
    let before = publishes.deliveries;
    let meter = Meter::start(plan.server_pid)?;
    for _ in 0..ROUNDS {
        without.push(window(&mut fleet, &mut publishes, watch, plan)?);
        fleet.pause(stalled)?;
        // The buffers of the kernel fill up before the server notices.
        drive(&mut fleet, &mut publishes, watch, plan.pace, warm(plan.warmup / 2))?;
        with.push(window(&mut fleet, &mut publishes, watch, plan)?);
        if fleet.resume(stalled).is_ok() {
            drive(&mut fleet, &mut publishes, watch, plan.pace, warm(plan.warmup / 2))?;
        }
    }
    meter.stop(&mut report, publishes.deliveries - before)?;

    settle(&mut fleet, &mut publishes, watch)?;
    publishes.conclude(&mut report);
    report.stall_ratio = Some(median_ratio(&without, &with));
    report.latency = Some(middle(without));
    report.latency_stalled = Some(middle(with));
    Ok(report)
}

fn window(fleet: &mut Fleet, publishes: &mut Publishes<'_>, watch: &mut dyn Watch, plan: &Plan) -> Result<Latency> {
    publishes.latencies = Histogram::default();
    drive(fleet, publishes, watch, plan.pace, Stretch::new(Stage::Measuring, plan.window / 2))?;
    Ok(Latency::of(&publishes.latencies))
}

/// Neighbours are compared, so that what changes slowly on the machine meets both alike.
fn median_ratio(without: &[Latency], with: &[Latency]) -> f64 {
    let pairs = with.iter().zip(without);
    let mut ratios: Vec<_> = pairs.map(|(with, without)| with.p99 as f64 / without.p99.max(1) as f64).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn middle(mut latencies: Vec<Latency>) -> Latency {
    latencies.sort_by_key(|latency| latency.p99);
    latencies[latencies.len() / 2]
}
