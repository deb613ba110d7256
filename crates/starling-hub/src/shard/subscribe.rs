//! Becoming a member, with or without what was missed, and being one no longer.

use starling_core::{
    Decision, EngineError, ErrorCode, HistoryPage, HistoryRange, Position, PresenceSnapshot, Refusal, Start, Subscribe,
};

use super::access::Verdict;
use super::catchup::{NOBODY, PAGE};
use super::requests::{Asker, Joined, NotJoined};
use super::*;
use crate::channel::{Catching, Step};
use crate::hub::no_presence;

impl<T: Endpoint> Shard<T> {
    pub(super) fn subscribe(&mut self, slot: Slot, asker: Asker, subscribe: Subscribe, now: Now) {
        let verdict = match &asker {
            Asker::Server => {
                return self.subscribe_decided(slot, asker, subscribe, Ok(Decision::default()), now);
            }
            Asker::Client(_) if subscribe.channel.is_internal() => {
                return self.subscribe_internal(slot, asker, subscribe, now);
            }
            Asker::Client(_) => self.may_join(slot, &subscribe),
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(refusal) => return self.subscribe_refused(slot, asker, refusal, subscribe.channel),
        };
        if let Some(most) = subscribe.more.as_ref().and_then(|more| more.most_users) {
            let app = self.connections[slot.index as usize].identity.app.clone();
            let members = self.hub.engine().members(&app, &subscribe.channel);
            let counted = move |members: Result<PresenceSnapshot, EngineError>| {
                let room = members.map_err(Refusal::from).and_then(|members| has_room(&members, &subscribe, most));
                Outcome::SubscribeCounted(asker, subscribe, verdict, room)
            };
            return self.when(slot, members, counted, now);
        }
        self.ask_to_subscribe(slot, asker, subscribe, verdict, now);
    }

    /// The rules do not refuse it for good: the application decides.
    pub(super) fn ask_to_subscribe(
        &mut self,
        slot: Slot,
        asker: Asker,
        subscribe: Subscribe,
        verdict: Verdict,
        now: Now,
    ) {
        if self.get(slot).is_none_or(|connection| connection.closing.is_some()) {
            return;
        }
        match self.hub.application.clone() {
            None => {
                let decided = verdict.with(Ok(Decision::default()));
                self.subscribe_decided(slot, asker, subscribe, decided, now);
            }
            Some(application) => {
                let caller = self.connections[slot.index as usize].identity.caller();
                let decided = application.subscribe(&caller, &subscribe).map(move |decided| verdict.with(decided));
                self.when(slot, decided, |decided| Outcome::SubscribeDecided(asker, subscribe, decided), now);
            }
        }
    }

    /// Only protocols name internal channels; neither rules nor the application have a say in them.
    fn subscribe_internal(&mut self, slot: Slot, asker: Asker, subscribe: Subscribe, now: Now) {
        let is_vouched_for = subscribe.more.as_ref().is_some_and(|more| more.vouched);
        let decided = match is_vouched_for {
            true => Ok(Decision::default()),
            false => Err(Refusal::new(ErrorCode::InvalidChannel, "this channel is the server's own")),
        };
        self.subscribe_decided(slot, asker, subscribe, decided, now);
    }

    fn may_join(&self, slot: Slot, subscribe: &Subscribe) -> Result<Verdict, Refusal> {
        let connection = &self.connections[slot.index as usize];
        if self.is_member(connection, &subscribe.channel) && subscribe.channel.user().is_none() {
            if !self.may_adopt(slot, subscribe) {
                return Err(already_subscribed());
            }
        } else if connection.subscription_count() >= self.settings.limits.subscriptions {
            let limit = self.settings.limits.subscriptions;
            return Err(Refusal::new(
                ErrorCode::LimitExceeded,
                format!("a connection has at most {limit} subscriptions"),
            ));
        }
        let is_vouched_for = subscribe.more.as_ref().is_some_and(|more| more.vouched);
        let verdict = match self.may_subscribe(slot, &subscribe.channel) {
            // A user's channel and one without a rule stay closed to everyone.
            Err(_) if is_vouched_for && self.has_rule(slot, &subscribe.channel) => Verdict::Allowed,
            Ok(_) if is_vouched_for => Verdict::Allowed,
            verdict => verdict?,
        };
        if subscribe.presence || subscribe.enter.is_some() {
            let app = &connection.identity.app;
            let rule = self.settings.rule(app, &subscribe.channel);
            if rule.is_none_or(|rule| rule.presence.is_none()) {
                return Err(no_presence());
            }
        }
        Ok(verdict)
    }

    pub(super) fn subscribe_refused(&mut self, slot: Slot, asker: Asker, refusal: Refusal, channel: ChannelName) {
        match asker {
            Asker::Client(tag) => self.refuse(slot, &tag, refusal, Some(channel)),
            Asker::Server => {
                tracing::debug!(%channel, %refusal, "subscribing a connection was refused")
            }
        }
    }

    pub(super) fn subscribe_decided(
        &mut self,
        slot: Slot,
        asker: Asker,
        subscribe: Subscribe,
        decided: Result<Decision, Refusal>,
        now: Now,
    ) {
        let Some(connection) = self.get_mut(slot).filter(|connection| connection.closing.is_none()) else {
            return;
        };
        let app = connection.identity.app.clone();
        let mut decision = match decided {
            Ok(decision) => decision,
            Err(refusal) => return self.subscribe_refused(slot, asker, refusal, subscribe.channel),
        };
        let key = ChannelKey { app, channel: subscribe.channel.clone() };
        let index = self.channel(key.clone());
        if self.connections[slot.index as usize].subscription(index).is_some() {
            if matches!(asker, Asker::Server) {
                // It is what the application wanted it to be.
                return decision.effects.publish.into_iter().for_each(|publish| self.publish_for(slot, publish, now));
            }
            if self.may_adopt(slot, &subscribe) {
                return self.adopt(slot, index, asker, subscribe, decision, now);
            }
            return self.subscribe_refused(slot, asker, already_subscribed(), subscribe.channel);
        }
        let implicit = key.channel.is_internal();
        if !implicit {
            self.widen(slot);
        }
        self.add_subscription(
            slot.index,
            Subscription {
                channel: index,
                place: Place::Joining,
                watching: false,
                present: false,
                implicit,
                given: matches!(asker, Asker::Server),
            },
        );
        let channel = &mut self.channels[index as usize];
        channel.joining += 1;
        channel.vacant_since = None;
        let result = self.prepare(index, &subscribe.start, now);
        let (response, present) = (decision.reply, decision.present);
        let (publish, elsewhere) =
            std::mem::take(&mut decision.effects.publish).into_iter().partition(|it| it.channel == key.channel);
        decision.effects.publish = elsewhere;
        let joined = move |result| {
            Outcome::Joined(Box::new(Joined { asker, subscribe, key, response, publish, present, result }))
        };
        self.when(slot, result, joined, now);
        self.apply(slot, decision.effects, now);
    }

    /// Lets the endpoint know that it will be a member of more than one channel.
    fn widen(&mut self, slot: Slot) {
        if self.connections[slot.index as usize].subscription_count() == 0 {
            return;
        }
        let Self { connections, channels, hub, .. } = self;
        let connection = &mut *connections[slot.index as usize];
        let members: Vec<(ChannelName, Option<Position>)> = connection
            .subscriptions
            .iter()
            .filter(|subscription| !subscription.implicit)
            .map(|subscription| {
                let channel = &channels[subscription.channel as usize];
                let position = match subscription.place {
                    Place::Joining => None,
                    Place::Live(_) => channel.cursor.clone(),
                    Place::Catching => {
                        let reads = channel.catching.iter().find(|entry| entry.connection == slot.index);
                        reads.map(|entry| entry.position.clone())
                    }
                };
                (channel.key.channel.clone(), position)
            })
            .collect();
        if let Some(form) = connection.endpoint.widen(&members, &mut connection.outbox) {
            let before = std::mem::replace(&mut connection.form, form);
            let counters = hub.counters().of(&connection.identity.app);
            counters.connections.of(before).fetch_sub(1, Ordering::Relaxed);
            counters.connections.of(form).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_subscription(&mut self, index: u32, subscription: Subscription) {
        let subscriptions = &mut self.connections[index as usize].subscriptions;
        let at = subscriptions.partition_point(|known| known.channel < subscription.channel);
        subscriptions.insert(at, subscription);
    }

    /// Registers interest, then reads what a member that starts at `start` needs first. In this order: whatever is
    /// published after the log was read arrives at the inbox.
    fn prepare(&mut self, index: u32, start: &Start, now: Now) -> Pending<Result<Option<HistoryPage>, NotJoined>> {
        let channel = &mut self.channels[index as usize];
        let (app, name) = (channel.key.app.clone(), channel.key.channel.clone());
        let engine = self.hub.engine().clone();
        channel.wishes += 1;
        let interest = engine.interest(&app, &name, true);
        let Some(policy) = channel.history() else {
            return interest.map(|result| result.map(|()| None).map_err(NotJoined::Interest));
        };
        let range = match *start {
            Start::Live => HistoryRange { limit: 0, before: None, after: None },
            Start::Recover(ref position) | Start::RecoverOrRewind(ref position, _) => {
                HistoryRange { limit: PAGE, before: None, after: Some(position.offset) }
            }
            Start::Rewind(count) if count as usize <= PAGE => {
                HistoryRange { limit: count as usize, before: None, after: None }
            }
            // Too many for one page: read from the right place on, once the head is known.
            Start::Rewind(_) => HistoryRange { limit: 0, before: None, after: None },
        };
        let page = move || engine.history(&app, &name, policy, range, now.unix_ms);
        let read = |page: Result<HistoryPage, EngineError>| page.map(Some).map_err(NotJoined::Log);
        match interest {
            Pending::Ready(Ok(())) => page().map(read),
            Pending::Ready(Err(error)) => Pending::Ready(Err(NotJoined::Interest(error))),
            Pending::Later(interest) => Pending::later(async move {
                interest.await.map_err(NotJoined::Interest)?;
                read(page().wait().await)
            }),
        }
    }

    pub(super) fn joined(&mut self, slot: Slot, mut joined: Joined, now: Now) {
        let publish = std::mem::take(&mut joined.publish);
        self.become_member(slot, joined, now);
        publish.into_iter().for_each(|publish| self.publish_for(slot, publish, now));
    }

    fn become_member(&mut self, slot: Slot, joined: Joined, now: Now) {
        let Some(&index) = self.by_name.get(&joined.key) else {
            return;
        };
        if matches!(joined.result, Err(NotJoined::Interest(_))) {
            self.wish_failed(index);
        }
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        let Some(subscription) = connection.subscription(index) else {
            return;
        };
        if subscription.place != Place::Joining {
            return;
        }
        let mut page = match joined.result {
            Ok(page) => page,
            Err(error) => {
                self.drop_subscription(slot.index, index, now);
                return self.subscribe_refused(slot, joined.asker, error.into(), joined.subscribe.channel);
            }
        };
        let channel = &mut self.channels[index as usize];
        channel.joining -= 1;
        let counters = channel.counters.clone();
        if !joined.key.channel.is_internal() {
            counters.members.fetch_add(1, Ordering::Relaxed);
            self.tell_joined(&joined.key);
        }
        let (start, recovered) = starting_point(&joined.subscribe.start, page.as_ref());
        match recovered {
            Some(true) => _ = counters.recovered.fetch_add(1, Ordering::Relaxed),
            Some(false) => _ = counters.not_recovered.fetch_add(1, Ordering::Relaxed),
            None => {}
        }
        if recovered == Some(false)
            && let Some(page) = &mut page
        {
            // Read from a position that is no place to go on from.
            page.messages = Vec::new();
        }
        let head = page.as_ref().map(|page| page.head.clone());
        let follows = start.as_ref().zip(head.as_ref()).is_some_and(|(start, head)| start.offset < head.offset);
        if page.is_some() && !follows && matches!(joined.subscribe.start, Start::Rewind(count) if count > 0) {
            self.tell_cache_missed(&joined.key);
        }
        // The answer goes first: what was missed follows it.
        match &joined.asker {
            Asker::Client(tag) => {
                let reply = Reply::Subscribed {
                    channel: joined.key.channel.clone(),
                    position: head,
                    recovered,
                    response: joined.response,
                    follows,
                };
                self.answer(slot, tag, reply);
            }
            Asker::Server => {
                let channel = joined.key.channel.clone();
                self.notify(slot, &Notice::Subscribed { channel: channel.clone(), position: head.clone() });
                // It was sure to get everything when this began; the log has moved on since.
                if let (Some(false), Start::Recover(from), Some(head)) = (recovered, &joined.subscribe.start, head) {
                    let missed =
                        if from.epoch == head.epoch { head.offset.saturating_sub(from.offset) } else { head.offset };
                    self.notify(slot, &Notice::Gap { channel, missed });
                }
            }
        }
        let mut subscribe = joined.subscribe;
        if joined.present.is_some() {
            subscribe.enter = joined.present;
        }
        let is_presence_first = subscribe.more.as_ref().is_some_and(|more| more.presence_first);
        if is_presence_first {
            self.start_presence(slot, &joined.key, &subscribe, now);
        }
        match (start, page) {
            (Some(position), Some(page)) => {
                self.begin_catching(slot.index, index, position);
                if self.feed(slot, index, &page) {
                    self.read_on(slot, index, now);
                }
            }
            _ => self.go_live(slot.index, index),
        }
        if !is_presence_first {
            self.start_presence(slot, &joined.key, &subscribe, now);
        }
    }

    fn begin_catching(&mut self, connection: u32, index: u32, position: Position) {
        self.channels[index as usize].catching.push(Catching { connection, position, step: Step::Page(0) });
        let entry = &mut self.connections[connection as usize];
        entry.catching += 1;
        if let Some(subscription) = entry.subscription(index) {
            subscription.place = Place::Catching;
        }
    }

    /// From now on it gets messages as they come.
    pub(super) fn go_live(&mut self, connection: u32, index: u32) {
        let channel = &mut self.channels[index as usize];
        let place = channel.live.len() as u32;
        channel.live.push(connection);
        if let Some(subscription) = self.connections[connection as usize].subscription(index) {
            subscription.place = Place::Live(place);
        }
        self.note_own(connection, Some(index), Deed::Live, None);
    }

    /// Makes a connection a member of its user's channel, without a log and without a word to the client.
    pub(super) fn join_user_channel(&mut self, slot: Slot, channel: ChannelName, now: Now) {
        let app = self.connections[slot.index as usize].identity.app.clone();
        let index = self.channel(ChannelKey { app, channel });
        self.channels[index as usize].vacant_since = None;
        if self.connections[slot.index as usize].subscription(index).is_some() {
            return;
        }
        self.add_subscription(
            slot.index,
            Subscription {
                channel: index,
                place: Place::Joining,
                watching: false,
                present: false,
                implicit: true,
                given: false,
            },
        );
        self.go_live(slot.index, index);
        self.wish(index, now);
    }

    /// Tells the engine that this worker wants a channel. If it fails, it is done again when the engine is back.
    pub(super) fn wish(&mut self, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        channel.wishes += 1;
        let key = channel.key.clone();
        let wished = self.hub.engine().interest(&key.app, &key.channel, true);
        self.aside(NOBODY, wished, |result| Outcome::Wished(key, result), now);
    }

    pub(super) fn wished(&mut self, key: &ChannelKey, result: &Result<(), EngineError>) {
        if result.is_err()
            && let Some(&index) = self.by_name.get(key)
        {
            self.wish_failed(index);
        }
    }

    /// What the engine did not take must not be taken back from it.
    fn wish_failed(&mut self, index: u32) {
        let channel = &mut self.channels[index as usize];
        channel.wishes = channel.wishes.saturating_sub(1);
    }

    pub(super) fn unsubscribe(&mut self, slot: Slot, tag: &Tag, channel: ChannelName, now: Now) {
        if self.remove_member(slot, &channel, now) {
            self.answer(slot, tag, Reply::Unsubscribed { channel });
        } else {
            let refusal = Refusal::new(ErrorCode::NotSubscribed, "not a member of this channel");
            self.refuse(slot, tag, refusal, Some(channel));
        }
    }

    /// Ends a subscription from the server's side, and tells the client why.
    pub fn end_subscription(&mut self, slot: Slot, channel: &ChannelName, refusal: Refusal, now: Now) {
        if self.remove_member(slot, channel, now) {
            self.notify(slot, &Notice::Unsubscribed { channel: channel.clone(), refusal });
        }
    }

    fn remove_member(&mut self, slot: Slot, channel: &ChannelName, now: Now) -> bool {
        let Some(connection) = self.get_mut(slot) else {
            return false;
        };
        let key = ChannelKey { app: connection.identity.app.clone(), channel: channel.clone() };
        let Some(&index) = self.by_name.get(&key) else {
            return false;
        };
        let connection = &mut self.connections[slot.index as usize];
        let is_fixed = |subscription: &mut Subscription| subscription.implicit && !channel.is_internal();
        if connection.subscription(index).is_none_or(is_fixed) {
            return false;
        }
        connection.outbox.forget_channel(channel);
        self.drop_subscription(slot.index, index, now);
        true
    }

    pub(super) fn drop_subscription(&mut self, connection: u32, index: u32, now: Now) {
        let subscriptions = &mut self.connections[connection as usize].subscriptions;
        if let Ok(at) = subscriptions.binary_search_by_key(&index, |known| known.channel) {
            let subscription = subscriptions.remove(at);
            self.leave(connection, subscription, now);
        }
    }
}

/// Where a new member starts reading (`None`: there is no log), and whether it recovered, if it asked to.
fn starting_point(start: &Start, page: Option<&HistoryPage>) -> (Option<Position>, Option<bool>) {
    let Some(page) = page else {
        return (None, matches!(start, Start::Recover(_) | Start::RecoverOrRewind(..)).then_some(false));
    };
    let rewound = |count: u32| {
        let offset = page.head.offset.saturating_sub(u64::from(count)).max(page.oldest.saturating_sub(1));
        Position { epoch: page.head.epoch.clone(), offset }
    };
    let is_there = |position: &Position| {
        position.epoch == page.head.epoch && position.offset <= page.head.offset && position.offset + 1 >= page.oldest
    };
    match start {
        Start::Live => (Some(page.head.clone()), None),
        Start::Rewind(count) => (Some(rewound(*count)), None),
        Start::Recover(position) | Start::RecoverOrRewind(position, _) if is_there(position) => {
            (Some(position.clone()), Some(true))
        }
        Start::Recover(_) => (Some(page.head.clone()), Some(false)),
        Start::RecoverOrRewind(_, count) => (Some(rewound(*count)), Some(false)),
    }
}

/// Whether there is room for one more user, or the user is there already.
fn has_room(members: &PresenceSnapshot, subscribe: &Subscribe, most: usize) -> Result<(), Refusal> {
    let newcomer = subscribe.more.as_ref().and_then(|more| more.as_user.as_ref());
    let mut users: Vec<_> = members.members.iter().filter_map(|entry| entry.user.as_ref()).collect();
    users.sort_unstable();
    users.dedup();
    if users.len() < most || newcomer.is_some_and(|newcomer| users.contains(&newcomer)) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::LimitExceeded, format!("the channel has room for {most} users")))
}

fn already_subscribed() -> Refusal {
    Refusal::new(ErrorCode::AlreadySubscribed, "already a member of this channel")
}
