//! The presence set of one channel.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use starling_core::{ConnectionId, PresenceChange, PresenceDiff, PresenceEntry, PresenceSnapshot};

/// Who is present, by connection.
#[derive(Default)]
pub(super) struct PresenceSet {
    entries: HashMap<ConnectionId, PresenceEntry, RandomState>,
    pub version: u64,
}

impl PresenceSet {
    /// Applies a change; `None` when nothing changed.
    pub fn apply(&mut self, change: PresenceChange) -> Option<PresenceDiff> {
        let mut diff = PresenceDiff::default();
        match change {
            PresenceChange::Enter(entry) => {
                self.entries.insert(entry.connection.clone(), entry.clone());
                diff.joins.push(entry);
            }
            PresenceChange::Leave(connection) => diff.leaves.push(self.entries.remove(&connection)?),
        }
        Some(diff)
    }

    pub fn snapshot(&self) -> PresenceSnapshot {
        PresenceSnapshot { members: self.entries.values().cloned().collect(), version: self.version }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
