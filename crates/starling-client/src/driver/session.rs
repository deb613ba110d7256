//! What outlives a connection: subscriptions and their positions, requests that await an answer.
//!
//! No socket and no waiting: commands and messages of the server go in, messages to the server and items for
//! subscribers are taken out ([`receive`]: what messages of the server mean). The order in which the driver calls: [`Session::connected`], then any of the others,
//! [`Session::lost`], and again.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use starling_core::Refusal;
use starling_proto::native::Encoding;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Command;
use super::deliveries::{Deliveries, Full};
use super::member::{Member, MemberId, Opening, Stage};
use super::requests::{Done, Effect, Kind, Requests};
use crate::ask::Ask;
use crate::error::Error;
use crate::inbox::Arrival;
use crate::subscription::SubscribeOptions;
use crate::wire::{Answer, Fields};

mod receive;

/// What the connection has to act on itself.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Nothing.
    None,
    /// The token is valid until then (Unix milliseconds).
    Authenticated(Option<u64>),
    /// Connect again after so many milliseconds.
    Drain(u64),
    /// An error that answers no request.
    Complaint(Refusal),
}

pub(crate) struct Session {
    encoding: Encoding,
    /// Counts connections: 0 before the first one.
    connection: u64,
    is_connected: bool,
    members: HashMap<String, Member>,
    /// Channels that the server was asked to unsubscribe and has not answered.
    leaving: HashSet<String>,
    requests: Requests,
    /// Answers to questions of the server, which are no requests.
    replies: VecDeque<Bytes>,
    inboxes: Vec<mpsc::Sender<Arrival>>,
    deliveries: Deliveries,
    next_member: MemberId,
    queue: usize,
    /// For those who answer questions.
    commands: mpsc::WeakSender<Command>,
}

impl Session {
    /// `queue` items may wait in each subscription; `max_pending` requests may await their answer.
    pub(crate) fn new(
        encoding: Encoding,
        queue: usize,
        max_pending: usize,
        commands: mpsc::WeakSender<Command>,
    ) -> Self {
        Self {
            encoding,
            connection: 0,
            is_connected: false,
            members: HashMap::new(),
            leaving: HashSet::new(),
            requests: Requests::new(max_pending),
            replies: VecDeque::new(),
            inboxes: Vec::new(),
            deliveries: Deliveries::default(),
            next_member: 1,
            queue,
            commands,
        }
    }

    /// There is a connection: subscribes again, and sends what was not answered.
    pub(crate) fn connected(&mut self) {
        self.is_connected = true;
        self.connection += 1;
        self.requests.connected();
        let channels: Vec<String> = self.members.keys().cloned().collect();
        channels.into_iter().for_each(|channel| self.subscribe_again(channel));
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, reason: &Error) {
        self.is_connected = false;
        self.leaving.clear();
        self.replies.clear();
        self.requests.lost(reason);
        self.members.values_mut().for_each(Member::lost);
    }

    /// Gives up on requests that were sent and not answered, because sending them again would do the same again.
    pub(crate) fn fail_sent(&mut self, reason: &Error) {
        self.requests.fail_sent(reason);
    }

    /// Nothing will follow: everyone who waits is told why.
    pub(crate) fn end(&mut self, reason: &Error) {
        self.requests.end(reason);
        self.members.drain().for_each(|(_, member)| member.end(reason));
        self.deliveries.end();
        self.inboxes.clear();
    }

    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { channel, options, done } => self.subscribe(channel, options, done),
            Command::Unsubscribe { channel, id, done } => match self.members.get(&channel) {
                Some(member) if member.id == id => self.leave(channel, done),
                _ => {
                    if let Some(done) = done {
                        let _ = done.send(Ok(Answer::default()));
                    }
                }
            },
            Command::Ask { ask, done } => self.ask(ask, done),
            Command::Inbox { arrivals } => {
                self.inboxes.retain(|inbox| !inbox.is_closed());
                self.inboxes.push(arrivals);
            }
            Command::Reply { connection, ack, payload } => {
                if self.is_connected && connection == self.connection {
                    let reply = Fields { ack: Some(ack), ..Fields::new("reply") };
                    self.replies.push_back(reply.write_with(&payload, self.encoding));
                }
            }
            Command::Close { .. } => unreachable!("the driver ends the session itself"),
        }
    }

    fn subscribe(&mut self, channel: String, options: SubscribeOptions, done: Opening) {
        if self.members.get(&channel).is_some_and(|member| !member.is_abandoned()) {
            let _ = done.send(Err(Error::AlreadySubscribed(channel)));
            return;
        }
        if self.members.contains_key(&channel) {
            self.leave(channel.clone(), None);
        }
        let member = Member::new(self.next_member, options, self.queue, done);
        self.next_member += 1;
        self.members.insert(channel.clone(), member);
        self.subscribe_again(channel);
    }

    /// Asks for a subscription on this connection, or as soon as an earlier one is over.
    fn subscribe_again(&mut self, channel: String) {
        let Some(member) = self.members.get_mut(&channel).filter(|_| self.is_connected) else { return };
        if self.leaving.contains(&channel) {
            member.stage = Stage::Behind;
        } else {
            member.stage = Stage::Asked(self.requests.next_id());
            self.requests.add(Kind::Subscribe(channel));
        }
    }

    fn leave(&mut self, channel: String, done: Option<Done>) {
        match self.members.remove(&channel).map(|member| member.stage) {
            Some(Stage::Live | Stage::Asked(_)) => {
                self.leaving.insert(channel.clone());
                self.requests.add(Kind::Unsubscribe { channel, done });
            }
            Some(Stage::Offline | Stage::Behind | Stage::Retry(_)) | None => {
                if let Some(done) = done {
                    let _ = done.send(Ok(Answer::default()));
                }
            }
        }
    }

    fn ask(&mut self, ask: Ask, done: Done) {
        if self.requests.is_full() {
            let _ = done.send(Err(Error::QueueFull));
            return;
        }
        let id = Some(self.requests.next_id());
        let mut effect = Effect::None;
        let bytes = match ask {
            Ask::Publish(publish) => {
                if let Some(message_id) = publish.message_id.as_ref().filter(|_| !publish.echo) {
                    if let Some(member) = self.members.get_mut(&publish.channel) {
                        member.log.silent().published(message_id);
                    }
                    effect = Effect::Silent { channel: publish.channel.clone() };
                }
                publish.write(id, self.encoding)
            }
            Ask::History { channel, options } => options.write(id, &channel, self.encoding),
            Ask::Presence { channel, action, data } => {
                match (action, self.members.get_mut(&channel)) {
                    ("enter" | "update", _) => {
                        effect = Effect::Entered { channel: channel.clone(), data: data.clone() };
                    }
                    // At once, so that a lost connection does not bring it back.
                    ("leave", Some(member)) => member.own(None),
                    _ => {}
                }
                let fields = Fields { id, channel: Some(&channel), action: Some(action), ..Fields::new("presence") };
                fields.data(data.as_ref()).write(self.encoding)
            }
            Ask::Event(request) => {
                let bytes = request.write(id, self.encoding);
                self.requests.add(Kind::Once { bytes, done });
                return;
            }
        };
        self.requests.add(Kind::Again { bytes, effect, done: Some(done) });
    }

    /// The next message to the server, if one may be sent now.
    pub(crate) fn next_outgoing(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        loop {
            let (id, kind) = self.requests.next(now)?;
            match kind {
                Kind::Again { bytes, .. } | Kind::Once { bytes, .. } => return Some(bytes.clone()),
                Kind::Unsubscribe { channel, .. } => {
                    let fields = Fields { id: Some(id), channel: Some(channel), ..Fields::new("unsubscribe") };
                    return Some(fields.write(self.encoding));
                }
                Kind::Subscribe(channel) => {
                    let member = self.members.get(channel).filter(|member| member.stage == Stage::Asked(id));
                    if let Some(member) = member {
                        return Some(member.write(id, channel, self.encoding));
                    }
                    // Unsubscribed before it was even asked for.
                    self.requests.moot(id);
                }
            }
        }
    }

    /// When [`tick`](Self::tick) should next be called, if ever.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let retries = self.members.values().filter_map(|member| match member.stage {
            Stage::Retry(at) => Some(at),
            _ => None,
        });
        retries.chain(self.requests.deadline()).min()
    }

    /// Asks again for the subscriptions whose time has come.
    pub(crate) fn tick(&mut self, now: Instant) {
        let is_due = |member: &Member| matches!(member.stage, Stage::Retry(at) if at <= now);
        let due: Vec<String> =
            self.members.iter().filter(|(_, member)| is_due(member)).map(|(channel, _)| channel.clone()).collect();
        due.into_iter().for_each(|channel| self.subscribe_again(channel));
        self.requests.tick(now);
    }

    /// Hands over as many items as there is room for, and returns who has none, to wait for.
    pub(crate) fn hand_over(&mut self) -> Option<Full> {
        let mut gone = Vec::new();
        let full = self.deliveries.hand_over(&mut gone);
        for items in gone {
            // The subscription was dropped while the queue of commands was full.
            let dropped = self.members.iter().find(|(_, member)| member.items.same_channel(&items));
            if let Some(channel) = dropped.map(|(channel, _)| channel.clone()) {
                self.leave(channel, None);
            }
        }
        full
    }

    /// Whether the server has answered all subscriptions on this connection.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.members.values().all(|member| matches!(member.stage, Stage::Live | Stage::Retry(_)))
    }

    /// Whether the answer to a request is on its way that is sent only once.
    pub(crate) fn awaits_once(&self) -> bool {
        self.requests.awaits_once()
    }

    /// Whether every request of the application has been answered and nothing waits to be sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.replies.is_empty() && self.requests.is_settled()
    }
}

/// Whether the same request may be granted a little later.
pub(super) fn is_transient(refusal: &Refusal) -> bool {
    matches!(&*refusal.code, "RATE_LIMITED" | "HOOK_FAILED" | "ENGINE_UNAVAILABLE" | "INTERNAL")
}
