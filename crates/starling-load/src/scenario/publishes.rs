//! Publishes to channels with members, followed from the publisher to the last of them.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Plan, Publisher};
use crate::{
    fleet::{Event, Fleet, Id},
    histogram::Histogram,
    report::{Problems, Report},
    session::Publish,
    stamp::Stamp,
    tally::Tally,
    watch::Watch,
};

/// Connections to an HTTP API; the messages of a channel all take the same one, so that they stay in order.
const BACKENDS: usize = 8;
/// After this time a message no longer counts as being on its way.
const WRITTEN_OFF: Duration = Duration::from_secs(5);

/// In the place of a connection to the HTTP API that the server has ended.
const GONE: Id = Id::MAX;

struct Channel {
    name: String,
    publisher: Id,
    /// Members that are to receive a message.
    receivers: u32,
    published: u32,
    /// The messages after the first `concluded`: members that have not received it, and when it was sent.
    open: VecDeque<(u32, u64)>,
    concluded: u32,
}

/// The members of all channels, their publishers, and every publish of the run.
pub(super) struct Publishes<'p> {
    plan: &'p Plan,
    channels: Vec<Channel>,
    members: Vec<Id>,
    /// The channel of each connection, by its number; none for publishers that are no members.
    channel_of: Vec<Option<usize>>,
    /// A member that is left out of the latencies and the tally.
    pub(super) disregarded: Option<Id>,
    began: Instant,
    publisher: u32,
    turn: usize,
    /// Requests that are not answered, by the connection to the HTTP API.
    requests: HashMap<Id, u64>,
    /// Publishes that some member has not received.
    pub(super) in_flight: usize,
    /// Publishes so far.
    pub(super) published: u64,
    /// Messages received.
    pub(super) deliveries: u64,
    /// Latencies since it was last taken.
    pub(super) latencies: Histogram,
    /// Why the run cannot go on.
    pub(super) failure: Option<String>,
    lost_connections: usize,
    message_bytes: usize,
    tally: Tally,
    problems: Problems,
    text: String,
    text_len: usize,
}

impl<'p> Publishes<'p> {
    /// Opens the members, which join the channels in turn, and their publishers.
    pub(super) fn open(fleet: &mut Fleet, plan: &'p Plan, watch: &mut dyn Watch, names: Vec<String>) -> Result<Self> {
        let joins = (0..plan.connections).map(|member| Some(names[member % names.len()].as_str()));
        let members = fleet.open_all(watch, joins)?;
        let publishers = match &plan.publisher {
            Publisher::Outsiders(wanted) => fleet.open_all(watch, std::iter::repeat_n(None, *wanted))?,
            Publisher::Member => members.iter().copied().take(names.len()).collect(),
            Publisher::Backend(_) => {
                let wanted = BACKENDS.min(names.len());
                (0..wanted).map(|_| fleet.open_for_requests()).collect::<Result<_>>()?
            }
        };
        let mut channel_of = vec![None; fleet.len() + 1];
        for (member, &id) in members.iter().enumerate() {
            channel_of[id] = Some(member % names.len());
        }
        // Pusher does not give a client its own events.
        let own = usize::from(matches!(plan.publisher, Publisher::Member) && plan.identity.protocol.omits_the_sender());
        let joined = |channel: usize| (members.len() + names.len() - 1 - channel) / names.len();
        let channels = names.iter().enumerate().map(|(index, name)| Channel {
            name: name.clone(),
            publisher: publishers.get(index % publishers.len().max(1)).copied().unwrap_or_default(),
            receivers: joined(index).saturating_sub(own) as u32,
            published: 0,
            open: VecDeque::new(),
            concluded: 0,
        });
        let mut random = [0; 4];
        getrandom::fill(&mut random).ok().context("the system has no random numbers")?;
        Ok(Self {
            channels: channels.collect(),
            plan,
            members,
            channel_of,
            disregarded: None,
            began: Instant::now(),
            publisher: u32::from_ne_bytes(random),
            turn: 0,
            requests: HashMap::new(),
            in_flight: 0,
            published: 0,
            deliveries: 0,
            latencies: Histogram::default(),
            failure: None,
            lost_connections: 0,
            message_bytes: 0,
            tally: Tally::default(),
            problems: Problems::default(),
            text: String::new(),
            text_len: plan.text_len(),
        })
    }

    /// Publishes one message, which was due at `due`, to the channel whose turn it is.
    ///
    /// # Errors
    /// Fails when the system has no more descriptors or ports.
    pub(super) fn publish(&mut self, fleet: &mut Fleet, due: Instant) -> Result<()> {
        let index = self.turn % self.channels.len();
        self.turn += 1;
        let channel = &mut self.channels[index];
        channel.published += 1;
        let micros = due.saturating_duration_since(self.began).as_micros() as u64;
        let stamp = Stamp { publisher: self.publisher, channel: index as u32, number: channel.published, micros };
        self.text.clear();
        stamp.write(&mut self.text, self.text_len);
        self.published += 1;
        let receivers = channel.receivers - u32::from(self.disregarded.is_some());
        if receivers > 0 {
            self.in_flight += 1;
        }
        channel.open.push_back((receivers, micros));
        match &self.plan.publisher {
            Publisher::Backend(api) => {
                let (target, event) = (&self.plan.target, &self.plan.identity.event);
                let request = api.publish(target, &channel.name, event, &self.text);
                if channel.publisher == GONE {
                    channel.publisher = fleet.open_for_requests()?;
                }
                *self.requests.entry(channel.publisher).or_default() += 1;
                fleet.request(channel.publisher, &request);
            }
            _ => {
                let publish = Publish { channel: &channel.name, text: &self.text, request: None };
                fleet.publish(channel.publisher, publish);
            }
        }
        Ok(())
    }

    /// Notes what happened on a connection.
    pub(super) fn on_event(&mut self, id: Id, event: Event<'_>) {
        if Some(id) == self.disregarded {
            return;
        }
        match event {
            Event::Message(stamp, len) => self.on_message(id, stamp, len),
            Event::Ready => {}
            Event::Answer(_) => self.answered(id),
            Event::Problem(text) => {
                self.answered(id);
                self.problem(text);
            }
            Event::Closed(reason) => self.on_closed(id, reason.unwrap_or("closed without a word")),
        }
    }

    fn on_message(&mut self, id: Id, stamp: Stamp, len: usize) {
        // What is left of another run, or belongs to one beside this.
        if stamp.publisher != self.publisher {
            return;
        }
        let Some(index) = self.channel_of.get(id).copied().flatten() else { return };
        if index != stamp.channel as usize {
            return self.problem("a message arrived that belongs to another channel");
        }
        self.message_bytes = len;
        self.deliveries += 1;
        if !self.tally.received(id, stamp.number) {
            return;
        }
        let now = self.began.elapsed().as_micros() as u64;
        self.latencies.record(Duration::from_micros(now.saturating_sub(stamp.micros)));
        let channel = &mut self.channels[index];
        let Some(at) = stamp.number.checked_sub(channel.concluded + 1) else { return };
        let Some((awaited, _)) = channel.open.get_mut(at as usize) else { return };
        *awaited = awaited.saturating_sub(1);
        self.in_flight -= usize::from(*awaited == 0);
        while channel.open.front().is_some_and(|(awaited, _)| *awaited == 0) {
            channel.open.pop_front();
            channel.concluded += 1;
        }
    }

    /// Forgets messages that some member will not receive any more, so that others can be published in their place.
    pub(super) fn write_off(&mut self) {
        let now = self.began.elapsed();
        let Some(past) = now.checked_sub(WRITTEN_OFF) else { return };
        for channel in &mut self.channels {
            while channel.open.front().is_some_and(|(_, sent)| *sent < past.as_micros() as u64) {
                let awaited = channel.open.pop_front().map_or(0, |(awaited, _)| awaited);
                self.in_flight -= usize::from(awaited > 0);
                channel.concluded += 1;
            }
        }
    }

    fn answered(&mut self, id: Id) {
        if let Some(open) = self.requests.get_mut(&id) {
            *open = open.saturating_sub(1);
        }
    }

    fn on_closed(&mut self, id: Id, reason: &str) {
        // Servers end connections for requests that are not used for a while; another takes its place when needed.
        if self.requests.remove(&id) == Some(0) {
            let served = self.channels.iter_mut().filter(|channel| channel.publisher == id);
            served.for_each(|channel| channel.publisher = GONE);
            return;
        }
        self.problem(&format!("connection lost: {reason}"));
        self.lost_connections += usize::from(self.channel_of.get(id).copied().flatten().is_some());
        let publishes = self.channels.iter().any(|channel| channel.publisher == id);
        if self.all_are_lost() {
            self.failure = Some(format!("the server ended all connections: {reason}"));
        } else if publishes {
            self.failure.get_or_insert_with(|| format!("the connection that publishes was lost: {reason}"));
        }
    }

    /// Whether no member is left.
    pub(super) fn all_are_lost(&self) -> bool {
        self.lost_connections == self.members.len()
    }

    fn problem(&mut self, text: &str) {
        self.tally.error();
        self.problems.note(text);
    }

    /// A member to be stalled.
    pub(super) fn last_member(&self) -> Option<Id> {
        self.members.last().copied()
    }

    /// Fills in what the whole run tells.
    pub(super) fn conclude(self, report: &mut Report) {
        report.connections = self.members.len();
        report.channels = self.channels.len();
        report.message_bytes = self.message_bytes;
        report.payload_bytes = self.text_len + self.plan.overhead();
        let silent = |id: &Id| {
            let own =
                matches!(self.plan.publisher, Publisher::Member) && self.plan.identity.protocol.omits_the_sender();
            Some(*id) == self.disregarded || own && self.channels.iter().any(|channel| channel.publisher == *id)
        };
        let members = self.members.iter().copied().filter(|id| !silent(id));
        report.faults = self.tally.faults(members, |id| self.channels[self.channel_of[id].unwrap_or(0)].published);
        report.problems = self.problems.into_list();
        report.failure = self.failure;
        if report.failure.is_none() && self.deliveries == 0 && self.published > 0 {
            let why = report.problems.first().map_or("nobody said why".to_owned(), |problem| problem.text.clone());
            report.failure = Some(format!("of {} messages none was delivered: {why}", self.published));
        }
    }
}
