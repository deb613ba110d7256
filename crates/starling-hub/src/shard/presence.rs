//! Presence as one worker's connections ask for it and follow it.

use starling_core::{
    EngineError, ErrorCode, Outgoing, PresenceAction, PresenceDiff, PresenceEntry, PresenceEvent, PresenceSnapshot,
    RawJson, Refusal, Subscribe,
};

use super::catchup::NOBODY;
use super::*;
use crate::channel::Watcher;
use crate::hub::no_presence;

/// Whose presence a request changes, and to what.
pub(crate) struct Changed {
    /// The connection as it was when it asked: it may be gone when the answer comes.
    connection: ConnectionId,
    present: bool,
}

impl<T: Endpoint> Shard<T> {
    pub(super) fn presence_request(
        &mut self,
        slot: Slot,
        tag: Tag,
        channel: ChannelName,
        action: PresenceAction,
        now: Now,
    ) {
        if let Err(refusal) = self.may_use_presence(slot, &channel, &action) {
            return self.refuse(slot, &tag, refusal, Some(channel));
        }
        let identity = &self.connections[slot.index as usize].identity;
        let key = ChannelKey { app: identity.app.clone(), channel };
        let change = match action {
            PresenceAction::Get => {
                let members = self.hub.members(&key.app, &key.channel);
                let answered = |members: Result<PresenceSnapshot, Refusal>| match members {
                    Ok(snapshot) => Outcome::Answered(tag, Reply::Members(snapshot.members)),
                    Err(refusal) => Outcome::Answered(tag, Reply::Refused { refusal, channel: Some(key.channel) }),
                };
                return self.when(slot, members, answered, now);
            }
            PresenceAction::Enter(data) => PresenceChange::Enter(entry(identity, data)),
            PresenceAction::Update(data) => PresenceChange::Enter(entry(identity, Some(data))),
            PresenceAction::Leave => PresenceChange::Leave(identity.connection.clone()),
        };
        let present = matches!(change, PresenceChange::Enter(_));
        let changed = Changed { connection: identity.connection.clone(), present };
        let done = self.hub.engine().presence(&key.app, &key.channel, change);
        self.when(slot, done, move |result| Outcome::PresenceChanged(Some(tag), key, changed, result), now);
    }

    fn may_use_presence(&self, slot: Slot, channel: &ChannelName, action: &PresenceAction) -> Result<(), Refusal> {
        let connection = &self.connections[slot.index as usize];
        let is_member = self.is_member(connection, channel);
        if !is_member {
            match action {
                PresenceAction::Get => self.may_read(slot, channel)?,
                _ => {
                    self.may_read(slot, channel)?;
                    return Err(Refusal::new(ErrorCode::NotSubscribed, "only members can be present"));
                }
            }
        }
        let rule = self.settings.rule(&connection.identity.app, channel);
        if rule.is_none_or(|rule| rule.presence.is_none()) {
            return Err(no_presence());
        }
        Ok(())
    }

    pub(super) fn presence_changed(
        &mut self,
        slot: Slot,
        tag: Option<Tag>,
        key: &ChannelKey,
        changed: Changed,
        result: Result<(), EngineError>,
    ) {
        if result.is_ok() {
            let index = self.by_name.get(key).copied();
            let subscription = index.and_then(|index| self.get_mut(slot)?.subscription(index));
            match subscription {
                Some(subscription) => subscription.present = changed.present,
                // It left meanwhile, and must not stay behind.
                None if changed.present => self.leave_presence(key, changed.connection),
                None => {}
            }
        }
        match (tag, result) {
            (Some(tag), Ok(())) => self.answer(slot, &tag, Reply::Done),
            (Some(tag), Err(error)) => self.refuse(slot, &tag, error.into(), Some(key.channel.clone())),
            (None, Ok(())) => {}
            // It is a member all the same; the request that made it one was answered before.
            (None, Err(error)) => {
                let Refusal { code, message } = Refusal::from(error);
                let why = format!("subscribed to {}, but not present there: {message}", key.channel);
                self.notify(slot, &Notice::Error { refusal: Refusal::custom(code, why) });
            }
        }
    }

    /// A connection that entered presence without a user has one now: its entries get it, and keep their data.
    pub(super) fn name_in_presence(&mut self, slot: Slot, now: Now) {
        let present = self.connections[slot.index as usize].subscriptions.iter().filter(|it| it.present);
        let keys: Vec<ChannelKey> = present.map(|it| self.channels[it.channel as usize].key.clone()).collect();
        for key in keys {
            let members = self.hub.engine().members(&key.app, &key.channel);
            self.when(slot, members, |members| Outcome::Nameless(key, members), now);
        }
    }

    /// Who is present where a connection may be without a user.
    pub(super) fn nameless_found(
        &mut self,
        slot: Slot,
        key: ChannelKey,
        members: Result<PresenceSnapshot, EngineError>,
        now: Now,
    ) {
        let Some(identity) = self.get(slot).map(|connection| &connection.identity) else { return };
        let entries = members.map(|snapshot| snapshot.members).unwrap_or_default();
        let own = |entry: &PresenceEntry| entry.connection == identity.connection && entry.user.is_none();
        let Some(entry) = entries.into_iter().find(own) else { return };
        let entry = PresenceEntry { user: identity.user.clone(), revision: 0, ..entry };
        let changed = Changed { connection: entry.connection.clone(), present: true };
        let done = self.hub.engine().presence(&key.app, &key.channel, PresenceChange::Enter(entry));
        self.when(slot, done, |result| Outcome::PresenceChanged(None, key, changed, result), now);
    }

    /// What a new member asked for: to be present, and to see who is. In this order, so that it sees itself.
    pub(super) fn start_presence(&mut self, slot: Slot, key: &ChannelKey, subscribe: &Subscribe, now: Now) {
        let more = subscribe.more.as_deref();
        let if_kept = more.is_some_and(|more| more.presence_if_kept);
        if !subscribe.presence && subscribe.enter.is_none() && !if_kept {
            return;
        }
        let Some(&index) = self.by_name.get(key) else {
            return;
        };
        if !self.channels[index as usize].has_presence() {
            return;
        }
        // It may have been closed while it was given what it missed.
        if self.get_mut(slot).and_then(|connection| connection.subscription(index)).is_none() {
            return;
        }
        if subscribe.enter.is_some() || if_kept {
            let connection = &self.connections[slot.index as usize];
            let mut entry = entry(&connection.identity, subscribe.enter.clone());
            if let Some(user) = more.and_then(|more| more.as_user.clone()) {
                entry.user = Some(user);
            }
            let change = PresenceChange::Enter(entry);
            let changed = Changed { connection: connection.identity.connection.clone(), present: true };
            let done = self.hub.engine().presence(&key.app, &key.channel, change);
            let entered = key.clone();
            self.when(slot, done, |result| Outcome::PresenceChanged(None, entered, changed, result), now);
        }
        if subscribe.presence || if_kept {
            if let Some(subscription) = self.get_mut(slot).and_then(|connection| connection.subscription(index)) {
                subscription.watching = true;
                self.channels[index as usize].watchers.push(Watcher { connection: slot.index, since: None });
            }
            let members = self.hub.engine().members(&key.app, &key.channel);
            let key = key.clone();
            self.when(slot, members, |result| Outcome::Watching(key, result), now);
        }
    }

    /// The state that a new watcher's differences start from.
    pub(super) fn watching(&mut self, slot: Slot, key: &ChannelKey, result: Result<PresenceSnapshot, EngineError>) {
        let Some(&index) = self.by_name.get(key) else {
            return;
        };
        if self.get(slot).is_none() {
            return;
        }
        let channel = &mut self.channels[index as usize];
        if !channel.watchers.iter().any(|watcher| watcher.connection == slot.index) {
            return;
        }
        match result {
            Ok(snapshot) => self.tell_state(index, snapshot, |watcher| watcher.connection == slot.index),
            Err(error) => {
                channel.watchers.retain(|watcher| watcher.connection != slot.index);
                self.forget_events(index);
                self.notify(slot, &Notice::Error { refusal: error.into() });
            }
        }
    }

    /// After a resync: changes may have been missed, so that all watchers start from a new state.
    pub(super) fn watch_again(&mut self, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        if channel.watchers.is_empty() {
            return;
        }
        channel.watchers.iter_mut().for_each(|watcher| watcher.since = None);
        let key = channel.key.clone();
        let members = self.hub.engine().members(&key.app, &key.channel);
        self.aside(NOBODY, members, |result| Outcome::WatchedAgain(key, result), now);
    }

    pub(super) fn watched_again(&mut self, key: &ChannelKey, result: Result<PresenceSnapshot, EngineError>) {
        // If it failed, the engine is away again, and will say `resync` again.
        if let (Some(&index), Ok(snapshot)) = (self.by_name.get(key), result) {
            self.tell_state(index, snapshot, |watcher| watcher.since.is_none());
        }
    }

    /// Gives the state to some watchers, and behind it what happened since it was taken.
    fn tell_state(&mut self, index: u32, snapshot: PresenceSnapshot, of: impl Fn(&Watcher) -> bool) {
        let channel = &mut self.channels[index as usize];
        let (version, name) = (snapshot.version, channel.key.channel.clone());
        let diff = difference(&channel.presence_since, version);
        let last = channel.presence_since.last().map_or(version, |event| event.version.max(version));
        let told: Vec<u32> = channel
            .watchers
            .iter_mut()
            .filter(|watcher| of(watcher))
            .map(|watcher| {
                watcher.since = Some(last);
                watcher.connection
            })
            .collect();
        self.forget_events(index);
        let state = Notice::PresenceState { channel: name.clone(), members: snapshot.members };
        for connection in told {
            self.notify(self.slot(connection), &state);
            if !diff.is_empty() {
                let Self { connections, encoder, .. } = self;
                let entry = &mut connections[connection as usize];
                entry.outbox.push(encoder.encode(entry.form, &Outgoing::PresenceDiff(&name, &diff)));
            }
        }
    }

    /// What happened is kept only while somebody waits for a state that may be older.
    pub(super) fn forget_events(&mut self, index: u32) {
        let channel = &mut self.channels[index as usize];
        if channel.watchers.iter().all(|watcher| watcher.since.is_some()) {
            channel.presence_since = Vec::new();
        }
    }

    /// Tells watchers what changed in this turn, as one difference. Those who know some of it already get their own.
    pub(super) fn deliver_presence(&mut self, index: u32) {
        let channel = &mut self.channels[index as usize];
        if channel.presence.is_empty() {
            return;
        }
        let events = std::mem::take(&mut channel.presence);
        let (first, last) = (events[0].version, events[events.len() - 1].version);
        let Self { channels, connections, encoder, dirty, .. } = self;
        let channel = &mut channels[index as usize];
        let name = &channel.key.channel;
        let everything = difference(&events, 0);
        let mut forms: SmallVec<[(Form, bytes::Bytes); 2]> = SmallVec::new();
        let mut is_awaited = false;
        for watcher in &mut channel.watchers {
            let connection = &mut connections[watcher.connection as usize];
            let form = connection.form;
            let frame = match watcher.since {
                None => {
                    is_awaited = true;
                    continue;
                }
                Some(since) if since >= last => continue,
                Some(since) if since >= first => {
                    encoder.encode(form, &Outgoing::PresenceDiff(name, &difference(&events, since)))
                }
                Some(_) => match forms.iter().find(|(known, _)| *known == form) {
                    Some((_, frame)) => frame.clone(),
                    None => {
                        let frame = encoder.encode(form, &Outgoing::PresenceDiff(name, &everything));
                        forms.push((form, frame.clone()));
                        frame
                    }
                },
            };
            watcher.since = Some(last);
            connection.outbox.push(frame);
            if !std::mem::replace(&mut connection.dirty, true) {
                dirty.push_back(Slot { index: watcher.connection, generation: connection.generation });
            }
        }
        if is_awaited {
            channel.presence_since.extend(events);
        }
    }
}

/// What a channel's events after a version change, as one.
fn difference(events: &[Arc<PresenceEvent>], since: u64) -> PresenceDiff {
    let mut diff = PresenceDiff::default();
    events.iter().filter(|event| event.version > since).for_each(|event| diff.append(event.diff.clone()));
    diff
}

fn entry(identity: &Identity, data: Option<RawJson>) -> PresenceEntry {
    let info = || identity.grants.as_ref().and_then(|grants| grants.info.clone());
    PresenceEntry {
        user: identity.user.clone(),
        connection: identity.connection.clone(),
        data: data.or_else(info).unwrap_or_else(RawJson::empty_object),
        revision: 0,
    }
}
