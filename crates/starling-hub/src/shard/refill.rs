//! The live members of a channel with a log, all together: what they missed on the way to this node is read once, and
//! they go on when their log is another one.

use starling_core::{EngineError, HistoryPage, HistoryRange, Position};

use super::catchup::{NOBODY, PAGE};
use super::*;
use crate::broadcast::Broadcast;
use crate::channel::Step;

/// The head of a log that is said to be cleared was read.
pub(crate) struct Cleared {
    key: ChannelKey,
    read: u64,
    /// Where the new log begins, as the order says.
    head: Position,
    /// Whether live members had not everything of the old one.
    was_behind: bool,
    page: Result<HistoryPage, EngineError>,
}

impl<T: Endpoint> Shard<T> {
    /// Reads what follows the cursor, for all live members. A read that is under way counts no more: it may be older
    /// than the reason for this one.
    pub(super) fn refill(&mut self, index: u32, now: Now) {
        loop {
            self.reads += 1;
            let read = self.reads;
            let channel = &mut self.channels[index as usize];
            let (Some(policy), Some(cursor)) = (channel.history(), &channel.cursor) else {
                return;
            };
            let range = HistoryRange { limit: PAGE, before: None, after: Some(cursor.offset) };
            // What arrived before the read is in the log, where it is kept at all; a message of a log that is no more would
            // stand in the way for ever.
            channel.incoming.retain(|broadcast| broadcast.message.position.is_none());
            channel.refilling = Some(read);
            let key = channel.key.clone();
            match self.hub.engine().history(&key.app, &key.channel, policy, range, now.unix_ms) {
                Pending::Ready(page) => {
                    if self.refilled(&key, read, page, now).is_none() {
                        return;
                    }
                }
                page => return self.aside(NOBODY, page, move |page| Outcome::Refilled(key, read, page), now),
            }
        }
    }

    /// Delivers a page that was read under the number `read`. Returns the channel if more must be read.
    pub(super) fn refilled(
        &mut self,
        key: &ChannelKey,
        read: u64,
        page: Result<HistoryPage, EngineError>,
        now: Now,
    ) -> Option<u32> {
        let index = *self.by_name.get(key)?;
        let channel = &mut self.channels[index as usize];
        if channel.refilling != Some(read) {
            return None;
        }
        channel.refilling = None;
        // If it failed: the next message shows the hole again, and the engine says `resync` when it is back.
        let (page, cursor) = (page.ok()?, channel.cursor.clone()?);
        if let Some((missed, from)) = hole(&cursor, &page) {
            let is_another_log = from.epoch != cursor.epoch;
            channel.cursor = Some(from);
            self.tell_gap(index, missed);
            self.promote_or_read(index, now);
            if is_another_log {
                // The page was read from a position of the old log.
                return Some(index);
            }
        }
        let channel = &mut self.channels[index as usize];
        let last = page.messages.last().and_then(|message| message.position.clone());
        let after = std::mem::take(&mut channel.incoming);
        channel.incoming = page.messages.into_iter().map(|message| Arc::new(Broadcast::new(message))).collect();
        channel.incoming.extend(after);
        self.deliver_channel(index, now);
        let channel = &self.channels[index as usize];
        let is_more = last.is_some_and(|last| last.offset < page.head.offset) && channel.refilling.is_none();
        is_more.then_some(index)
    }

    fn tell_gap(&mut self, index: u32, missed: u64) {
        let channel = &self.channels[index as usize];
        let notice = Notice::Gap { channel: channel.key.channel.clone(), missed };
        for connection in channel.live.clone() {
            self.notify(self.slot(connection), &notice);
        }
    }

    /// The engine may have missed something for every channel: logs are read, others told of a gap of unknown size,
    /// presence is listed again, and wishes that failed are made again.
    pub(super) fn resync_all(&mut self, now: Now) {
        let indices: Vec<u32> = self.channels.iter().map(|(index, _)| index as u32).collect();
        for index in indices {
            let channel = &self.channels[index as usize];
            if channel.wishes == 0 && !channel.is_vacant() {
                self.wish(index, now);
            }
            let channel = &self.channels[index as usize];
            if channel.history().is_none() {
                self.tell_gap(index, 0);
            } else if channel.cursor.is_some() {
                self.refill(index, now);
            }
            self.watch_again(index, now);
        }
    }

    /// The log was cleared, says an order. It may be an old one: whoever joined since then reads a newer log already.
    pub(super) fn restart_log(&mut self, index: u32, head: Position, now: Now) {
        self.reads += 1;
        let read = self.reads;
        let channel = &mut self.channels[index as usize];
        let (Some(policy), Some(cursor)) = (channel.history(), &channel.cursor) else {
            return;
        };
        if cursor.epoch == head.epoch {
            // A message of the new log came first, and brought the members here.
            return;
        }
        channel.incoming.clear();
        let was_behind = channel.refilling.replace(read).is_some();
        let range = HistoryRange { limit: 0, before: None, after: None };
        let key = channel.key.clone();
        let page = self.hub.engine().history(&key.app, &key.channel, policy, range, now.unix_ms);
        self.aside(NOBODY, page, move |page| Outcome::Cleared(Cleared { key, read, head, was_behind, page }), now);
    }

    /// Members that had everything of the old log go on at the start of the new one, and missed nothing; those that
    /// had not are told.
    pub(super) fn cleared(&mut self, cleared: Cleared, now: Now) {
        let Some(&index) = self.by_name.get(&cleared.key) else {
            return;
        };
        let channel = &mut self.channels[index as usize];
        if channel.refilling != Some(cleared.read) {
            return;
        }
        channel.refilling = None;
        // If it failed, the engine says `resync` when it is back.
        let (Ok(page), Some(cursor)) = (cleared.page, channel.cursor.clone()) else {
            return;
        };
        if page.head.epoch != cursor.epoch {
            self.follow_new_log(index, &cursor, &cleared.head, cleared.was_behind);
        }
        if cleared.was_behind {
            self.refill(index, now);
        } else {
            self.deliver_channel(index, now);
        }
    }

    fn follow_new_log(&mut self, index: u32, old: &Position, head: &Position, was_behind: bool) {
        let channel = &mut self.channels[index as usize];
        channel.cursor = Some(head.clone());
        let mut behind: Vec<u32> = Vec::new();
        for catching in channel.catching.iter_mut().filter(|catching| catching.position.epoch == old.epoch) {
            if catching.step != Step::Cursor {
                behind.push(catching.connection);
            }
            catching.position = head.clone();
            catching.step = Step::Cursor;
        }
        let notice = Notice::Gap { channel: channel.key.channel.clone(), missed: 0 };
        for connection in behind {
            self.notify(self.slot(connection), &notice);
        }
        if was_behind {
            self.tell_gap(index, 0);
        }
        self.promote(index);
    }

    /// The channel keeps history no longer: there is nothing to read, and everybody is live.
    pub(super) fn forget_log(&mut self, index: u32) {
        let channel = &mut self.channels[index as usize];
        channel.cursor = None;
        channel.refilling = None;
        while !self.channels[index as usize].catching.is_empty() {
            self.stop_catching(0, index);
        }
    }
}

/// What is missing between a position and a page that was read from there: how many messages (0: nobody knows, because
/// the log is another one), and where the log begins.
pub(super) fn hole(position: &Position, page: &HistoryPage) -> Option<(u64, Position)> {
    let begin = Position { epoch: page.head.epoch.clone(), offset: page.oldest - 1 };
    if position.epoch != page.head.epoch || position.offset > page.head.offset {
        return Some((0, begin));
    }
    (position.offset < begin.offset).then(|| (begin.offset - position.offset, begin))
}
