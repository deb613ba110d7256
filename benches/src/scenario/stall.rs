//! What one member that does not read does to the latency of the others.

use anyhow::{Context as _, Result};

use super::{
    Meter, Plan,
    fanout::{Pace, drive, settle},
    publishes::Publishes,
};
use crate::{
    fleet::Fleet,
    histogram::Histogram,
    report::{Latency, Report},
};

/// The channel; `benches/run` configures its delivery as `drop`, so that the member that stalls stays.
const CHANNEL: &str = "stall";
/// Windows with everyone reading, each followed by one with a stalled member.
const ROUNDS: u32 = 7;

/// 1000 members, 1000 publishes a second; the last member reads in every other window only. A window lasts half as long
/// as in other scenarios.
///
/// Each half has the quantiles of the round in the middle: one hiccup of the machine does not decide.
pub(super) fn run(plan: &Plan) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let members = plan.connections.unwrap_or(1000);
    let mut publishes = Publishes::open(&mut fleet, plan, vec![CHANNEL.to_owned()], members)?;
    let stalled = publishes.last_member().context("no members")?;
    publishes.disregarded = Some(stalled);
    let pace = Pace::PerSecond(plan.rate.unwrap_or(1000));
    let mut report = Report::default();
    let (mut without, mut with) = (Vec::new(), Vec::new());

    drive(&mut fleet, &mut publishes, pace, plan.warmup)?;
    let before = publishes.deliveries;
    let meter = Meter::start(plan.server_pid)?;
    for _ in 0..ROUNDS {
        without.push(window(&mut fleet, &mut publishes, pace, plan)?);
        fleet.pause(stalled)?;
        // The buffers of the kernel fill up before the server notices.
        drive(&mut fleet, &mut publishes, pace, plan.warmup / 2)?;
        with.push(window(&mut fleet, &mut publishes, pace, plan)?);
        if fleet.resume(stalled).is_ok() {
            drive(&mut fleet, &mut publishes, pace, plan.warmup / 2)?;
        }
    }
    meter.stop(&mut report, publishes.deliveries - before)?;

    settle(&mut fleet, &mut publishes)?;
    publishes.conclude(&mut report);
    report.stall_ratio = Some(median_ratio(&without, &with));
    report.latency = Some(middle(without));
    report.latency_stalled = Some(middle(with));
    Ok(report)
}

fn window(fleet: &mut Fleet, publishes: &mut Publishes, pace: Pace, plan: &Plan) -> Result<Latency> {
    publishes.latencies = Histogram::default();
    drive(fleet, publishes, pace, plan.window / 2)?;
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
