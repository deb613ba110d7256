//! How far a channel was read: which messages are new, and which are missing.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use starling_core::Position;

use crate::subscription::Message;

/// Messages that are remembered: where there are no offsets to tell repeats by, and own ones without echo.
const REMEMBERED: usize = 128;

/// What a message is to a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Whether it is to be delivered.
    pub(super) is_new: bool,
    /// How many before it did not come and were not announced.
    pub(super) missed: u64,
}

/// Where one subscription stands in the log of its channel.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The last message that was read, or where to begin.
    position: Option<Position>,
    /// Whether the next message has to be the one behind the position.
    is_exact: bool,
    /// The latest messages of a channel without offsets.
    ids: Latest<String>,
    silent: Silent,
}

impl Log {
    /// Where to go on after a lost connection.
    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Begins behind `position`, or up to `rewind` messages before it.
    pub(super) fn start(&mut self, position: Option<Position>, rewind: u32) {
        self.position = position
            .map(|Position { epoch, offset }| Position { epoch, offset: offset.saturating_sub(u64::from(rewind)) });
        self.is_exact = rewind == 0;
    }

    /// Messages will be missing that the server told of.
    pub(super) fn skip(&mut self) {
        self.is_exact = false;
    }

    /// `unacknowledged`: own messages without echo whose offsets are not known yet.
    pub(super) fn read(&mut self, message: &Message, unacknowledged: impl FnOnce() -> u64) -> Reading {
        let Some(position) = &message.position else {
            return Reading { is_new: self.ids.insert(message.id.clone()), missed: 0 };
        };
        // In another epoch the log has begun anew.
        let same = self.position.as_ref().filter(|last| last.epoch == position.epoch);
        let last = same.map_or(0, |last| last.offset);
        if position.offset <= last {
            return Reading { is_new: false, missed: 0 };
        }
        let is_exact = self.is_exact && self.position.is_some();
        let absent = (position.offset - last - 1).saturating_sub(self.silent.between(last, position.offset));
        self.position = Some(position.clone());
        self.is_exact = true;
        let missed = if is_exact && absent > 0 { absent.saturating_sub(unacknowledged()) } else { 0 };
        Reading { is_new: !self.silent.has(&message.id), missed }
    }

    /// Own messages that are not to come back.
    pub(super) fn silent(&mut self) -> &mut Silent {
        &mut self.silent
    }
}

/// Own messages published without echo: the server leaves them out while this connection lasts, which is no gap, and
/// sends them with a recovery on another one, where they are left out here.
#[derive(Debug, Default)]
pub(super) struct Silent {
    ids: Latest<String>,
    offsets: Latest<u64>,
}

impl Silent {
    pub(super) fn published(&mut self, message_id: &str) {
        self.ids.insert(message_id.to_owned());
    }

    /// One has this place.
    pub(super) fn settled(&mut self, position: &Position) {
        self.offsets.insert(position.offset);
    }

    fn has(&self, message_id: &str) -> bool {
        self.ids.known.contains(message_id)
    }

    /// How many of the offsets between the two are of such messages.
    fn between(&self, from: u64, to: u64) -> u64 {
        self.offsets.known.iter().filter(|offset| (from + 1..to).contains(*offset)).count() as u64
    }
}

/// The latest [`REMEMBERED`] of something.
#[derive(Debug)]
struct Latest<T> {
    known: HashSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), order: VecDeque::new() }
    }
}

impl<T: Clone + Eq + Hash> Latest<T> {
    /// Whether it was not known.
    fn insert(&mut self, key: T) -> bool {
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use starling_core::{Payload, RawJson};

    use super::*;

    fn position(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.into(), offset }
    }

    fn message(id: &str, position: Option<Position>) -> Message {
        let payload = Payload::Json(RawJson::null());
        let (channel, event) = ("c".to_owned(), "e".to_owned());
        Message { id: id.into(), channel, event, payload, ts: 0, user_id: None, position }
    }

    fn read(log: &mut Log, epoch: &str, offset: u64) -> (bool, u64) {
        let Reading { is_new, missed } = log.read(&message(&format!("m{offset}"), Some(position(epoch, offset))), || 0);
        (is_new, missed)
    }

    #[test]
    fn repeats_and_gaps_are_told_by_offsets() {
        let mut log = Log::default();
        log.start(Some(position("e", 4)), 0);
        for (offset, expected) in [(5, (true, 0)), (5, (false, 0)), (3, (false, 0)), (8, (true, 2)), (9, (true, 0))] {
            assert_eq!(read(&mut log, "e", offset), expected, "offset {offset}");
        }
        log.skip();
        assert_eq!(read(&mut log, "e", 20), (true, 0), "the server told of these");
        assert_eq!(read(&mut log, "f", 2), (true, 1), "the first of a new log is missing");
        assert_eq!(log.position(), Some(&position("f", 2)));
    }

    #[test]
    fn a_rewind_begins_where_the_log_has_something() {
        let mut log = Log::default();
        log.start(Some(position("e", 3)), 10);
        assert_eq!(log.position(), Some(&position("e", 0)));
        assert_eq!(read(&mut log, "e", 2), (true, 0));
        assert_eq!(read(&mut log, "e", 4), (true, 1));
    }

    #[test]
    fn without_offsets_repeats_are_told_by_id_for_a_while() {
        let mut log = Log::default();
        assert!(log.read(&message("a", None), || 0).is_new);
        assert!(!log.read(&message("a", None), || 0).is_new);
        for number in 0..REMEMBERED {
            log.read(&message(&format!("{number}"), None), || 0);
        }
        assert!(log.read(&message("a", None), || 0).is_new);
    }

    #[test]
    fn own_messages_without_echo_are_no_gap_and_do_not_come_back() {
        let mut log = Log::default();
        log.start(Some(position("e", 0)), 0);
        log.silent().published("m1");
        let Reading { missed, .. } = log.read(&message("m2", Some(position("e", 2))), || 1);
        assert_eq!(missed, 0, "it may be the first one");
        log.silent().settled(&position("e", 3));
        assert_eq!(read(&mut log, "e", 5), (true, 1), "one of the two is ours");
        log.start(Some(position("e", 0)), 0);
        assert_eq!(read(&mut log, "e", 1), (false, 0), "left out of a recovery");
    }
}
