//! Presence as one worker's connections ask for it and follow it.

use starling_core::{
    EngineError, ErrorCode, Outgoing, PresenceAction, PresenceDiff, PresenceEntry, PresenceSnapshot, RawJson, Refusal,
    Subscribe,
};

use super::*;
use crate::channel::Watcher;
use crate::hub::no_presence;

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
        let changed = self.hub.engine().presence(&key.app, &key.channel, change);
        self.when(slot, changed, move |result| Outcome::PresenceChanged(Some(tag), key, present, result), now);
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
        let rule = self.settings.rules.for_channel(&connection.identity.app, channel.as_str());
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
        present: bool,
        result: Result<(), EngineError>,
    ) {
        if result.is_ok() {
            let index = self.by_name.get(key).copied();
            let connection = self.get_mut(slot).filter(|connection| connection.closing.is_none());
            let id = connection.as_ref().map(|connection| connection.identity.connection.clone());
            match index.and_then(|index| connection?.subscription(index)) {
                Some(subscription) => subscription.present = present,
                // It left meanwhile, and must not stay behind.
                None if present => {
                    if let Some(id) = id {
                        self.leave_presence(key, id);
                    }
                }
                None => {}
            }
        }
        let Some(tag) = tag else { return };
        match result {
            Ok(()) => self.answer(slot, &tag, Reply::Done),
            Err(error) => self.refuse(slot, &tag, error.into(), Some(key.channel.clone())),
        }
    }

    /// What a new member asked for: to be present, and to see who is. In this order, so that it sees itself.
    pub(super) fn start_presence(&mut self, slot: Slot, key: &ChannelKey, subscribe: &Subscribe, now: Now) {
        if !subscribe.presence && subscribe.enter.is_none() {
            return;
        }
        let Some(&index) = self.by_name.get(key) else {
            return;
        };
        if !self.channels[index as usize].has_presence() {
            return;
        }
        if let Some(data) = &subscribe.enter {
            let Some(connection) = self.get(slot) else {
                return;
            };
            let change = PresenceChange::Enter(entry(&connection.identity, Some(data.clone())));
            let changed = self.hub.engine().presence(&key.app, &key.channel, change);
            let entered = key.clone();
            self.when(slot, changed, |result| Outcome::PresenceChanged(None, entered, true, result), now);
        }
        if subscribe.presence {
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
        let watchers = &mut self.channels[index as usize].watchers;
        let Some(watcher) = watchers.iter_mut().find(|watcher| watcher.connection == slot.index) else {
            return;
        };
        let snapshot = match result {
            Ok(snapshot) => snapshot,
            Err(error) => {
                watchers.retain(|watcher| watcher.connection != slot.index);
                return self.notify(slot, &Notice::Error { refusal: error.into() });
            }
        };
        watcher.since = Some(snapshot.version);
        let notice = Notice::PresenceState { channel: key.channel.clone(), members: snapshot.members };
        self.notify(slot, &notice);
    }

    /// Tells watchers what changed in this turn, as one difference. Those who were given a newer state than the first
    /// change get their own.
    pub(super) fn deliver_presence(&mut self, index: u32) {
        let channel = &mut self.channels[index as usize];
        if channel.presence.is_empty() {
            return;
        }
        let events = std::mem::take(&mut channel.presence);
        let (first, last) = (events[0].version, events[events.len() - 1].version);
        let difference = |since: u64| {
            let mut diff = PresenceDiff::default();
            events.iter().filter(|event| event.version > since).for_each(|event| diff.append(event.diff.clone()));
            diff
        };
        let everything = difference(0);
        let Self { channels, connections, encoder, dirty, .. } = self;
        let channel = &mut channels[index as usize];
        let mut forms: SmallVec<[(Form, bytes::Bytes); 2]> = SmallVec::new();
        for watcher in &channel.watchers {
            let connection = &mut connections[watcher.connection as usize];
            let form = connection.form;
            let frame = match watcher.since {
                // It waits for the state, which may be older than these changes.
                None => difference(0),
                Some(since) if since >= last => continue,
                Some(since) if since >= first => difference(since),
                Some(_) => {
                    let known = forms.iter().find(|(known, _)| *known == form).map(|(_, frame)| frame.clone());
                    let frame = known.unwrap_or_else(|| {
                        let outgoing = Outgoing::PresenceDiff(&channel.key.channel, &everything);
                        let frame = encoder.encode(form, &outgoing);
                        forms.push((form, frame.clone()));
                        frame
                    });
                    connection.outbox.push(frame);
                    if !std::mem::replace(&mut connection.dirty, true) {
                        dirty.push(Slot { index: watcher.connection, generation: connection.generation });
                    }
                    continue;
                }
            };
            if frame.is_empty() || watcher.since.is_none() {
                continue;
            }
            connection.outbox.push(encoder.encode(form, &Outgoing::PresenceDiff(&channel.key.channel, &frame)));
            if !std::mem::replace(&mut connection.dirty, true) {
                dirty.push(Slot { index: watcher.connection, generation: connection.generation });
            }
        }
    }
}

fn entry(identity: &Identity, data: Option<RawJson>) -> PresenceEntry {
    let info = || identity.grants.as_ref().and_then(|grants| grants.info.clone());
    PresenceEntry {
        user: identity.user.clone(),
        connection: identity.connection.clone(),
        data: data.or_else(info).unwrap_or_else(RawJson::empty_object),
    }
}
