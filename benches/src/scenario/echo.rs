//! Request and answer: publishes to channels without members, each awaiting its acknowledgement.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Meter, Plan};
use crate::{
    fleet::{Event, Fleet, Id, Transport},
    histogram::Histogram,
    native::{self, Incoming, Stamp},
    report::{Latency, Report},
    tally::Faults,
};

const CONNECTIONS: usize = 100;

/// One connection's request.
struct Caller {
    channel: String,
    request: u64,
    sent: Instant,
}

struct Callers {
    by_id: HashMap<Id, Caller>,
    answered: Vec<Id>,
    answers: u64,
    latencies: Histogram,
    faults: Faults,
    text: String,
    payload: usize,
}

/// One request on its way per connection.
pub(super) fn run(plan: &Plan) -> Result<Report> {
    let mut fleet = plan.fleet()?;
    let connections = plan.connections.unwrap_or(CONNECTIONS);
    let ids = fleet.open_all(Transport::Websocket, std::iter::repeat_n(None, connections))?;
    let caller = |id: &Id| (*id, Caller { channel: format!("echo-{id:04}"), request: 0, sent: Instant::now() });
    let mut callers = Callers {
        by_id: ids.iter().map(caller).collect(),
        answered: ids,
        answers: 0,
        latencies: Histogram::default(),
        faults: Faults::default(),
        text: String::new(),
        payload: plan.payload,
    };
    let mut report = Report { connections, ..Report::default() };

    callers.drive(&mut fleet, plan.warmup)?;
    callers.latencies = Histogram::default();
    let before = callers.answers;
    let meter = Meter::start(plan.server_pid)?;
    callers.drive(&mut fleet, plan.window)?;
    meter.stop(&mut report, callers.answers - before)?;
    report.latency = Some(Latency::of(&callers.latencies));

    let end = Instant::now() + Duration::from_secs(5);
    while callers.answered.len() < connections && Instant::now() < end {
        fleet.turn(Some(Duration::from_millis(50)), |id, event| callers.on_event(id, event))?;
    }
    report.faults = callers.faults;
    report.faults.lost = (connections - callers.answered.len()) as u64;
    Ok(report)
}

impl Callers {
    fn drive(&mut self, fleet: &mut Fleet, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            for id in std::mem::take(&mut self.answered) {
                self.call(fleet, id);
            }
            fleet.turn(Some(left), |id, event| self.on_event(id, event))?;
        }
        Ok(())
    }

    fn call(&mut self, fleet: &mut Fleet, id: Id) {
        let Some(caller) = self.by_id.get_mut(&id) else {
            return;
        };
        caller.request += 1;
        caller.sent = Instant::now();
        let stamp = Stamp { run: id as u64, channel: caller.request as u32 };
        native::write_publish(&mut self.text, &caller.channel, stamp, self.payload, Some(caller.request));
        fleet.send(id, &self.text);
    }

    fn on_event(&mut self, id: Id, event: Event<'_>) {
        let (Some(caller), Event::Text(text)) = (self.by_id.get(&id), event) else {
            self.faults.errors += 1;
            return;
        };
        let answer = match Incoming::of(text) {
            Incoming::Ack(ack) => std::str::from_utf8(ack).ok().and_then(|ack| native::field(ack, native::ID)),
            _ => None,
        };
        if answer.and_then(|request| request.parse().ok()) != Some(caller.request) {
            self.faults.errors += 1;
            return;
        }
        self.latencies.record(caller.sent.elapsed());
        self.answers += 1;
        self.answered.push(id);
    }
}
