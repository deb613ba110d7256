//! A membership that the server side gave becomes what its client asks for.

use starling_core::{Decision, EngineError, HistoryPage, HistoryRange, Outgoing, Payload, Start, Subscribe};

use super::catchup::PAGE;
use super::requests::Asker;
use super::*;

/// A client that asks for what it was given, and what it is to begin with.
pub(crate) struct Adopted {
    asker: Asker,
    subscribe: Subscribe,
    key: ChannelKey,
    response: Option<Payload>,
    /// The newest messages, where it wants some.
    page: Result<Option<HistoryPage>, EngineError>,
}

impl<T: Endpoint> Shard<T> {
    /// Whether the client may have as its own what the server side gave it. One that is not there yet is told when it is.
    pub(super) fn may_adopt(&self, slot: Slot, subscribe: &Subscribe) -> bool {
        let may_be = subscribe.more.as_ref().is_some_and(|more| more.adopts);
        let Some(connection) = self.get(slot).filter(|_| may_be) else { return false };
        let key = ChannelRef { app: &connection.identity.app, channel: &subscribe.channel };
        let Some(index) = self.by_name.get(&key) else { return false };
        let mut subscriptions = connection.subscriptions.iter();
        let subscription = subscriptions.find(|subscription| subscription.channel == *index);
        subscription.is_some_and(|subscription| subscription.given && subscription.place != Place::Joining)
    }

    /// Nothing of the membership itself changes: nothing is missed, and nobody hears of a leave.
    pub(super) fn adopt(
        &mut self,
        slot: Slot,
        index: u32,
        asker: Asker,
        mut subscribe: Subscribe,
        decision: Decision,
        now: Now,
    ) {
        if let Some(subscription) = self.connections[slot.index as usize].subscription(index) {
            subscription.given = false;
        }
        let Decision { reply: response, present, effects, .. } = decision;
        subscribe.enter = present.or(subscribe.enter);
        let channel = &self.channels[index as usize];
        let key = channel.key.clone();
        let page = match (&subscribe.start, channel.history()) {
            (Start::Rewind(count), Some(policy)) => {
                let range = HistoryRange { limit: (*count as usize).min(PAGE), before: None, after: None };
                let page = self.hub.engine().history(&key.app, &key.channel, policy, range, now.unix_ms);
                page.map(|page| page.map(Some))
            }
            _ => Pending::Ready(Ok(None)),
        };
        let adopted = move |page| Outcome::Adopted(Box::new(Adopted { asker, subscribe, key, response, page }));
        self.when(slot, page, adopted, now);
        self.apply(slot, effects, now);
    }

    /// Answers as if the membership had begun now, and gives the client what it wants to begin with.
    pub(super) fn adopted(&mut self, slot: Slot, adopted: Adopted, now: Now) {
        let Adopted { asker, subscribe, key, response, page } = adopted;
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.subscribe_refused(slot, asker, error.into(), subscribe.channel),
        };
        let messages = page.as_ref().map(|page| &*page.messages).unwrap_or_default();
        let follows = !messages.is_empty();
        if page.is_some() && !follows {
            self.tell_cache_missed(&key);
        }
        if let Asker::Client(tag) = &asker {
            let (channel, position) = (key.channel.clone(), page.as_ref().map(|page| page.head.clone()));
            self.answer(slot, tag, Reply::Subscribed { channel, position, recovered: None, response, follows });
        }
        let is_presence_first = subscribe.more.as_ref().is_some_and(|more| more.presence_first);
        if is_presence_first {
            self.start_presence(slot, &key, &subscribe, now);
        }
        let Self { connections, encoder, .. } = self;
        let Some(connection) = connections.get_mut(slot.index as usize).filter(|it| it.generation == slot.generation)
        else {
            return;
        };
        for message in
            messages.iter().filter(|message| message.exclude.as_ref() != Some(&connection.identity.connection))
        {
            connection.outbox.push(encoder.encode(connection.form, &Outgoing::Message(message)));
        }
        self.mark_dirty(slot.index);
        if !is_presence_first {
            self.start_presence(slot, &key, &subscribe, now);
        }
    }
}
