//! What messages of the server mean for subscriptions and requests.

use std::time::Duration;

use starling_core::{ErrorCode, Payload, Refusal};
use tokio::time::Instant;

use super::{Session, Signal, is_transient};
use crate::backoff::spread;
use crate::driver::log::Reading;
use crate::driver::member::{Member, Stage};
use crate::driver::requests::{Effect, Kind, Over};
use crate::error::Error;
use crate::inbox::{Arrival, Question, ServerEvent};
use crate::subscription::{Item, Message};
use crate::wire::{Answer, Fields, Incoming};

/// How long to wait before a refused resubscription is tried again, plus a random part of as much.
const RETRY: Duration = Duration::from_secs(1);

impl Session {
    /// Handles one message of the server.
    ///
    /// # Errors
    ///
    /// What is wrong with it: this connection cannot be trusted any more.
    pub(crate) fn receive(&mut self, text: &str, now: Instant) -> Result<Signal, String> {
        match Incoming::parse(text)? {
            Incoming::Message(message) => self.message(message),
            Incoming::Ack(id, answer) => self.agreed(id, answer),
            Incoming::Error(Some(id), refusal) => self.refused(id, refusal, now),
            Incoming::Error(None, refusal) => return Ok(Signal::Complaint(refusal)),
            Incoming::AuthAck { expires_at, .. } => return Ok(Signal::Authenticated(expires_at)),
            Incoming::Drain(millis) => return Ok(Signal::Drain(millis)),
            Incoming::Members { channel, members } => {
                let change = self.live(&channel).and_then(|member| member.members().replace(members));
                self.deliver(&channel, change.map(Item::Presence));
            }
            Incoming::Presence { channel, change } => {
                if let Some(member) = self.live(&channel) {
                    member.members().apply(&change);
                    self.deliver(&channel, [Item::Presence(change)]);
                }
            }
            Incoming::Event { channel, event, payload, ack } => self.event(channel, event, payload, ack),
            Incoming::Gap { channel, missed } => {
                if let Some(member) = self.live(&channel) {
                    member.log.skip();
                    self.deliver(&channel, [Item::Gap { missed, announced: true }]);
                }
            }
            Incoming::Subscribed { channel, position } => {
                if !self.members.contains_key(&channel) {
                    self.arrive(&Arrival::Subscribed { channel, position });
                }
            }
            Incoming::Unsubscribed { channel, refusal } => self.unsubscribed(channel, refusal),
            Incoming::Other => {}
        }
        Ok(Signal::None)
    }

    fn live(&mut self, channel: &str) -> Option<&mut Member> {
        self.members.get_mut(channel).filter(|member| member.stage == Stage::Live)
    }

    fn agreed(&mut self, id: u64, mut answer: Answer) {
        match self.requests.answered(id, &mut answer) {
            Over::Subscribe(channel) => self.subscribed(channel, id, answer),
            Over::Unsubscribe(channel) => self.left(channel),
            Over::Other(Effect::Entered { channel, data }) => {
                if let Some(member) = self.members.get_mut(&channel) {
                    member.own(Some(data));
                }
            }
            Over::Other(Effect::Silent { channel }) => {
                if let (Some(member), Some(position)) = (self.members.get_mut(&channel), &answer.position) {
                    member.log.silent().settled(position);
                }
            }
            Over::Other(Effect::None) => {}
        }
    }

    fn subscribed(&mut self, channel: String, id: u64, answer: Answer) {
        let Some(member) = self.members.get_mut(&channel).filter(|member| member.stage == Stage::Asked(id)) else {
            return;
        };
        let mut items = Vec::new();
        if !member.agreed(answer, &mut items) {
            return self.leave(channel, None);
        }
        if member.enters_as_user() {
            let next = Some(self.requests.next_id());
            let fields = Fields { id: next, channel: Some(&channel), action: Some("enter"), ..Fields::new("presence") };
            let bytes = fields.write(self.encoding);
            self.requests.add(Kind::Again { bytes, effect: Effect::None, done: None });
        }
        self.deliver(&channel, items);
    }

    /// An earlier subscription is over. If there is a later one, it is time for it.
    fn left(&mut self, channel: String) {
        self.leaving.remove(&channel);
        if self.members.get(&channel).is_some_and(|member| member.stage == Stage::Behind) {
            self.subscribe_again(channel);
        }
    }

    fn refused(&mut self, id: u64, refusal: Refusal, now: Instant) {
        let is_rate = refusal.is(ErrorCode::RateLimited);
        match self.requests.refused(id, Error::Refused(refusal.clone()), is_rate, now) {
            // The application subscribed this connection before we asked.
            Over::Subscribe(channel) if refusal.is(ErrorCode::AlreadySubscribed) => {
                self.subscribed(channel, id, Answer::default());
            }
            Over::Subscribe(channel) => self.subscription_refused(channel, id, refusal, now),
            Over::Unsubscribe(channel) => self.left(channel),
            Over::Other(_) => {}
        }
    }

    fn subscription_refused(&mut self, channel: String, id: u64, refusal: Refusal, now: Instant) {
        let Some(member) = self.members.get_mut(&channel).filter(|member| member.stage == Stage::Asked(id)) else {
            return;
        };
        if member.refused(&refusal) {
            self.members.remove(&channel);
        } else if is_transient(&refusal) {
            member.stage = Stage::Retry(now + RETRY + spread(RETRY));
        } else {
            self.deliver(&channel, [Item::Unsubscribed(refusal)]);
            self.members.remove(&channel);
        }
    }

    fn unsubscribed(&mut self, channel: String, refusal: Refusal) {
        match self.members.get(&channel).map(|member| member.stage) {
            Some(Stage::Live) => {
                self.deliver(&channel, [Item::Unsubscribed(refusal)]);
                self.members.remove(&channel);
            }
            // While it is asked for, this is about an earlier subscription to the same channel.
            Some(_) => {}
            None if self.leaving.contains(&channel) => {}
            None => self.arrive(&Arrival::Unsubscribed { channel, refusal }),
        }
    }

    fn message(&mut self, message: Message) {
        let Some(member) = self.members.get_mut(&message.channel) else {
            if !self.leaving.contains(&message.channel) {
                self.arrive(&Arrival::Message(message));
            }
            return;
        };
        if member.stage != Stage::Live {
            return;
        }
        let requests = &self.requests;
        let Reading { is_new, missed } = member.log.read(&message, || requests.unacknowledged_silent(&message.channel));
        member.begun();
        let items = member.items.clone();
        if missed > 0 {
            self.deliveries.item(items.clone(), Item::Gap { missed, announced: false });
        }
        if is_new {
            self.deliveries.item(items, Item::Message(message));
        } else {
            tracing::debug!(channel = message.channel, id = message.id, "repeated message left out");
        }
    }

    fn event(&mut self, channel: Option<String>, event: String, payload: Payload, ack: Option<u64>) {
        let question = ack.map(|ack| Question { connection: self.connection, ack, commands: self.commands.clone() });
        self.arrive(&Arrival::Event(ServerEvent { channel, event, payload, question }));
    }

    fn arrive(&mut self, arrival: &Arrival) {
        self.inboxes.retain(|inbox| !inbox.is_closed());
        for inbox in &self.inboxes {
            self.deliveries.arrival(inbox.clone(), arrival.clone());
        }
    }

    fn deliver(&mut self, channel: &str, items: impl IntoIterator<Item = Item>) {
        if let Some(member) = self.members.get(channel) {
            items.into_iter().for_each(|item| self.deliveries.item(member.items.clone(), item));
        }
    }
}
