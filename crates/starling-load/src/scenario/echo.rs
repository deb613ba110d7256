//! Request and answer: each connection publishes to a channel of its own and awaits the acknowledgement.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Meter, Pace, Plan, Stretch};
use crate::{
    fleet::{Event, Fleet, Id},
    histogram::Histogram,
    report::{Latency, Problems, Report},
    session::Publish,
    stamp::Stamp,
    tally::Faults,
    target::Protocol,
    watch::{Stage, Watch},
};

/// One connection's request.
struct Caller {
    channel: String,
    request: u64,
    due: Instant,
    awaits: bool,
    gone: bool,
}

struct Callers {
    list: Vec<Caller>,
    /// Position in the list, by the connection's number.
    by_id: Vec<usize>,
    ids: Vec<Id>,
    /// Those whose last request is answered, longest ago first.
    free: VecDeque<usize>,
    answers: u64,
    sent: u64,
    latencies: Histogram,
    faults: Faults,
    problems: Problems,
    failure: Option<String>,
    text: String,
    text_len: usize,
}

/// One request on its way per connection, at most.
pub(super) fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let names: Vec<_> = (0..plan.connections).map(|index| format!("{}-{index:05}", plan.channel)).collect();
    // Phoenix takes pushes to joined topics only.
    let joins = plan.identity.protocol == Protocol::Phoenix;
    let ids = fleet.open_all(watch, names.iter().map(|name| joins.then_some(name.as_str())))?;
    let mut report = Report { operation: "answers".to_owned(), connections: ids.len(), ..Report::default() };
    let mut callers = Callers::new(names, ids, plan.text_len());

    callers.drive(&mut fleet, plan, watch, Stretch::new(Stage::WarmingUp, plan.warmup))?;
    callers.latencies = Histogram::default();
    let (answers, sent) = (callers.answers, callers.sent);
    let meter = Meter::start(plan.server_pid)?;
    callers.drive(&mut fleet, plan, watch, Stretch::new(Stage::Measuring, plan.window))?;
    meter.stop(&mut report, callers.answers - answers)?;
    report.published = callers.sent - sent;
    report.latency = Some(Latency::of(&callers.latencies));

    let end = Instant::now() + Duration::from_secs(5);
    while callers.awaited() > 0 && Instant::now() < end && callers.failure.is_none() {
        watch.see(Stage::Settling, 0, callers.awaited());
        fleet.turn(Some(Duration::from_millis(50)), |id, event| callers.on_event(id, event))?;
    }
    callers.faults.lost = callers.awaited();
    callers.conclude(plan, &mut report);
    Ok(report)
}

impl Callers {
    fn new(names: Vec<String>, ids: Vec<Id>, text_len: usize) -> Self {
        let mut by_id = vec![0; ids.iter().copied().max().map_or(0, |most| most + 1)];
        ids.iter().enumerate().for_each(|(index, &id)| by_id[id] = index);
        let caller = |channel| Caller { channel, request: 0, due: Instant::now(), awaits: false, gone: false };
        Self {
            free: (0..ids.len()).collect(),
            list: names.into_iter().map(caller).collect(),
            by_id,
            ids,
            answers: 0,
            sent: 0,
            latencies: Histogram::default(),
            faults: Faults::default(),
            problems: Problems::default(),
            failure: None,
            text: String::new(),
            text_len,
        }
    }

    fn awaited(&self) -> u64 {
        self.list.iter().filter(|caller| caller.awaits).count() as u64
    }

    fn drive(&mut self, fleet: &mut Fleet, plan: &Plan, watch: &mut dyn Watch, stretch: Stretch) -> Result<()> {
        let mut due = Instant::now();
        while let Some(mut left) = stretch.left(watch)
            && self.failure.is_none()
        {
            let now = Instant::now();
            match plan.pace {
                Pace::PerSecond(rate) => {
                    // A request that no connection is free for is late, and its latency counts from when it was due.
                    while due <= now
                        && let Some(index) = self.free.pop_front()
                    {
                        self.call(fleet, index, due);
                        due += Duration::from_secs_f64(1.0 / rate);
                    }
                    if due > now {
                        left = left.min(due - now);
                    }
                }
                Pace::InFlight(_) => {
                    for index in std::mem::take(&mut self.free) {
                        self.call(fleet, index, now);
                    }
                }
            }
            fleet.turn(Some(left), |id, event| self.on_event(id, event))?;
        }
        Ok(())
    }

    fn call(&mut self, fleet: &mut Fleet, index: usize, due: Instant) {
        let caller = &mut self.list[index];
        if caller.gone {
            return;
        }
        caller.request += 1;
        caller.due = due;
        caller.awaits = true;
        self.sent += 1;
        let stamp = Stamp { publisher: 0, channel: index as u32, number: caller.request as u32, micros: 0 };
        self.text.clear();
        stamp.write(&mut self.text, self.text_len);
        let publish = Publish { channel: &caller.channel, text: &self.text, request: Some(caller.request) };
        fleet.publish(self.ids[index], publish);
    }

    fn on_event(&mut self, id: Id, event: Event<'_>) {
        let index = self.by_id.get(id).copied().unwrap_or(0);
        let caller = &mut self.list[index];
        match event {
            Event::Answer(request) if caller.awaits && request == caller.request => {
                caller.awaits = false;
                self.latencies.record(caller.due.elapsed());
                self.answers += 1;
                self.free.push_back(index);
            }
            Event::Answer(_) => self.problem("an answer to no request"),
            // What was published to the own channel comes back in Phoenix.
            Event::Message(..) | Event::Ready => {}
            Event::Problem(text) => {
                // A refusal is an answer, too.
                if std::mem::take(&mut caller.awaits) {
                    self.free.push_back(index);
                }
                self.problem(text);
            }
            Event::Closed(reason) => {
                caller.gone = true;
                let reason = reason.unwrap_or("closed without a word").to_owned();
                self.problem(&format!("connection lost: {reason}"));
                if self.list.iter().all(|caller| caller.gone) {
                    self.failure = Some(format!("the server ended all connections: {reason}"));
                }
            }
        }
    }

    fn problem(&mut self, text: &str) {
        self.faults.errors += 1;
        self.problems.note(text);
    }

    fn conclude(self, plan: &Plan, report: &mut Report) {
        report.payload_bytes = self.text_len + plan.overhead();
        report.faults = self.faults;
        report.problems = self.problems.into_list();
        report.failure = self.failure;
        if report.failure.is_none() && self.answers == 0 && self.sent > 0 {
            let why = report.problems.first().map_or("nobody said why".to_owned(), |problem| problem.text.clone());
            report.failure = Some(format!("of {} requests none was answered: {why}", self.sent));
        }
    }
}
