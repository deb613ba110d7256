//! What clients ask for, and the outcomes that come later.

mod scope;
mod vouched;

use starling_core::{
    Caller, ChannelName, Decision, Effects, Emission, EngineError, Enter, ErrorCode, HistoryPage, HistoryRange,
    Payload, Pending, PresenceSnapshot, Publish, Published, RawJson, Refusal, Reply, Request, Subscribe, Tag, UserId,
};
use std::sync::atomic::Ordering;

use super::access::Verdict;
use super::adopt::Adopted;
use super::presence::Changed;
use super::refill::Cleared;
use super::resume::{Entering, Found};
use super::tell::tell_published;
use super::*;

/// Who asked for something.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// The client, who is answered.
    Client(Tag),
    /// The API or the application: the client is notified when something came of it.
    Server,
}

/// Something that a connection waited for.
pub struct Completion {
    pub(super) slot: Slot,
    pub(super) outcome: Outcome,
    pub(super) waiting: Waiting,
}

/// What a connection did until the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// It was looked at no further.
    Blocked,
    /// Its requests went on.
    GoingOn,
}

/// What came of it.
pub(crate) enum Outcome {
    SubscribeDecided(Asker, Subscribe, Result<Decision, Refusal>),
    Joined(Box<Joined>),
    Adopted(Box<Adopted>),
    /// The number is that of the read, so that an answer that nobody waits for any more is known.
    Page(ChannelKey, u64, Result<HistoryPage, EngineError>),
    Refilled(ChannelKey, u64, Result<HistoryPage, EngineError>),
    Cleared(Cleared),
    Wished(ChannelKey, Result<(), EngineError>),
    Watching(ChannelKey, Result<PresenceSnapshot, EngineError>),
    PresenceChanged(Option<Tag>, ChannelKey, Changed, Result<(), EngineError>),
    WatchedAgain(ChannelKey, Result<PresenceSnapshot, EngineError>),
    /// Who is present where a connection that has a user now is known without one.
    Nameless(ChannelKey, Result<PresenceSnapshot, EngineError>),
    SubscribeCounted(Asker, Subscribe, Verdict, Result<(), Refusal>),
    PublishDecided(Tag, Sending, Verdict, Result<Decision, Refusal>),
    Published(Tag, ChannelName, Result<Published, EngineError>),
    EventDecided(Tag, Option<ChannelName>, Result<Decision, Refusal>),
    EnterDecided(Tag, Box<Enter>, Result<Effects, Refusal>),
    EventAnswered(Tag, Reply, Effects),
    Leaving(Tag, ChannelName),
    Found(Box<(Entering, Option<Found>)>),
    Resumable(Box<(Entering, Found, bool)>),
    Answered(Tag, Reply),
}

/// A client's message on its way to the engine.
pub(crate) struct Sending {
    pub publish: Publish,
    /// Its sender, where that is not the connection's user.
    pub sender: Option<UserId>,
    /// Whether the channel's history has it, if it keeps one.
    pub kept: bool,
}

impl From<Publish> for Sending {
    fn from(publish: Publish) -> Self {
        Self { publish, sender: None, kept: true }
    }
}

/// Interest is registered and the log was read.
pub(crate) struct Joined {
    pub asker: Asker,
    pub subscribe: Subscribe,
    pub key: ChannelKey,
    pub response: Option<Payload>,
    /// What the application publishes there once it is a member.
    pub publish: Vec<Publish>,
    /// What the application has it enter presence with.
    pub present: Option<RawJson>,
    pub result: Result<Option<HistoryPage>, NotJoined>,
}

/// What failed when somebody wanted to become a member.
pub(crate) enum NotJoined {
    /// The engine did not take the wish for the channel.
    Interest(EngineError),
    /// It did, but its log could not be read.
    Log(EngineError),
}

impl From<NotJoined> for Refusal {
    fn from(failed: NotJoined) -> Self {
        let (NotJoined::Interest(error) | NotJoined::Log(error)) = failed;
        error.into()
    }
}

impl<T: Endpoint> Shard<T> {
    /// Carries out what a client asks, and answers it through its endpoint: at once where nothing must be waited for.
    ///
    /// [`Request::Authenticate`] is the server's business and refused here.
    pub fn request(&mut self, slot: Slot, tag: Tag, request: Request, now: Now) {
        if self.get(slot).is_none_or(|connection| connection.closing.is_some()) {
            return;
        }
        match request {
            Request::Subscribe(subscribe) => self.subscribe(slot, Asker::Client(tag), subscribe, now),
            Request::Unsubscribe { channel } => self.leave_last(slot, tag, channel, now),
            Request::Publish(publish) => self.publish(slot, tag, publish.into(), now),
            Request::PublishAs { publish, user, kept, per_second } => {
                self.publish_as(slot, tag, Sending { publish: *publish, sender: user, kept }, per_second, now);
            }
            Request::Identify { user, info } => self.identify(slot, &tag, user, info, now),
            Request::History { channel, range } => self.history(slot, tag, channel, range, now),
            Request::Presence { channel, action } => self.presence_request(slot, tag, channel, action, now),
            Request::Event { channel, event, payload, fallback } => {
                if !self.may_send_event(slot, channel.as_ref(), &event) {
                    let refusal = Refusal::new(ErrorCode::NotSubscribed, "only members send events here");
                    return self.refuse(slot, &tag, refusal, channel);
                }
                match self.ask_event(slot, channel.as_ref(), &event, &payload) {
                    Some(decided) => self.when(slot, decided, |it| Outcome::EventDecided(tag, channel, it), now),
                    None => self.unhandled(slot, tag, channel, fallback, now),
                }
            }
            Request::Enter(enter) => self.enter(slot, tag, enter, now),
            Request::Exit { scope } => self.exit(slot, &tag, scope, now),
            Request::Confirm => self.confirm(slot),
            Request::Acknowledge { ack, payload } => {
                if let (Some(application), Some(connection)) = (self.hub.application(), self.get(slot)) {
                    application.acknowledged(&connection.identity.caller(), ack, payload);
                }
            }
            Request::Authenticate { .. } => {
                let refusal = Refusal::new(ErrorCode::Internal, "authentication is not the hub's business");
                self.refuse(slot, &tag, refusal, None);
            }
        }
    }

    pub(super) fn refuse(&mut self, slot: Slot, tag: &Tag, refusal: Refusal, channel: Option<ChannelName>) {
        self.answer(slot, tag, Reply::Refused { refusal, channel });
    }

    pub(super) fn complete(&mut self, completion: Completion, now: Now) {
        let Completion { slot, outcome, waiting } = completion;
        if let Some(connection) = self.get_mut(slot) {
            if waiting == Waiting::Blocked {
                connection.blocking -= 1;
            }
            if matches!(outcome, Outcome::Published(..)) {
                connection.publishing -= 1;
            }
            // The worker looks at the connection again, and finds that it may be read.
            self.mark_dirty(slot.index);
        }
        self.finish(slot, outcome, now);
    }

    pub(super) fn finish(&mut self, slot: Slot, outcome: Outcome, now: Now) {
        match outcome {
            Outcome::SubscribeDecided(asker, subscribe, result) => {
                self.subscribe_decided(slot, asker, subscribe, result, now);
            }
            Outcome::Joined(joined) => self.joined(slot, *joined, now),
            Outcome::Adopted(adopted) => self.adopted(slot, *adopted, now),
            Outcome::Page(key, read, result) => {
                if let Some(index) = self.page_arrived(slot, &key, read, result, now) {
                    self.read_on(slot, index, now);
                }
            }
            Outcome::Refilled(key, read, result) => {
                if let Some(index) = self.refilled(&key, read, result, now) {
                    self.refill(index, now);
                }
            }
            Outcome::Cleared(cleared) => self.cleared(cleared, now),
            Outcome::Wished(key, result) => self.wished(&key, &result),
            Outcome::Watching(key, result) => self.watching(slot, &key, result),
            Outcome::WatchedAgain(key, result) => self.watched_again(&key, result),
            Outcome::Nameless(key, members) => self.nameless_found(slot, key, members, now),
            Outcome::PresenceChanged(tag, key, changed, result) => {
                self.presence_changed(slot, tag, &key, changed, result);
            }
            Outcome::SubscribeCounted(asker, subscribe, verdict, room) => match room {
                Ok(()) => self.ask_to_subscribe(slot, asker, subscribe, verdict, now),
                Err(refusal) => self.subscribe_refused(slot, asker, refusal, subscribe.channel),
            },
            Outcome::PublishDecided(tag, sending, verdict, result) => {
                self.publish_decided(slot, tag, sending, verdict, result, now);
            }
            Outcome::Published(tag, channel, result) => self.published(slot, &tag, channel, result),
            Outcome::EventDecided(tag, channel, result) => match result {
                Ok(decision) => self.answer_event(slot, tag, decision, now),
                Err(refusal) => self.refuse(slot, &tag, refusal, channel),
            },
            Outcome::EventAnswered(tag, reply, memberships) => {
                self.event_answered(slot, &tag, reply, memberships, now);
            }
            Outcome::Leaving(tag, channel) => self.unsubscribe(slot, &tag, channel, now),
            Outcome::EnterDecided(tag, enter, result) => self.enter_decided(slot, tag, enter, result, now),
            Outcome::Found(found) => self.found(found.0, found.1, now),
            Outcome::Resumable(found) => self.resumable(found.0, found.1, found.2, now),
            Outcome::Answered(tag, reply) => self.answer(slot, &tag, reply),
        }
    }

    /// What an event begins, publishes and tells comes before its answer, what it ends behind it.
    fn answer_event(&mut self, slot: Slot, tag: Tag, decision: Decision, now: Now) {
        let Decision { reply, unanswered, mut effects, .. } = decision;
        let reply = if unanswered { Reply::Unanswered } else { Reply::Event(reply) };
        let ends = Effects { leave: std::mem::take(&mut effects.leave), ..Effects::default() };
        let publishes = !effects.publish.is_empty();
        self.apply(slot, effects, now);
        let last = self.get(slot).is_some_and(|connection| connection.endpoint.answers_last());
        if publishes && last {
            self.connections[slot.index as usize].blocking += 1;
            let outcome = Outcome::EventAnswered(tag, reply, ends);
            self.post(slot, outcome, Waiting::Blocked);
        } else {
            self.event_answered(slot, &tag, reply, ends, now);
        }
    }

    fn event_answered(&mut self, slot: Slot, tag: &Tag, reply: Reply, ends: Effects, now: Now) {
        self.answer(slot, tag, reply);
        self.apply(slot, ends, now);
    }

    /// Puts an outcome behind what is in the inbox already.
    fn post(&self, slot: Slot, outcome: Outcome, waiting: Waiting) {
        self.inbox.post(Letter::Completed(Box::new(Completion { slot, outcome, waiting })));
    }

    /// Leaves a channel, behind the answers to what was published there before.
    fn leave_last(&mut self, slot: Slot, tag: Tag, channel: ChannelName, now: Now) {
        let is_behind = |connection: &Connection<T>| connection.publishing > 0 && connection.endpoint.answers_last();
        if self.get(slot).is_some_and(is_behind) {
            self.connections[slot.index as usize].blocking += 1;
            self.post(slot, Outcome::Leaving(tag, channel), Waiting::Blocked);
        } else {
            self.unsubscribe(slot, &tag, channel, now);
        }
    }

    fn publish(&mut self, slot: Slot, tag: Tag, sending: Sending, now: Now) {
        let publish = &sending.publish;
        let verdict = match self.may_publish(slot, &publish.channel) {
            Err(_) if publish.vouched && self.has_rule(slot, &publish.channel) => Verdict::Allowed,
            Ok(_) if publish.vouched => Verdict::Allowed,
            Ok(verdict) => verdict,
            Err(refusal) => return self.refuse(slot, &tag, refusal, Some(sending.publish.channel)),
        };
        self.ask_to_publish(slot, tag, sending, verdict, now);
    }

    /// The rules do not refuse it for good: the application decides.
    fn ask_to_publish(&mut self, slot: Slot, tag: Tag, sending: Sending, verdict: Verdict, now: Now) {
        match self.hub.application.clone() {
            None => self.publish_decided(slot, tag, sending, verdict, Ok(Decision::default()), now),
            Some(application) => {
                let caller = self.connections[slot.index as usize].identity.caller();
                let caller = Caller { user: sending.sender.clone().or(caller.user), ..caller };
                let decided = application.publish(&caller, &sending.publish);
                self.when(slot, decided, move |result| Outcome::PublishDecided(tag, sending, verdict, result), now);
            }
        }
    }

    fn publish_decided(
        &mut self,
        slot: Slot,
        tag: Tag,
        sending: Sending,
        verdict: Verdict,
        result: Result<Decision, Refusal>,
        now: Now,
    ) {
        let decision = match verdict.with(result) {
            Ok(decision) => decision,
            Err(refusal) => return self.refuse(slot, &tag, refusal, Some(sending.publish.channel)),
        };
        let Sending { mut publish, sender, kept } = sending;
        let Some(connection) = self.get(slot).filter(|connection| connection.closing.is_none()) else {
            return;
        };
        if let Some(payload) = decision.payload {
            publish.payload = payload;
        }
        let identity = &connection.identity;
        let exclude = (!publish.echo).then(|| identity.connection.clone());
        let channel = publish.channel.clone();
        let rule = self.settings.rule(&identity.app, &channel).filter(|_| kept);
        let history = rule.and_then(|rule| rule.history);
        let user = sender.or_else(|| identity.user.clone());
        let told = self.to_tell(identity, user.as_ref(), &publish);
        let published = self.hub.publish_as(&identity.app, publish, user, exclude, history, now.unix_ms);
        match published {
            Pending::Ready(result) => {
                if result.is_ok() {
                    tell_published(&self.hub, told);
                }
                if self.connections[slot.index as usize].endpoint.answers_last() {
                    // The message is in the inbox; its answer is read behind it.
                    self.connections[slot.index as usize].publishing += 1;
                    self.post(slot, Outcome::Published(tag, channel, result), Waiting::GoingOn);
                } else {
                    self.published(slot, &tag, channel, result);
                }
            }
            Pending::Later(future) => {
                self.connections[slot.index as usize].publishing += 1;
                let (hub, inbox) = (self.hub.clone(), self.inbox.clone());
                self.hub.spawn(Box::pin(async move {
                    let result = future.await;
                    if result.is_ok() {
                        tell_published(&hub, told);
                    }
                    let outcome = Outcome::Published(tag, channel, result);
                    inbox.post(Letter::Completed(Box::new(Completion { slot, outcome, waiting: Waiting::GoingOn })));
                }));
            }
        }
        self.apply(slot, decision.effects, now);
    }

    fn published(&mut self, slot: Slot, tag: &Tag, channel: ChannelName, result: Result<Published, EngineError>) {
        let Some(connection) = self.get(slot) else {
            return;
        };
        let app = connection.identity.app.clone();
        match result {
            Ok(published) => {
                self.hub.counters().of(&app).published_by_clients.fetch_add(1, Ordering::Relaxed);
                let reply = Reply::Published { message_id: published.id, position: published.position };
                self.answer(slot, tag, reply);
            }
            Err(error) => self.refuse(slot, tag, error.into(), Some(channel)),
        }
    }

    fn history(&mut self, slot: Slot, tag: Tag, channel: ChannelName, range: HistoryRange, now: Now) {
        if let Err(refusal) = self.may_read(slot, &channel) {
            return self.refuse(slot, &tag, refusal, Some(channel));
        }
        let app = self.connections[slot.index as usize].identity.app.clone();
        let page = self.hub.history(&app, &channel, range, now.unix_ms);
        let answered = |result| match result {
            Ok(page) => Outcome::Answered(tag, Reply::History(page)),
            Err(refusal) => Outcome::Answered(tag, Reply::Refused { refusal, channel: Some(channel) }),
        };
        self.when(slot, page, answered, now);
    }

    /// Some events in a channel are for its members; those about a whole scope, for whoever is in that.
    fn may_send_event(&self, slot: Slot, channel: Option<&ChannelName>, event: &str) -> bool {
        let (Some(channel), Some(application), Some(connection)) = (channel, self.hub.application(), self.get(slot))
        else {
            return true;
        };
        channel.scope() == Some(channel.as_str())
            || !application.members_only(channel, event)
            || self.is_member(connection, channel)
    }

    /// What the application says of an event; none when it does not handle it.
    fn ask_event(
        &self,
        slot: Slot,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        let application = self.hub.application()?;
        application.event(&self.get(slot)?.identity.caller(), channel, event, payload)
    }

    fn unhandled(
        &mut self,
        slot: Slot,
        tag: Tag,
        channel: Option<ChannelName>,
        fallback: Option<Box<Publish>>,
        now: Now,
    ) {
        match fallback {
            Some(publish) => self.publish(slot, tag, (*publish).into(), now),
            None => {
                let refusal = Refusal::new(ErrorCode::UnknownType, "nobody handles this event");
                self.refuse(slot, &tag, refusal, channel);
            }
        }
    }

    /// Does what an application wants to happen besides its answer: it joins, publishes, tells, and leaves. What is
    /// published to a channel that is joined waits until it is, so that the new member gets it.
    pub fn apply(&mut self, slot: Slot, effects: Effects, now: Now) {
        let Effects { join, leave, publish, emit } = effects;
        let (behind, publish): (Vec<_>, Vec<_>) =
            publish.into_iter().partition(|publish| join.contains(&publish.channel));
        for channel in join {
            let publish = behind.iter().filter(|publish| publish.channel == channel).cloned().collect();
            let decision = Decision { effects: Effects { publish, ..Effects::default() }, ..Decision::default() };
            self.subscribe_decided(slot, Asker::Server, Subscribe::live(channel), Ok(decision), now);
        }
        for publish in publish {
            self.publish_for(slot, publish, now);
        }
        for Emission { channel, event, payload, ack } in emit {
            self.notify(slot, &Notice::Event { channel, event, payload, ack, mark: None });
        }
        for channel in leave {
            self.end_subscription(slot, &channel, Refusal::new(ErrorCode::Forbidden, "ended by the application"), now);
        }
    }

    pub(super) fn publish_for(&mut self, slot: Slot, publish: Publish, now: Now) {
        let Some(connection) = self.get(slot) else {
            return;
        };
        let exclude = (!publish.echo).then(|| connection.identity.connection.clone());
        let app = connection.identity.app.clone();
        let channel = publish.channel.clone();
        match self.hub.publish(&app, publish, exclude, now.unix_ms) {
            Pending::Ready(Ok(_)) => {}
            Pending::Ready(Err(refusal)) => {
                tracing::warn!(%channel, %refusal, "the application's publish was refused")
            }
            Pending::Later(future) => self.hub.spawn(Box::pin(async move {
                if let Err(refusal) = future.await {
                    tracing::warn!(%channel, %refusal, "the application's publish was refused");
                }
            })),
        }
    }
}
