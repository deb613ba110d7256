//! A member that reads the log on its own: after a recovery or a rewind, until it meets the live members.

use starling_core::{Delivery, EngineError, HistoryPage, HistoryRange, Outgoing};

use super::refill::hole;
use super::*;
use crate::channel::{Catching, Step};

/// Messages read from the log at once. A page is in memory only while it is written.
pub(super) const PAGE: usize = 256;

/// A slot that never was, for what is asked on no connection's behalf.
pub(super) const NOBODY: Slot = Slot { index: u32::MAX, generation: 0 };

impl<T: Endpoint> Shard<T> {
    /// Writes a page of the log to a member that reads it, as far as its socket takes it. Returns whether it must read
    /// on now; otherwise it is live, or waits for its socket or for the live members.
    pub(super) fn feed(&mut self, slot: Slot, index: u32, page: &HistoryPage) -> bool {
        let settings = self.settings.clone();
        let Self { channels, connections, encoder, by_id, .. } = self;
        let channel = &mut channels[index as usize];
        let connection = &mut connections[slot.index as usize];
        let Some(catching) = reader(&mut channel.catching, slot) else {
            return false;
        };
        let before = catching.position.clone();
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
            if message.exclude.as_ref().is_none_or(|id| by_id.get(id) != Some(&slot.index)) {
                connection.outbox.push(encoder.encode(connection.form, &Outgoing::Message(message)));
                delivered += 1;
            }
            catching.position = position.clone();
        }
        channel.counters.delivered.of(connection.form).fetch_add(delivered, Ordering::Relaxed);
        let is_at_head = catching.position.offset >= page.head.offset;
        if full {
            catching.step = Step::Socket;
        }
        let reached = catching.position.clone();
        if reached.offset > before.offset {
            self.note_own(slot.index, Some(index), Deed::Given(before.offset + 1, reached.offset), Some(reached.epoch));
        }
        self.mark_dirty(slot.index);
        match (full, is_at_head) {
            (true, _) => false,
            (false, true) => self.meet_cursor(slot, index),
            (false, false) => true,
        }
    }

    /// A member read to the head of the log: it goes live if the live members are there too. Returns whether it must
    /// read on, because they are ahead.
    fn meet_cursor(&mut self, slot: Slot, index: u32) -> bool {
        let channel = &mut self.channels[index as usize];
        let Some(at) = channel.catching.iter().position(|entry| entry.connection == slot.index) else {
            return false;
        };
        let position = channel.catching[at].position.clone();
        // Others that wait count as live: the cursor comes to them step by step, and must not jump over them.
        let occupied = !channel.live.is_empty() || channel.catching.iter().any(|entry| entry.step == Step::Cursor);
        match &channel.cursor {
            Some(cursor) if *cursor == position => {}
            Some(cursor) if cursor.epoch == position.epoch && cursor.offset > position.offset => return true,
            // Messages up to here are on their way to the live members; or there is a new log, and they will be told.
            Some(_) if occupied => {
                channel.catching[at].step = Step::Cursor;
                return false;
            }
            _ => {
                channel.cursor = Some(position);
                // What was being read was for members that are gone.
                if channel.refilling.take().is_some() {
                    self.touch(index);
                }
            }
        }
        self.stop_catching(at, index);
        false
    }

    /// Members that wait where the live members have arrived go live.
    pub(super) fn promote(&mut self, index: u32) {
        let arrived = |channel: &Channel| {
            let is_there =
                |entry: &Catching| entry.step == Step::Cursor && channel.cursor.as_ref() == Some(&entry.position);
            channel.catching.iter().position(is_there)
        };
        while let Some(at) = arrived(&self.channels[index as usize]) {
            self.stop_catching(at, index);
        }
    }

    /// After the cursor was moved, not stepped: members that wait where it will never come go on reading.
    pub(super) fn promote_or_read(&mut self, index: u32, now: Now) {
        self.promote(index);
        let channel = &self.channels[index as usize];
        let is_behind = |entry: &&Catching| {
            entry.step == Step::Cursor
                && channel
                    .cursor
                    .as_ref()
                    .is_some_and(|cursor| cursor.epoch != entry.position.epoch || cursor.offset > entry.position.offset)
        };
        let behind: Vec<Slot> =
            channel.catching.iter().filter(is_behind).map(|entry| self.slot(entry.connection)).collect();
        for slot in behind {
            self.read_on(slot, index, now);
        }
    }

    pub(super) fn stop_catching(&mut self, at: usize, index: u32) {
        let catching = self.channels[index as usize].catching.swap_remove(at);
        self.connections[catching.connection as usize].catching -= 1;
        self.go_live(catching.connection, index);
    }

    /// Reads pages for a member and writes them, until it is live or has to wait. A loop, because a log may be long.
    pub(super) fn read_on(&mut self, slot: Slot, index: u32, now: Now) {
        loop {
            self.reads += 1;
            let read = self.reads;
            let channel = &mut self.channels[index as usize];
            let Some(policy) = channel.history() else {
                return;
            };
            let Some(catching) = reader(&mut channel.catching, slot) else {
                return;
            };
            catching.step = Step::Page(read);
            let range = HistoryRange { limit: PAGE, before: None, after: Some(catching.position.offset) };
            let key = channel.key.clone();
            match self.hub.engine().history(&key.app, &key.channel, policy, range, now.unix_ms) {
                Pending::Ready(page) => {
                    if self.page_arrived(slot, &key, read, page, now).is_none() {
                        return;
                    }
                }
                page => return self.aside(slot, page, move |page| Outcome::Page(key, read, page), now),
            }
        }
    }

    /// Writes a page that was read under the number `read`. Returns the channel if the member must read on.
    pub(super) fn page_arrived(
        &mut self,
        slot: Slot,
        key: &ChannelKey,
        read: u64,
        page: Result<HistoryPage, EngineError>,
        now: Now,
    ) -> Option<u32> {
        let index = *self.by_name.get(key)?;
        self.get(slot)?;
        let channel = &mut self.channels[index as usize];
        let delivery = channel.delivery();
        let catching = reader(&mut channel.catching, slot).filter(|catching| catching.step == Step::Page(read))?;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.end_subscription(slot, &key.channel, error.into(), now);
                return None;
            }
        };
        if let Some((missed, from)) = hole(&catching.position, &page) {
            if delivery == Delivery::Reliable {
                // It reads more slowly than the log moves on: for a reliable channel that is a slow consumer.
                self.close(slot, CloseReason::SlowConsumer, now);
                return None;
            }
            let is_another_log = from.epoch != catching.position.epoch;
            catching.position = from;
            self.notify(slot, &Notice::Gap { channel: key.channel.clone(), missed });
            if is_another_log {
                // The page was read from a position of the old log.
                return Some(index);
            }
        }
        self.feed(slot, index, &page).then_some(index)
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
            let waits = |entry: &mut Catching| entry.step == Step::Socket;
            if reader(&mut self.channels[index as usize].catching, slot).is_some_and(waits) {
                self.read_on(slot, index, now);
            }
            if self.get(slot).is_none_or(|c| !c.outbox.is_flowing(&self.settings.backpressure)) {
                return;
            }
        }
    }
}

fn reader(catching: &mut [Catching], slot: Slot) -> Option<&mut Catching> {
    catching.iter_mut().find(|entry| entry.connection == slot.index)
}
