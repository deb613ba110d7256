//! Logs: what the records of one partition mean. No clock, no network.
//!
//! Every node reads all records of a partition in Kafka's order, and numbers the messages of each channel as they come:
//! that is the offset. A record takes no part in it: two nodes may write at once, and what is theirs is decided by the
//! order in which Kafka stored it.
//!
//! What a node must know to go on counting, the head of a log, comes from the log itself. A node that starts reads what
//! Kafka still has. Its first record of a channel says where the log ended when that record was written (`Seen`), so
//! what was deleted before does not matter. Deleted records are older than `retention`; a log without a message for
//! almost as long is forgotten by the same rule everywhere, so nobody needs to know the head of one.
//!
//! ```text
//!        deleted  |  may repeat, or follow, what is deleted: only counted  |  known
//!  ───────────────┼───────────────────────────────────────────────────────┼──────────────►
//!                 first                                                    steady
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use starling_core::{Epoch, Message, Position};

use crate::names::Key;
use crate::recent::Recent;
use crate::wire::{Act, Seen, Stamp};

/// One partition's logs, as of the records read so far.
#[derive(Default)]
pub(crate) struct Partition {
    /// Appended at this time (Unix milliseconds) or later: everything that matters to a record has been read.
    steady: u64,
    /// The record of the last restart.
    restarted: Option<u64>,
    /// Whose record that was: its writer's, so that another restart can be told from it.
    pub last_restart: Option<(String, u64)>,
    /// The record that is read next.
    pub next: u64,
    channels: HashMap<Key, Log>,
}

/// One channel's log.
#[derive(Default)]
pub(crate) struct Log {
    pub head: Option<Head>,
    /// Records that were only counted.
    counted: Vec<Counted>,
    recent: Option<Box<Recent>>,
    /// Where the messages are, without a gap up to the head.
    pub index: VecDeque<Entry>,
    /// How long messages are kept, in milliseconds.
    ttl: u64,
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub epoch: Epoch,
    pub offset: u64,
    /// When the last message was appended: Unix milliseconds of the broker.
    pub appended: u64,
}

/// Where a message is.
pub(crate) struct Entry {
    /// Its record.
    pub at: u64,
    /// The message's own time.
    pub ts: u64,
    /// While it is in the cache.
    pub message: Option<Arc<Message>>,
}

/// A record whose place is not known, and what it did, whatever there was before.
struct Counted {
    at: u64,
    /// What the log is after it, if it began an epoch.
    fresh: Head,
    forget: u64,
    step: Step,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Message,
    Begin,
    Clear,
}

impl Counted {
    /// The end of the log after this record.
    fn after(&self, before: Option<Head>) -> Head {
        let before = before.filter(|head| !head.is_forgotten(self.fresh.appended, self.forget));
        match (self.step, before) {
            (Step::Clear, _) | (Step::Begin, None) => self.fresh.clone(),
            (Step::Begin, Some(head)) => head,
            (Step::Message, before) => {
                let Head { epoch, offset, .. } = before.unwrap_or_else(|| self.fresh.clone());
                Head { epoch, offset: offset + 1, appended: self.fresh.appended }
            }
        }
    }
}

/// What a record meant.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    /// A message with its place.
    Message(Arc<Message>),
    /// A message that was published before.
    Repeated(Option<Position>),
    /// The log's head; it may have begun with this.
    Head(Position),
    /// The log begins anew.
    Cleared(Position),
    /// All logs begin anew.
    Restarted,
    /// Too old to say.
    Unknown,
}

impl Head {
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.offset }
    }

    /// Whether a record appended at `time` begins an epoch, because there was none for so long.
    pub fn is_forgotten(&self, time: u64, forget: u64) -> bool {
        time > self.appended.saturating_add(forget)
    }
}

impl Partition {
    /// Begins to read at `first`. `steady` as in the drawing above; 0 where nothing was ever deleted.
    pub fn new(first: u64, steady: u64) -> Self {
        Self { steady, next: first, ..Self::default() }
    }

    pub fn log(&self, key: &Key) -> Option<&Log> {
        self.channels.get(key)
    }

    /// Drops a message from memory; it stays in the log.
    pub fn uncache(&mut self, key: &Key, at: u64) {
        if let Some(log) = self.channels.get_mut(key)
            && let Ok(index) = log.index.binary_search_by_key(&at, |entry| entry.at)
        {
            log.index[index].message = None;
        }
    }

    /// What this node knows of a log, for the record that it is about to write.
    pub fn seen(&self, key: &Key) -> Seen {
        let head = self.channels.get(key).and_then(|log| log.head.clone());
        Seen { next: self.next, head: head.map(|head| (head.epoch, (head.offset, head.appended))) }
    }

    /// Reads the record `at`, appended at `time`.
    pub fn read(&mut self, at: u64, time: u64, key: &Key, stamp: &Stamp, message: Option<Message>) -> Meaning {
        self.next = at + 1;
        let fresh = Head { epoch: epoch(stamp), offset: 0, appended: time };
        match (&stamp.act, message) {
            (Act::Publish { remember, forget, .. }, Some(message)) if self.is_unsteady(time, key) => {
                let log = self.channels.entry(key.clone()).or_default();
                if !log.repeats(&message, time, *remember) {
                    log.counted.push(Counted { at, fresh, forget: *forget, step: Step::Message });
                }
                Meaning::Unknown
            }
            (Act::Begin { forget, .. }, _) if self.is_unsteady(time, key) => {
                let counted = Counted { at, fresh, forget: *forget, step: Step::Begin };
                self.channels.entry(key.clone()).or_default().counted.push(counted);
                Meaning::Unknown
            }
            (Act::Clear {}, _) if self.is_unsteady(time, key) => {
                let counted = Counted { at, fresh, forget: 0, step: Step::Clear };
                self.channels.entry(key.clone()).or_default().counted.push(counted);
                Meaning::Unknown
            }
            (Act::Publish { size, ttl, remember, forget, seen }, Some(message)) => {
                let before = self.head_before(at, key, seen);
                let head = before.filter(|head| !head.is_forgotten(time, *forget)).unwrap_or(fresh);
                let log = self.channels.entry(key.clone()).or_default();
                if remember.is_some()
                    && let Some(position) = log.recent.get_or_insert_default().find(&message.id, time)
                {
                    return Meaning::Repeated(position);
                }
                log.settle(head);
                log.ttl = *ttl;
                let message = log.append(at, time, message);
                if let Some(window) = remember {
                    let (id, position) = (message.id.clone(), message.position.clone());
                    log.recent.get_or_insert_default().remember(id, position, time.saturating_add(*window));
                }
                while log.index.len() as u64 > *size {
                    log.index.pop_front();
                }
                Meaning::Message(message)
            }
            (Act::Begin { forget, seen }, _) => {
                let before = self.head_before(at, key, seen);
                let head = before.filter(|head| !head.is_forgotten(time, *forget)).unwrap_or(fresh);
                let position = head.position();
                self.channels.entry(key.clone()).or_default().settle(head);
                Meaning::Head(position)
            }
            (Act::Clear {}, _) => {
                let position = fresh.position();
                self.channels.entry(key.clone()).or_default().settle(fresh);
                Meaning::Cleared(position)
            }
            (Act::Restart {}, _) => {
                self.channels.clear();
                self.restarted = Some(at);
                self.last_restart = Some((stamp.by.to_string(), stamp.seq));
                Meaning::Restarted
            }
            _ => Meaning::Unknown,
        }
    }

    /// Whether what a record of the channel needs to be numbered may have been deleted.
    fn is_unsteady(&self, time: u64, key: &Key) -> bool {
        time < self.steady && self.channels.get(key).is_none_or(|log| log.head.is_none())
    }

    /// Where the log ended before the record `at`.
    fn head_before(&self, at: u64, key: &Key, seen: &Seen) -> Option<Head> {
        let log = self.channels.get(key);
        if let Some(log) = log
            && log.head.is_some()
        {
            return log.head.clone();
        }
        // Written before a restart, or before the broker lost the log: what it had seen is no more.
        let is_void = seen.next > at || self.restarted.is_some_and(|restarted| seen.next <= restarted);
        let told = seen.head.clone().filter(|_| !is_void);
        let told = told.map(|(epoch, (offset, appended))| Head { epoch, offset, appended });
        let counted = log.iter().flat_map(|log| &log.counted).filter(|counted| is_void || counted.at >= seen.next);
        counted.fold(told, |head, counted| Some(counted.after(head)))
    }

    /// Forgets what is over: messages older than their ttl at `now`, ids, and logs that any record would begin anew.
    pub fn sweep(&mut self, now: u64, forget: u64) {
        self.channels.retain(|_, log| {
            let over = log.index.iter().take_while(|entry| entry.ts.saturating_add(log.ttl) <= now).count();
            log.index.drain(..over);
            if let Some(recent) = &mut log.recent {
                recent.expire(now);
                if recent.is_empty() {
                    log.recent = None;
                }
            }
            log.head.as_ref().is_some_and(|head| !head.is_forgotten(now, forget))
        });
    }
}

impl Log {
    /// Takes `head` for the end of the log; where that is another epoch, what was before is gone.
    fn settle(&mut self, head: Head) {
        self.counted = Vec::new();
        if self.head.as_ref().is_some_and(|known| known.epoch != head.epoch) {
            self.index.clear();
        }
        self.head = Some(head);
    }

    fn append(&mut self, at: u64, time: u64, mut message: Message) -> Arc<Message> {
        let head = self.head.as_mut().expect("the log was settled");
        head.offset += 1;
        head.appended = time;
        message.position = Some(head.position());
        let message = Arc::new(message);
        self.index.push_back(Entry { at, ts: message.ts, message: Some(message.clone()) });
        message
    }

    /// Whether the message was there already; remembers it where it is to be.
    fn repeats(&mut self, message: &Message, time: u64, remember: Option<u64>) -> bool {
        let Some(window) = remember else { return false };
        let recent = self.recent.get_or_insert_default();
        let is_known = recent.find(&message.id, time).is_some();
        if !is_known {
            recent.remember(message.id.clone(), None, time.saturating_add(window));
        }
        is_known
    }

    /// The offset of the first message of the index.
    pub fn first_offset(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.offset) + 1 - self.index.len() as u64
    }
}

/// The epoch that a record begins: every node derives the same, and no other record gives it.
fn epoch(stamp: &Stamp) -> Epoch {
    Epoch::new(format!("{}{:x}", stamp.by, stamp.seq))
}

#[cfg(test)]
mod tests;
