//! What a change makes of one user's entries. No clock, no network.
//!
//! The same rules as in the memory engine; that all connections of a user stand together is what makes them exact.

use starling_core::{ConnectionId, NodeId, PresenceDiff, PresenceEntry};

use crate::wire::{Stored, UserRecord};

/// Connections that one entry had before, at most; a user who came back more often is told to have left and joined.
const MAX_ALIASES: usize = 16;

/// What is to be written, and what was there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub record: UserRecord,
    before: Vec<Stored>,
}

/// The entry that a connection had under another user.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Withdrawn {
    entry: PresenceEntry,
    was_last: bool,
}

impl Change {
    pub fn withdrawn(&self, connection: &ConnectionId) -> Option<Withdrawn> {
        let stored = self.before.iter().find(|stored| stored.entry.connection == *connection)?;
        Some(Withdrawn { entry: stored.entry.clone(), was_last: self.record.entries.is_empty() })
    }
}

impl UserRecord {
    /// A revision of 0 is that of the record which is written.
    fn changed(&self, entries: Vec<Stored>, diff: Option<PresenceDiff>, by: &NodeId) -> Option<Change> {
        let record = Self { entries, diff, by: Some(by.clone()) };
        Some(Change { record, before: self.entries.clone() })
    }

    /// Adds an entry, or gives one new data. `moved` is the entry that the connection had under another user.
    pub(super) fn enter(&self, entry: PresenceEntry, moved: Option<Withdrawn>, node: &NodeId) -> Option<Change> {
        let entry = PresenceEntry { revision: 0, ..entry };
        let mut entries = self.entries.clone();
        let known = entries.iter().position(|stored| stored.entry.connection == entry.connection);
        let lingering = || entries.iter().position(|stored| stored.until.is_some() && stored.entry.user.is_some());
        let before = known.or_else(lingering).map(|at| entries.swap_remove(at));
        let users_out = moved.iter().filter(|moved| moved.was_last).filter_map(|moved| moved.entry.user.clone());
        let users_out = users_out.collect();
        let replaced = known.and(before.as_ref()).map(|stored| stored.entry.clone());
        let replaced = replaced.into_iter().chain(moved.map(|moved| moved.entry)).collect();
        let (mut aliases, mut is_told) = (Vec::new(), false);
        if let Some(before) = before {
            let is_same_connection = before.entry.connection == entry.connection;
            is_told = !is_same_connection && before.entry.data == entry.data;
            aliases = before.aliases;
            if !is_same_connection {
                aliases.push(before.entry.connection);
            }
        }
        let is_silent = is_told && aliases.len() <= MAX_ALIASES;
        let gone = if is_silent { Vec::new() } else { std::mem::take(&mut aliases) };
        let diff = (!is_silent).then(|| PresenceDiff {
            joins: vec![entry.clone()],
            leaves: known_as(&entry, gone),
            replaced,
            users_in: if self.entries.is_empty() { entry.user.iter().cloned().collect() } else { Vec::new() },
            users_out,
        });
        entries.push(Stored { entry, node: node.clone(), until: None, aliases });
        self.changed(entries, diff, node)
    }

    /// Adds an entry that others took to be dead, unless it is still there.
    pub(super) fn restore(&self, entry: PresenceEntry, node: &NodeId) -> Option<Change> {
        let is_there = |stored: &Stored| stored.entry.connection == entry.connection;
        if self.entries.iter().any(is_there) { None } else { self.enter(entry, None, node) }
    }

    /// Removes entries, and tells of it.
    fn remove(&self, is_gone: impl Fn(&Stored) -> bool, node: &NodeId) -> Option<Change> {
        let (gone, entries): (Vec<Stored>, Vec<Stored>) = self.entries.iter().cloned().partition(is_gone);
        let first = gone.first()?;
        let users_out = if entries.is_empty() { first.entry.user.iter().cloned().collect() } else { Vec::new() };
        let leaves = gone
            .into_iter()
            .flat_map(|Stored { entry, aliases, .. }| {
                let mut leaves = known_as(&entry, aliases);
                leaves.push(entry);
                leaves
            })
            .collect();
        let diff = PresenceDiff { leaves, users_out, ..PresenceDiff::default() };
        self.changed(entries, Some(diff), node)
    }

    pub(super) fn leave(&self, connection: &ConnectionId, node: &NodeId) -> Option<Change> {
        self.remove(|stored| stored.entry.connection == *connection, node)
    }

    /// Removes an entry without telling: its connection has another user now.
    pub(super) fn withdraw(&self, connection: &ConnectionId, node: &NodeId) -> Option<Change> {
        let mut change = self.leave(connection, node)?;
        change.record.diff = None;
        Some(change)
    }

    pub(super) fn linger(&self, connection: &ConnectionId, until: u64, node: &NodeId) -> Option<Change> {
        let mut entries = self.entries.clone();
        entries.iter_mut().find(|stored| stored.entry.connection == *connection)?.until = Some(until);
        self.changed(entries, None, node)
    }

    /// Removes entries that have lingered long enough.
    pub(super) fn expire(&self, now: u64, node: &NodeId) -> Option<Change> {
        self.remove(|stored| stored.until.is_some_and(|until| until <= now), node)
    }

    /// Removes the entries of a dead node, but those that linger: their time is not over.
    pub(super) fn reap(&self, dead: &NodeId, now: u64, node: &NodeId) -> Option<Change> {
        self.remove(|stored| stored.node == *dead && stored.until.is_none_or(|until| until <= now), node)
    }
}

/// The entry as it was known under other connections.
fn known_as(entry: &PresenceEntry, connections: Vec<ConnectionId>) -> Vec<PresenceEntry> {
    connections.into_iter().map(|connection| PresenceEntry { connection, ..entry.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::{RawJson, UserId};

    fn entry(connection: &str, data: &str) -> PresenceEntry {
        let (user, data) = (Some(UserId::from("ann")), RawJson::parse(data).unwrap());
        PresenceEntry { user, connection: ConnectionId::from(connection), data, revision: 0 }
    }

    fn node() -> NodeId {
        NodeId::from("n1")
    }

    /// Joins, leaves, users in, users out.
    fn told(record: &UserRecord) -> (Vec<&str>, Vec<&str>, usize, usize) {
        let Some(diff) = &record.diff else { return (vec![], vec![], 0, 0) };
        let joins = diff.joins.iter().map(|e| e.connection.as_str()).collect();
        let leaves = diff.leaves.iter().map(|e| e.connection.as_str()).collect();
        (joins, leaves, diff.users_in.len(), diff.users_out.len())
    }

    #[test]
    fn the_first_connection_brings_the_user_and_the_last_takes_them() {
        let one = UserRecord::default().enter(entry("a", "{}"), None, &node()).unwrap().record;
        assert_eq!(told(&one), (vec!["a"], vec![], 1, 0));
        let two = one.enter(entry("b", "{}"), None, &node()).unwrap().record;
        assert_eq!(told(&two), (vec!["b"], vec![], 0, 0));
        let two = two.enter(entry("b", "[1]"), None, &node()).unwrap().record;
        assert_eq!(two.diff.as_ref().unwrap().replaced, [entry("b", "{}")]);
        let one = two.leave(&ConnectionId::from("a"), &node()).unwrap().record;
        assert_eq!(told(&one), (vec![], vec!["a"], 0, 0));
        assert_eq!(one.leave(&ConnectionId::from("a"), &node()), None, "twice is once");
        let none = one.leave(&ConnectionId::from("b"), &node()).unwrap().record;
        assert_eq!(told(&none), (vec![], vec!["b"], 0, 1));
    }

    #[test]
    fn a_user_who_is_back_in_time_never_left_and_leaves_under_every_name() {
        let set = UserRecord::default().enter(entry("a", "{}"), None, &node()).unwrap().record;
        let set = set.linger(&ConnectionId::from("a"), 10, &node()).unwrap().record;
        assert_eq!(set.diff, None);
        assert_eq!(set.expire(9, &node()), None);
        assert_eq!(told(&set.expire(10, &node()).unwrap().record), (vec![], vec!["a"], 0, 1));
        let other = set.enter(entry("b", "[1]"), None, &node()).unwrap().record;
        assert_eq!(told(&other), (vec!["b"], vec!["a"], 0, 0), "other data are told as one difference");
        let back = set.enter(entry("b", "{}"), None, &NodeId::from("n2")).unwrap().record;
        assert_eq!(back.diff, None);
        assert_eq!(back.expire(99, &node()), None);
        assert_eq!(back.reap(&node(), 99, &node()), None, "it is the other node's now");
        let left = back.leave(&ConnectionId::from("b"), &node()).unwrap().record;
        assert_eq!(told(&left), (vec![], vec!["a", "b"], 0, 1));
    }

    #[test]
    fn a_dead_node_takes_its_entries_but_not_those_that_linger() {
        let set = UserRecord::default().enter(entry("a", "{}"), None, &node()).unwrap().record;
        let set = set.enter(entry("b", "{}"), None, &node()).unwrap().record;
        let set = set.linger(&ConnectionId::from("b"), 10, &node()).unwrap().record;
        let reaped = set.reap(&node(), 5, &NodeId::from("n2")).unwrap().record;
        assert_eq!(told(&reaped), (vec![], vec!["a"], 0, 0));
        let reaped = set.reap(&node(), 10, &NodeId::from("n2")).unwrap().record;
        assert_eq!(told(&reaped), (vec![], vec!["a", "b"], 0, 1));
    }
}
