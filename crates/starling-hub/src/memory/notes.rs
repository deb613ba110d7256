//! Names that were claimed, and notes that are kept for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

/// How many there are at a time, claims and notes together; at the limit, claims fail and notes are not kept.
const MAX_NOTES: usize = 1_000_000;

/// What stands for the present until somebody says what time it is.
const UNKNOWN: u64 = u64::MAX / 2;

/// See the module's documentation. Time is that of the last [`Notes::sweep`], which comes about once a second.
#[derive(Default)]
pub(super) struct Notes {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By name; a claim has no value.
    notes: BTreeMap<String, (u64, Option<Bytes>)>,
    now: u64,
}

impl Notes {
    /// Whether nobody else has claimed the name.
    pub fn claim(&self, name: &str, ttl: Duration) -> bool {
        let mut kept = self.kept.lock();
        let until = kept.until(ttl);
        if kept.notes.len() >= MAX_NOTES || kept.notes.contains_key(name) {
            return false;
        }
        kept.notes.insert(name.to_owned(), (until, None));
        true
    }

    /// Keeps a note in place of an older one.
    pub fn keep(&self, name: &str, value: Bytes, ttl: Duration) {
        let mut kept = self.kept.lock();
        let until = kept.until(ttl);
        if kept.notes.len() < MAX_NOTES || kept.notes.contains_key(name) {
            kept.notes.insert(name.to_owned(), (until, Some(value)));
        }
    }

    /// Notes whose names start with `prefix`.
    pub fn find(&self, prefix: &str, take: bool) -> Vec<(String, Bytes)> {
        let mut kept = self.kept.lock();
        let range = kept.notes.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        let found: Vec<(String, Bytes)> =
            range.filter_map(|(name, (_, value))| Some((name.clone(), value.clone()?))).collect();
        if take {
            for (name, _) in &found {
                kept.notes.remove(name);
            }
        }
        found
    }

    /// Forgets what is over; `now` in Unix milliseconds.
    pub fn sweep(&self, now: u64) {
        let mut kept = self.kept.lock();
        if kept.now == 0 {
            // Until now nobody knew the time.
            kept.notes.values_mut().for_each(|(until, _)| *until = until.saturating_sub(UNKNOWN).saturating_add(now));
        }
        kept.now = now;
        kept.notes.retain(|_, (until, _)| *until > now);
    }
}

impl Kept {
    /// The clock may be a second behind: what was kept before the first sweep is kept until the one after it.
    fn until(&self, ttl: Duration) -> u64 {
        let now = if self.now == 0 { UNKNOWN } else { self.now + 1000 };
        now.saturating_add(ttl.as_millis() as u64)
    }
}
