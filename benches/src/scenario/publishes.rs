//! Publishes to channels with members, followed from the publisher to the last of them.

use std::time::Instant;

use anyhow::Result;

use crate::{
    fleet::{Event, Fleet, Id},
    histogram::Histogram,
    native::{self, Incoming, Stamp, StampReader},
    report::Report,
    scenario::Plan,
    tally::Tally,
};

struct Sent {
    at: Instant,
    awaiting: u32,
}

struct Channel {
    name: String,
    members: u32,
    published: u32,
}

/// The members of all channels, their publisher, and every publish of the run.
pub(super) struct Publishes {
    channels: Vec<Channel>,
    publisher: Id,
    members: Vec<Id>,
    /// The channel of each connection, by its number.
    channel_of: Vec<usize>,
    /// A member that is left out of the latencies and the tally.
    pub(super) disregarded: Option<Id>,
    sent: Vec<Sent>,
    /// Publishes that some member has not received.
    pub(super) in_flight: usize,
    /// Messages received.
    pub(super) deliveries: u64,
    /// Latencies since it was last taken.
    pub(super) latencies: Histogram,
    message_bytes: usize,
    tally: Tally,
    reader: StampReader,
    text: String,
    payload: usize,
}

impl Publishes {
    /// Opens `members` connections, which join the channels in turn, and one publisher.
    pub(super) fn open(fleet: &mut Fleet, plan: &Plan, names: Vec<String>, members: usize) -> Result<Self> {
        let joins = (0..members).map(|member| Some(names[member % names.len()].as_str()));
        let ids = fleet.open_all(plan.transport, joins)?;
        let publisher = fleet.open_all(crate::fleet::Transport::Websocket, [None])?[0];
        let mut channels: Vec<_> = names.into_iter().map(|name| Channel { name, members: 0, published: 0 }).collect();
        let mut channel_of = vec![0; ids.iter().copied().max().unwrap_or(0).max(publisher) + 1];
        for (member, &id) in ids.iter().enumerate() {
            let channel = member % channels.len();
            channels[channel].members += 1;
            channel_of[id] = channel;
        }
        Ok(Self {
            channels,
            publisher,
            members: ids,
            channel_of,
            disregarded: None,
            sent: Vec::new(),
            in_flight: 0,
            deliveries: 0,
            latencies: Histogram::default(),
            message_bytes: 0,
            tally: Tally::default(),
            reader: StampReader::default(),
            text: String::new(),
            payload: plan.payload.max(native::SHORTEST_PAYLOAD),
        })
    }

    /// Publishes one message to the channel whose turn it is.
    pub(super) fn publish(&mut self, fleet: &mut Fleet) {
        let index = self.sent.len() % self.channels.len();
        let channel = &mut self.channels[index];
        channel.published += 1;
        let stamp = Stamp { run: self.sent.len() as u64, channel: channel.published };
        native::write_publish(&mut self.text, &channel.name, stamp, self.payload, None);
        let disregarded = u32::from(self.disregarded.is_some());
        self.sent.push(Sent { at: Instant::now(), awaiting: channel.members - disregarded });
        self.in_flight += 1;
        fleet.send(self.publisher, &self.text);
    }

    /// Notes what happened on a connection.
    pub(super) fn on_event(&mut self, id: Id, event: Event<'_>) {
        if Some(id) == self.disregarded {
            return;
        }
        let Event::Text(text) = event else {
            return self.tally.error();
        };
        let Incoming::Message(message) = Incoming::of(text) else {
            return self.tally.error();
        };
        let Some(stamp) = self.reader.read(message) else {
            return self.tally.error();
        };
        self.message_bytes = message.len();
        self.deliveries += 1;
        if !self.tally.received(id, stamp.channel) {
            return;
        }
        if let Some(sent) = self.sent.get_mut(stamp.run as usize) {
            self.latencies.record(sent.at.elapsed());
            sent.awaiting = sent.awaiting.saturating_sub(1);
            self.in_flight -= usize::from(sent.awaiting == 0);
        }
    }

    /// A member to be stalled.
    pub(super) fn last_member(&self) -> Option<Id> {
        self.members.last().copied()
    }

    /// Fills in what the whole run tells.
    pub(super) fn conclude(&self, report: &mut Report) {
        report.connections = self.members.len();
        report.message_bytes = self.message_bytes;
        let members = self.members.iter().copied().filter(|&id| Some(id) != self.disregarded);
        report.faults = self.tally.faults(members, |id| self.channels[self.channel_of[id]].published);
    }
}
