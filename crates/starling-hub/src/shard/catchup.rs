//! Members that read the log: after a recovery, a rewind, or when messages were lost on the way to this node.

use starling_core::{Delivery, EngineError, HistoryPage, HistoryRange, Outgoing, Position};

use super::*;
use crate::broadcast::Broadcast;
use crate::channel::Step;

/// Messages read from the log at once. A page is in memory only while it is written.
pub(super) const PAGE: usize = 256;

impl<T: Endpoint> Shard<T> {
    /// Writes a page of the log to a member that reads it, as far as its socket takes it, and goes on from there.
    pub(super) fn feed(&mut self, slot: Slot, index: u32, page: &HistoryPage, now: Now) {
        let settings = self.settings.clone();
        let Self { channels, connections, encoder, .. } = self;
        let channel = &mut channels[index as usize];
        let connection = &mut connections[slot.index as usize];
        let Some(catching) = channel.catching.iter_mut().find(|entry| entry.connection == slot.index) else {
            return;
        };
        let mut delivered = 0;
        let mut full = false;
        for message in &page.messages {
            let Some(position) = &message.position else {
                continue;
            };
            if position.offset <= catching.position.offset {
                continue;
            }
            if !connection.outbox.is_flowing(&settings.backpressure) {
                full = true;
                break;
            }
            if message.exclude.as_ref() != Some(&connection.identity.connection) {
                connection.outbox.push(encoder.encode(connection.form, &Outgoing::Message(message)));
                delivered += 1;
            }
            catching.position = position.clone();
        }
        channel.counters.delivered.of(connection.form).fetch_add(delivered, Ordering::Relaxed);
        let is_at_head = catching.position.offset >= page.head.offset;
        catching.step = if full { Step::Socket } else { Step::Page };
        self.mark_dirty(slot.index);
        if full {
            return;
        }
        if is_at_head { self.meet_cursor(slot, index, now) } else { self.read_on(slot, index, now) }
    }

    /// A member read to the head of the log: it goes live if the live members are there too.
    fn meet_cursor(&mut self, slot: Slot, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        let Some(at) = channel.catching.iter().position(|entry| entry.connection == slot.index) else {
            return;
        };
        let position = &channel.catching[at].position;
        match &channel.cursor {
            Some(cursor) if !channel.live.is_empty() && cursor.epoch != position.epoch => {
                // The live members have not heard yet that there is a new log; they will be told.
                channel.catching[at].step = Step::Cursor;
            }
            Some(cursor) if cursor.epoch == position.epoch && cursor.offset > position.offset => {
                self.read_on(slot, index, now);
            }
            Some(cursor)
                if cursor.epoch == position.epoch && cursor.offset < position.offset && !channel.live.is_empty() =>
            {
                channel.catching[at].step = Step::Cursor;
            }
            _ => {
                channel.cursor = Some(position.clone());
                self.stop_catching(at, index);
            }
        }
    }

    /// Members that wait where the live members have arrived go live.
    pub(super) fn promote(&mut self, index: u32) {
        let channel = &self.channels[index as usize];
        let arrived = |channel: &Channel| {
            channel
                .catching
                .iter()
                .position(|entry| entry.step == Step::Cursor && channel.cursor.as_ref() == Some(&entry.position))
        };
        let mut next = arrived(channel);
        while let Some(at) = next {
            self.stop_catching(at, index);
            next = arrived(&self.channels[index as usize]);
        }
    }

    fn stop_catching(&mut self, at: usize, index: u32) {
        let catching = self.channels[index as usize].catching.swap_remove(at);
        self.connections[catching.connection as usize].catching -= 1;
        self.go_live(catching.connection, index);
    }

    fn read_on(&mut self, slot: Slot, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        let Some(policy) = channel.history() else {
            return;
        };
        let Some(catching) = channel.catching.iter_mut().find(|entry| entry.connection == slot.index) else {
            return;
        };
        catching.step = Step::Page;
        let range = HistoryRange { limit: PAGE, before: None, after: Some(catching.position.offset) };
        let key = channel.key.clone();
        let page = self.hub.engine().history(&key.app, &key.channel, policy, range, now.unix_ms);
        self.aside(slot, page, |page| Outcome::Page(key, page), now);
    }

    /// Like `when`, but the connection's own requests go on meanwhile.
    fn aside<R: Send + 'static>(
        &mut self,
        slot: Slot,
        pending: Pending<R>,
        then: impl FnOnce(R) -> Outcome + Send + 'static,
        now: Now,
    ) {
        match pending {
            Pending::Ready(answer) => self.finish(slot, then(answer), now),
            Pending::Later(future) => {
                let inbox = self.inbox.clone();
                self.hub.spawn(Box::pin(async move {
                    let outcome = then(future.await);
                    inbox.post(Letter::Completed(Box::new(Completion { slot, outcome, was_blocking: false })));
                }));
            }
        }
    }

    pub(super) fn page_arrived(
        &mut self,
        slot: Slot,
        key: &ChannelKey,
        page: Result<HistoryPage, EngineError>,
        now: Now,
    ) {
        let Some(&index) = self.by_name.get(key) else {
            return;
        };
        if self.get(slot).is_none() {
            return;
        }
        let channel = &mut self.channels[index as usize];
        let delivery = channel.delivery();
        let Some(catching) = channel.catching.iter_mut().find(|entry| entry.connection == slot.index) else {
            return;
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.end_subscription(slot, &key.channel, error.into(), now),
        };
        if let Some((missed, from)) = hole(&catching.position, &page) {
            if delivery == Delivery::Reliable {
                // It reads more slowly than the log moves on: for a reliable channel that is a slow consumer.
                return self.close(slot, CloseReason::SlowConsumer, now);
            }
            catching.position = from;
            self.notify(slot, &Notice::Gap { channel: key.channel.clone(), missed });
        }
        self.feed(slot, index, &page, now);
    }

    /// The socket of a connection that reads logs has room again.
    pub(super) fn continue_reading(&mut self, slot: Slot, now: Now) {
        let connection = &self.connections[slot.index as usize];
        let reading: Vec<u32> = connection
            .subscriptions
            .iter()
            .filter(|subscription| subscription.place == Place::Catching)
            .map(|subscription| subscription.channel)
            .collect();
        for index in reading {
            let channel = &self.channels[index as usize];
            let waits = |entry: &crate::channel::Catching| entry.connection == slot.index && entry.step == Step::Socket;
            if channel.catching.iter().any(waits) {
                self.read_on(slot, index, now);
            }
            if self.get(slot).is_none_or(|c| !c.outbox.is_flowing(&self.settings.backpressure)) {
                return;
            }
        }
    }

    /// The live members of a channel missed something on the way to this node: it is read from the log once for all.
    pub(super) fn refill(&mut self, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        let (Some(policy), Some(cursor)) = (channel.history(), &channel.cursor) else {
            return;
        };
        if std::mem::replace(&mut channel.refilling, true) {
            return;
        }
        let range = HistoryRange { limit: PAGE, before: None, after: Some(cursor.offset) };
        let key = channel.key.clone();
        let page = self.hub.engine().history(&key.app, &key.channel, policy, range, now.unix_ms);
        // No connection is behind this: a slot that never was.
        let nobody = Slot { index: u32::MAX, generation: 0 };
        self.aside(nobody, page, |page| Outcome::Refilled(key, page), now);
    }

    pub(super) fn refilled(&mut self, key: &ChannelKey, page: Result<HistoryPage, EngineError>, now: Now) {
        let Some(&index) = self.by_name.get(key) else {
            return;
        };
        let channel = &mut self.channels[index as usize];
        if !std::mem::replace(&mut channel.refilling, false) {
            return;
        }
        // The engine will say `resync` when it is back.
        let (Ok(page), Some(cursor)) = (page, channel.cursor.clone()) else {
            return;
        };
        if let Some((missed, from)) = hole(&cursor, &page) {
            channel.cursor = Some(from);
            let notice = Notice::Gap { channel: key.channel.clone(), missed };
            for connection in channel.live.clone() {
                self.notify(self.slot(connection), &notice);
            }
        }
        let channel = &mut self.channels[index as usize];
        let last = page.messages.last().and_then(|message| message.position.clone());
        let after = std::mem::take(&mut channel.incoming);
        channel.incoming = page.messages.into_iter().map(|message| Arc::new(Broadcast::new(message))).collect();
        channel.incoming.extend(after);
        self.touch(index);
        self.deliver_channel(index, now);
        if last.is_some_and(|last| last.offset < page.head.offset) {
            self.refill(index, now);
        }
    }

    pub(super) fn resync_all(&mut self, now: Now) {
        let indices: Vec<u32> = self.channels.iter().map(|(index, _)| index as u32).collect();
        for index in indices {
            let channel = &self.channels[index as usize];
            if channel.cursor.is_some() && channel.history().is_some() {
                self.refill(index, now);
            } else if channel.history().is_none() {
                let notice = Notice::Gap { channel: channel.key.channel.clone(), missed: 0 };
                for connection in channel.live.clone() {
                    self.notify(self.slot(connection), &notice);
                }
            }
        }
    }
}

/// What is missing between a position and a page that was read from there: how many messages (0: nobody knows, because
/// the log is another one), and where the page begins.
fn hole(position: &Position, page: &HistoryPage) -> Option<(u64, Position)> {
    if position.epoch != page.head.epoch || position.offset > page.head.offset {
        let from = page.messages.first().and_then(|message| message.position.as_ref());
        let offset = from.map_or(page.head.offset, |from| from.offset - 1);
        return Some((0, Position { epoch: page.head.epoch.clone(), offset }));
    }
    let next = position.offset + 1;
    (next < page.oldest)
        .then(|| (page.oldest - next, Position { epoch: position.epoch.clone(), offset: page.oldest - 1 }))
}
