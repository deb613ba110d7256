//! What outlives a connection: subscriptions and their positions, requests that await an answer.
//!
//! No socket and no waiting: commands and messages of the server go in, messages to the server and items for
//! subscribers are taken out. The order in which the driver calls: [`Session::connected`], then any of the others,
//! [`Session::lost`], and again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use starling_core::{Position, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Command;
use crate::backoff::random;
use crate::client::{Ack, Publish};
use crate::error::Error;
use crate::subscription::{Item, Message, SubscribeOptions};
use crate::wire::{Answer, Incoming, Outgoing, write_publish};

/// Requests that may await an answer on a connection at once. Below the server's default of 50 refusals in a row before
/// it closes, so that a client which meets a rate limit can slow down.
const WINDOW: usize = 32;
/// How long nothing is sent after the server refused a request because of its rate.
const RATE_PAUSE: Duration = Duration::from_millis(500);
/// How long to wait before a refused resubscription is tried again, plus a random part of as much.
const RETRY: Duration = Duration::from_secs(1);

/// Distinguishes successive subscriptions to one channel.
pub(crate) type MemberId = u64;

type Opened = oneshot::Sender<Result<(MemberId, mpsc::Receiver<Item>), Error>>;

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
    connected: bool,
    members: HashMap<String, Member>,
    /// Requests by the number that they are answered with.
    requests: BTreeMap<u64, Request>,
    /// Requests to be sent on this connection, in order.
    queue: VecDeque<u64>,
    /// Requests that were sent on this connection and await an answer.
    in_flight: usize,
    paused_until: Option<Instant>,
    next_request: u64,
    next_member: MemberId,
    publishes: usize,
    /// Items that are to be delivered, in order.
    deliveries: VecDeque<(mpsc::Sender<Item>, Item)>,
    items: usize,
    max_pending: usize,
}

struct Member {
    id: MemberId,
    items: mpsc::Sender<Item>,
    /// Until the first agreement of the server.
    opening: Option<(Opened, mpsc::Receiver<Item>)>,
    stage: Stage,
    /// Where to go on after a lost connection.
    resume: Option<Position>,
    /// The last message that was given to the subscriber; what is not behind it is a repetition.
    delivered: Option<Position>,
    /// Messages to begin with, until the first one has come.
    rewind: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No connection.
    Offline,
    /// Asked with this request. What comes before the answer belongs to an earlier subscription.
    Asked(u64),
    Live,
    /// To be asked again then.
    Retry(Instant),
}

struct Request {
    kind: Kind,
    sent: bool,
}

enum Kind {
    Subscribe(String),
    Unsubscribe(String),
    Publish { text: String, message_id: String, done: oneshot::Sender<Result<Ack, Error>> },
}

impl Session {
    /// `items` may wait in each subscription; `max_pending` publishes may await their acknowledgement.
    pub(crate) fn new(items: usize, max_pending: usize) -> Self {
        Self {
            connected: false,
            members: HashMap::new(),
            requests: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            paused_until: None,
            next_request: 1,
            next_member: 1,
            publishes: 0,
            deliveries: VecDeque::new(),
            items,
            max_pending,
        }
    }

    /// There is a connection: subscribes again, and queues what was not acknowledged.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
        let channels: Vec<String> = self.members.keys().cloned().collect();
        channels.into_iter().for_each(|channel| self.ask(channel));
        // Behind the subscriptions, on which publishing may depend.
        let publishes = self.requests.iter().filter(|(_, request)| matches!(request.kind, Kind::Publish { .. }));
        self.queue.extend(publishes.map(|(id, _)| *id));
    }

    /// The connection is gone. Publishes stay, to be sent again.
    pub(crate) fn lost(&mut self) {
        self.connected = false;
        self.in_flight = 0;
        self.paused_until = None;
        self.queue.clear();
        self.requests.retain(|_, request| matches!(request.kind, Kind::Publish { .. }));
        self.requests.values_mut().for_each(|request| request.sent = false);
        self.members.values_mut().for_each(|member| member.stage = Stage::Offline);
    }

    /// Gives up on publishes that were sent and not answered, because sending them again would do the same again.
    pub(crate) fn fail_sent(&mut self, reason: &Error) {
        let (sent, waiting) = std::mem::take(&mut self.requests).into_iter().partition(|(_, request)| request.sent);
        self.requests = waiting;
        let sent: BTreeMap<u64, Request> = sent;
        for request in sent.into_values() {
            if let Kind::Publish { done, .. } = request.kind {
                self.publishes -= 1;
                let _ = done.send(Err(reason.clone()));
            }
        }
    }

    /// Nothing will follow: everyone who waits is told why.
    pub(crate) fn end(&mut self, reason: &Error) {
        for (_, request) in std::mem::take(&mut self.requests) {
            if let Kind::Publish { done, .. } = request.kind {
                let _ = done.send(Err(reason.clone()));
            }
        }
        for (_, member) in self.members.drain() {
            if let Some((opened, _)) = member.opening {
                let _ = opened.send(Err(reason.clone()));
            }
        }
        // What a subscriber has room for still reaches it.
        for (items, item) in self.deliveries.drain(..) {
            let _ = items.try_send(item);
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { channel, options, done } => self.subscribe(channel, options, done),
            Command::Unsubscribe { channel, id } => {
                if self.members.get(&channel).is_some_and(|member| member.id == id) {
                    self.leave(channel);
                }
            }
            Command::Publish { publish, done } => self.publish(&publish, done),
            Command::Close { .. } => unreachable!("the driver ends the session itself"),
        }
    }

    fn subscribe(&mut self, channel: String, options: SubscribeOptions, done: Opened) {
        if self.members.contains_key(&channel) {
            let _ = done.send(Err(Error::AlreadySubscribed(channel)));
            return;
        }
        let (items, received) = mpsc::channel(self.items);
        let member = Member {
            id: self.next_member,
            items,
            opening: Some((done, received)),
            stage: Stage::Offline,
            delivered: options.since.clone(),
            resume: options.since,
            rewind: options.rewind,
        };
        self.next_member += 1;
        self.members.insert(channel.clone(), member);
        if self.connected {
            self.ask(channel);
        }
    }

    fn publish(&mut self, publish: &Publish, done: oneshot::Sender<Result<Ack, Error>>) {
        if self.publishes >= self.max_pending {
            let _ = done.send(Err(Error::QueueFull));
            return;
        }
        let message_id = publish.message_id.clone().unwrap_or_else(random_id);
        let text = write_publish(self.next_request, publish, &message_id);
        self.publishes += 1;
        self.request(Kind::Publish { text, message_id, done });
    }

    /// Asks for a subscription on this connection.
    fn ask(&mut self, channel: String) {
        if let Some(member) = self.members.get_mut(&channel) {
            member.stage = Stage::Asked(self.next_request);
            self.request(Kind::Subscribe(channel));
        }
    }

    fn leave(&mut self, channel: String) {
        let member = self.members.remove(&channel);
        match member.map(|member| member.stage) {
            Some(Stage::Live | Stage::Asked(_)) => self.request(Kind::Unsubscribe(channel)),
            Some(Stage::Offline | Stage::Retry(_)) | None => {}
        }
    }

    fn request(&mut self, kind: Kind) {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, Request { kind, sent: false });
        if self.connected {
            self.queue.push_back(id);
        }
    }

    /// The next message to the server, if one may be sent now.
    pub(crate) fn next_outgoing(&mut self, now: Instant) -> Option<String> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        while self.in_flight < WINDOW {
            let id = self.queue.pop_front()?;
            let Some(request) = self.requests.get_mut(&id) else { continue };
            let text = match &request.kind {
                Kind::Publish { text, .. } => text.clone(),
                Kind::Unsubscribe(channel) => Outgoing::Unsubscribe { id, channel }.to_json(),
                Kind::Subscribe(channel) => {
                    match self.members.get(channel).filter(|member| member.stage == Stage::Asked(id)) {
                        Some(member) => member.request(id, channel),
                        None => {
                            // Unsubscribed before it was even asked for.
                            self.requests.remove(&id);
                            continue;
                        }
                    }
                }
            };
            request.sent = true;
            self.in_flight += 1;
            return Some(text);
        }
        None
    }

    /// When [`tick`](Self::tick) should next be called, if ever.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let retries = self.members.values().filter_map(|member| match member.stage {
            Stage::Retry(at) => Some(at),
            _ => None,
        });
        retries.chain(self.paused_until).min()
    }

    /// Asks again for the subscriptions whose time has come.
    pub(crate) fn tick(&mut self, now: Instant) {
        let is_due = |member: &Member| matches!(member.stage, Stage::Retry(at) if at <= now);
        let due: Vec<String> =
            self.members.iter().filter(|(_, member)| is_due(member)).map(|(channel, _)| channel.clone()).collect();
        due.into_iter().for_each(|channel| self.ask(channel));
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
    }

    /// Handles one message of the server.
    ///
    /// # Errors
    ///
    /// What is wrong with it: this connection cannot be trusted any more.
    pub(crate) fn receive(&mut self, text: &str, now: Instant) -> Result<Signal, String> {
        match Incoming::parse(text)? {
            Incoming::AuthAck { expires_at, .. } => return Ok(Signal::Authenticated(expires_at)),
            Incoming::Drain(millis) => return Ok(Signal::Drain(millis)),
            Incoming::Error(None, refusal) => return Ok(Signal::Complaint(refusal)),
            Incoming::Error(Some(id), refusal) => self.refused(id, refusal, now),
            Incoming::Ack(id, answer) => self.agreed(id, answer),
            Incoming::Message(message) => self.message(message),
            Incoming::Gap { channel, missed } => self.deliver(&channel, Item::Gap { missed }),
            Incoming::Unsubscribed { channel, refusal } => self.unsubscribed(&channel, refusal),
            Incoming::Other => {}
        }
        Ok(Signal::None)
    }

    /// The request that an answer is for, which thereby is over.
    fn answered(&mut self, id: u64) -> Option<Kind> {
        let request = self.requests.remove(&id)?;
        self.in_flight = self.in_flight.saturating_sub(1);
        if matches!(request.kind, Kind::Publish { .. }) {
            self.publishes -= 1;
        }
        Some(request.kind)
    }

    fn agreed(&mut self, id: u64, answer: Answer) {
        match self.answered(id) {
            Some(Kind::Subscribe(channel)) => self.subscribed(channel, id, answer),
            Some(Kind::Publish { message_id, done, .. }) => {
                let message_id = answer.message_id.unwrap_or(message_id);
                let _ = done.send(Ok(Ack { message_id, position: answer.position }));
            }
            Some(Kind::Unsubscribe(_)) | None => {}
        }
    }

    fn subscribed(&mut self, channel: String, id: u64, answer: Answer) {
        let Some(member) = self.members.get_mut(&channel).filter(|member| member.stage == Stage::Asked(id)) else {
            return;
        };
        member.stage = Stage::Live;
        let first = member.opening.is_some();
        if let Some((opened, items)) = member.opening.take()
            && opened.send(Ok((member.id, items))).is_err()
        {
            return self.leave(channel);
        }
        let asked = member.resume.is_some();
        let recovered = asked && answer.recovered == Some(true);
        if !recovered {
            // Another log, or another place in it: nothing of what comes now has been delivered before.
            member.delivered = None;
            // With a rewind, the messages before this position are yet to come.
            member.resume = answer.position.filter(|_| member.rewind == 0);
        }
        if asked || !first {
            self.deliver(&channel, Item::Recovered(recovered));
        }
    }

    fn refused(&mut self, id: u64, refusal: Refusal, now: Instant) {
        if refusal.code == "RATE_LIMITED" {
            self.paused_until = Some(now + RATE_PAUSE);
        }
        match self.answered(id) {
            Some(Kind::Publish { done, .. }) => {
                let _ = done.send(Err(Error::Refused(refusal)));
            }
            Some(Kind::Subscribe(channel)) => self.subscription_refused(&channel, id, refusal, now),
            Some(Kind::Unsubscribe(_)) | None => {}
        }
    }

    fn subscription_refused(&mut self, channel: &str, id: u64, refusal: Refusal, now: Instant) {
        let Some(member) = self.members.get_mut(channel).filter(|member| member.stage == Stage::Asked(id)) else {
            return;
        };
        if let Some((opened, _)) = member.opening.take() {
            self.members.remove(channel);
            let _ = opened.send(Err(Error::Refused(refusal)));
            return;
        }
        if is_transient(&refusal) {
            member.stage = Stage::Retry(now + RETRY + RETRY.mul_f64(f64::from(random()) / f64::from(u32::MAX)));
            return;
        }
        self.unsubscribed(channel, refusal);
    }

    fn unsubscribed(&mut self, channel: &str, refusal: Refusal) {
        // While it is asked for, this is about an earlier subscription to the same channel.
        if self.members.get(channel).is_some_and(|member| member.opening.is_none()) {
            self.deliver(channel, Item::Unsubscribed(refusal));
            self.members.remove(channel);
        }
    }

    fn message(&mut self, message: Message) {
        let Some(member) = self.members.get_mut(&message.channel).filter(|member| member.stage == Stage::Live) else {
            return;
        };
        if let Some(position) = &message.position {
            let repeated = |last: &Position| last.epoch == position.epoch && position.offset <= last.offset;
            if member.delivered.as_ref().is_some_and(repeated) {
                tracing::debug!(channel = message.channel, offset = position.offset, "repeated message left out");
                return;
            }
            member.delivered = Some(position.clone());
            member.resume = Some(position.clone());
        }
        member.rewind = 0;
        let items = member.items.clone();
        self.deliveries.push_back((items, Item::Message(message)));
    }

    fn deliver(&mut self, channel: &str, item: Item) {
        if let Some(member) = self.members.get(channel) {
            self.deliveries.push_back((member.items.clone(), item));
        }
    }

    /// Hands over as many items as there is room for. The sender of the first one that there is no room for is
    /// returned, to wait for.
    pub(crate) fn hand_over(&mut self) -> Option<mpsc::Sender<Item>> {
        while let Some((items, item)) = self.deliveries.pop_front() {
            match items.try_send(item) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(item)) => {
                    self.deliveries.push_front((items.clone(), item));
                    return Some(items);
                }
                Err(mpsc::error::TrySendError::Closed(item)) => {
                    // The subscription was dropped while the queue of commands was full.
                    if let Item::Message(Message { channel, .. }) = item
                        && self.members.get(&channel).is_some_and(|member| member.items.same_channel(&items))
                    {
                        self.leave(channel);
                    }
                }
            }
        }
        None
    }

    /// Whether every publish has been acknowledged and nothing waits to be sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.publishes == 0 && self.queue.is_empty()
    }
}

impl Member {
    fn request(&self, id: u64, channel: &str) -> String {
        let recover = self.resume.as_ref().map(Into::into);
        let rewind = (self.rewind > 0).then_some(self.rewind);
        Outgoing::Subscribe { id, channel, recover, rewind }.to_json()
    }
}

/// Whether the same request may be granted a little later.
pub(super) fn is_transient(refusal: &Refusal) -> bool {
    matches!(&*refusal.code, "RATE_LIMITED" | "HOOK_FAILED" | "ENGINE_UNAVAILABLE" | "INTERNAL")
}

/// A name that no other message has.
fn random_id() -> String {
    let mut bytes = [0u8; 16];
    // Without random numbers no frame can be masked either, and nothing is sent at all.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
