//! Connections that come, subscribe, and go.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Meter, Pace, Plan, Stretch};
use crate::{
    fleet::{Event, Fleet, Id},
    histogram::Histogram,
    report::{Latency, Problems, Report},
    tally::Faults,
    watch::{Stage, Watch},
};

/// After so many failures without a success there is no point in going on.
const HOPELESS: u64 = 100;

/// One connection on its way.
#[derive(Clone, Copy)]
struct Coming {
    since: Instant,
    ready: bool,
}

#[derive(Default)]
struct Comings {
    by_id: Vec<Option<Coming>>,
    completed: u64,
    latencies: Histogram,
    faults: Faults,
    problems: Problems,
    /// Opened so far, for the names of channels.
    opened: usize,
}

/// Measures the whole life of a short connection.
pub(super) fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let mut report = Report {
        operation: "connections".to_owned(),
        connections: plan.connections,
        channels: plan.channels,
        ..Report::default()
    };
    let mut comings = Comings::default();
    let names = plan.channel_names();

    comings.drive(&mut fleet, plan, &names, watch, Stretch::new(Stage::WarmingUp, plan.warmup))?;
    comings.latencies = Histogram::default();
    let before = comings.completed;
    let meter = Meter::start(plan.server_pid)?;
    comings.drive(&mut fleet, plan, &names, watch, Stretch::new(Stage::Measuring, plan.window))?;
    meter.stop(&mut report, comings.completed - before)?;
    report.latency = Some(Latency::of(&comings.latencies));

    fleet.close_all(Duration::from_secs(5))?;
    report.faults = comings.faults;
    report.problems = comings.problems.into_list();
    Ok(report)
}

impl Comings {
    fn drive(
        &mut self,
        fleet: &mut Fleet,
        plan: &Plan,
        names: &[String],
        watch: &mut dyn Watch,
        stretch: Stretch,
    ) -> Result<()> {
        let mut due = Instant::now();
        while let Some(mut left) = stretch.left(watch) {
            let now = Instant::now();
            while fleet.len() < plan.connections && fleet.may_open() {
                let mut since = now;
                if let Pace::PerSecond(rate) = plan.pace {
                    if due > now {
                        left = left.min(due - now);
                        break;
                    }
                    since = due;
                    due += Duration::from_secs_f64(1.0 / rate);
                }
                let id = fleet.open(Some(&names[self.opened % names.len()]))?;
                self.opened += 1;
                if id >= self.by_id.len() {
                    self.by_id.resize(id + 1, None);
                }
                self.by_id[id] = Some(Coming { since, ready: false });
            }
            let mut ready = Vec::new();
            fleet.turn(Some(left), |id, event| self.on_event(id, event, &mut ready))?;
            ready.into_iter().for_each(|id| fleet.close(id));
            if self.completed == 0 && self.faults.errors >= HOPELESS {
                let problems = std::mem::take(&mut self.problems).into_list();
                let why = problems.first().map_or("", |problem| problem.text.as_str());
                ensure!(false, "no connection succeeded: {why}");
            }
        }
        Ok(())
    }

    fn on_event(&mut self, id: Id, event: Event<'_>, ready: &mut Vec<Id>) {
        let coming = self.by_id.get_mut(id).and_then(Option::as_mut);
        match (event, coming) {
            (Event::Ready, Some(coming)) => {
                coming.ready = true;
                self.latencies.record(coming.since.elapsed());
                ready.push(id);
            }
            (Event::Closed(_), Some(Coming { ready: true, .. })) => self.completed += 1,
            (Event::Closed(reason), _) => {
                self.problem(&format!("refused: {}", reason.unwrap_or("closed without a word")))
            }
            (Event::Problem(text), _) => self.problem(text),
            _ => {}
        }
    }

    fn problem(&mut self, text: &str) {
        self.faults.errors += 1;
        self.problems.note(text);
    }
}
