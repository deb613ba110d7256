//! Who is present in one channel, and what a record makes of it. No clock, no network.
//!
//! The same rules as in the memory engine. Every node applies the same records in the same order, so all have the same
//! sets, and the same differences to tell.

use hashbrown::HashMap;
use starling_core::{ConnectionId, NodeId, PresenceDiff, PresenceEntry, UserId};

/// Connections that one entry had before, at most; a user who came back more often is told to have left and joined.
const MAX_ALIASES: usize = 16;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub entry: PresenceEntry,
    /// The node whose connection it is.
    pub owner: NodeId,
    /// When it leaves, if it lingers after its connection was lost; Unix milliseconds.
    pub until: Option<u64>,
    /// Connections under which those who watch longer know this entry.
    aliases: Vec<ConnectionId>,
}

/// The entries of one channel. Those of a user stand together; an anonymous connection stands alone.
#[derive(Debug, Default)]
pub(crate) struct Set {
    users: HashMap<UserId, Vec<Stored>>,
    anonymous: HashMap<ConnectionId, Stored>,
    /// Whose a connection is, for those with a user.
    connections: HashMap<ConnectionId, UserId>,
}

/// The entry that a connection had under another user.
struct Withdrawn {
    entry: PresenceEntry,
    was_last: bool,
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.anonymous.is_empty()
    }

    pub fn entries(&self) -> impl Iterator<Item = &Stored> {
        self.users.values().flatten().chain(self.anonymous.values())
    }

    pub fn find(&self, connection: &ConnectionId) -> Option<&Stored> {
        match self.connections.get(connection) {
            Some(user) => self.users.get(user)?.iter().find(|stored| stored.entry.connection == *connection),
            None => self.anonymous.get(connection),
        }
    }

    /// Adds an entry, gives one new data, or makes one linger. A revision of 0 is replaced by `version`.
    pub fn present(
        &mut self,
        mut entry: PresenceEntry,
        owner: &NodeId,
        until: Option<u64>,
        version: u64,
    ) -> Option<PresenceDiff> {
        if entry.revision == 0 {
            entry.revision = version;
        }
        let known = self.find(&entry.connection).filter(|stored| stored.entry.user == entry.user);
        if until.is_some() && known.is_some() {
            self.change(&entry.connection, |stored| stored.until = until);
            return None;
        }
        let connection = entry.connection.clone();
        let diff = self.enter(entry, owner);
        if until.is_some() {
            self.change(&connection, |stored| stored.until = until);
        }
        diff
    }

    /// Adds an entry that was taken to be dead, or that an idle tombstone has passed by, unless it is there.
    pub fn restore(&mut self, mut entry: PresenceEntry, owner: &NodeId, version: u64) -> Option<PresenceDiff> {
        let is_there = self
            .find(&entry.connection)
            .is_some_and(|stored| stored.entry.user == entry.user && stored.entry.data == entry.data);
        if is_there {
            let connection = entry.connection;
            self.change(&connection, |stored| (stored.owner, stored.until) = (owner.clone(), None));
            return None;
        }
        entry.revision = version;
        self.enter(entry, owner)
    }

    fn change(&mut self, connection: &ConnectionId, change: impl FnOnce(&mut Stored)) {
        let stored = match self.connections.get(connection) {
            Some(user) => {
                let entries = self.users.get_mut(user);
                entries.and_then(|entries| entries.iter_mut().find(|stored| stored.entry.connection == *connection))
            }
            None => self.anonymous.get_mut(connection),
        };
        if let Some(stored) = stored {
            change(stored);
        }
    }

    fn enter(&mut self, entry: PresenceEntry, owner: &NodeId) -> Option<PresenceDiff> {
        let moved = self.withdraw_from_another(&entry);
        let Some(user) = entry.user.clone() else {
            let stored = Stored { entry: entry.clone(), owner: owner.clone(), until: None, aliases: Vec::new() };
            let before = self.anonymous.insert(entry.connection.clone(), stored).map(|stored| stored.entry);
            return Some(joined(entry, before, moved, Vec::new(), Vec::new()));
        };
        let entries = self.users.entry(user.clone()).or_default();
        let is_first = entries.is_empty();
        let same = entries.iter().position(|stored| stored.entry.connection == entry.connection);
        let lingering = || entries.iter().position(|stored| stored.until.is_some());
        let before = same.or_else(lingering).map(|at| entries.swap_remove(at));
        let replaced = same.and(before.as_ref()).map(|stored| stored.entry.clone());
        let (mut aliases, mut is_told) = (Vec::new(), false);
        if let Some(before) = before {
            let is_same_connection = before.entry.connection == entry.connection;
            is_told = !is_same_connection && before.entry.data == entry.data;
            aliases = before.aliases;
            if !is_same_connection {
                self.connections.remove(&before.entry.connection);
                aliases.push(before.entry.connection);
            }
        }
        let is_silent = is_told && aliases.len() <= MAX_ALIASES;
        let gone = if is_silent { Vec::new() } else { std::mem::take(&mut aliases) };
        self.connections.insert(entry.connection.clone(), user.clone());
        entries.push(Stored { entry: entry.clone(), owner: owner.clone(), until: None, aliases });
        let users_in = if is_first { vec![user] } else { Vec::new() };
        (!is_silent).then(|| joined(entry, replaced, moved, gone, users_in))
    }

    /// Removes an entry without telling: its connection has another user now.
    fn withdraw_from_another(&mut self, entry: &PresenceEntry) -> Option<Withdrawn> {
        let stored = self.find(&entry.connection).filter(|stored| stored.entry.user != entry.user)?;
        let before = stored.entry.clone();
        let diff = self.remove(&entry.connection, |_| true)?;
        Some(Withdrawn { entry: before, was_last: !diff.users_out.is_empty() })
    }

    /// Removes a connection's entry, if it is one of those that are to go.
    pub fn remove(&mut self, connection: &ConnectionId, is_to_go: impl Fn(&Stored) -> bool) -> Option<PresenceDiff> {
        self.find(connection).filter(|stored| is_to_go(stored))?;
        let Some(user) = self.connections.remove(connection) else {
            let stored = self.anonymous.remove(connection)?;
            return Some(PresenceDiff { leaves: vec![stored.entry], ..PresenceDiff::default() });
        };
        let entries = self.users.get_mut(&user)?;
        let at = entries.iter().position(|stored| stored.entry.connection == *connection)?;
        let Stored { entry, aliases, .. } = entries.swap_remove(at);
        let is_last = entries.is_empty();
        if is_last {
            self.users.remove(&user);
        }
        let mut leaves = known_as(&entry, aliases);
        leaves.push(entry);
        let users_out = if is_last { vec![user] } else { Vec::new() };
        Some(PresenceDiff { leaves, users_out, ..PresenceDiff::default() })
    }
}

fn joined(
    entry: PresenceEntry,
    replaced: Option<PresenceEntry>,
    moved: Option<Withdrawn>,
    gone: Vec<ConnectionId>,
    users_in: Vec<UserId>,
) -> PresenceDiff {
    let users_out = moved.iter().filter(|moved| moved.was_last).filter_map(|moved| moved.entry.user.clone());
    PresenceDiff {
        users_out: users_out.collect(),
        leaves: known_as(&entry, gone),
        replaced: replaced.into_iter().chain(moved.map(|moved| moved.entry)).collect(),
        users_in,
        joins: vec![entry],
    }
}

/// The entry as it was known under other connections.
fn known_as(entry: &PresenceEntry, connections: Vec<ConnectionId>) -> Vec<PresenceEntry> {
    connections.into_iter().map(|connection| PresenceEntry { connection, ..entry.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::RawJson;

    fn entry(connection: &str, data: &str) -> PresenceEntry {
        let (user, data) = (Some(UserId::from("ann")), RawJson::parse(data).unwrap());
        PresenceEntry { user, connection: ConnectionId::from(connection), data, revision: 0 }
    }

    fn node(name: &str) -> NodeId {
        NodeId::from(name)
    }

    fn enter(set: &mut Set, connection: &str, data: &str, version: u64) -> Option<PresenceDiff> {
        set.present(entry(connection, data), &node("n"), None, version)
    }

    fn linger(set: &mut Set, connection: &str, until: u64) {
        let entry = set.find(&ConnectionId::from(connection)).unwrap().entry.clone();
        assert_eq!(set.present(entry, &node("n"), Some(until), 99), None);
    }

    fn leave(set: &mut Set, connection: &str) -> Option<PresenceDiff> {
        set.remove(&ConnectionId::from(connection), |_| true)
    }

    /// Joins, leaves, users in, users out.
    fn told(diff: &Option<PresenceDiff>) -> (Vec<&str>, Vec<&str>, usize, usize) {
        let Some(diff) = diff else { return (vec![], vec![], 0, 0) };
        let joins = diff.joins.iter().map(|e| e.connection.as_str()).collect();
        let leaves = diff.leaves.iter().map(|e| e.connection.as_str()).collect();
        (joins, leaves, diff.users_in.len(), diff.users_out.len())
    }

    #[test]
    fn the_first_connection_brings_the_user_and_the_last_takes_them() {
        let mut set = Set::default();
        assert_eq!(told(&enter(&mut set, "a", "{}", 1)), (vec!["a"], vec![], 1, 0));
        assert_eq!(told(&enter(&mut set, "b", "{}", 2)), (vec!["b"], vec![], 0, 0));
        let update = enter(&mut set, "b", "[1]", 3).unwrap();
        assert_eq!(update.replaced, [PresenceEntry { revision: 2, ..entry("b", "{}") }]);
        assert_eq!(update.joins, [PresenceEntry { revision: 3, ..entry("b", "[1]") }]);
        assert_eq!(told(&leave(&mut set, "a")), (vec![], vec!["a"], 0, 0));
        assert_eq!(leave(&mut set, "a"), None, "twice is once");
        assert_eq!(told(&leave(&mut set, "b")), (vec![], vec!["b"], 0, 1));
        assert!(set.is_empty() && set.connections.is_empty());
    }

    #[test]
    fn a_user_who_is_back_in_time_never_left_and_leaves_under_every_name() {
        let mut set = Set::default();
        enter(&mut set, "a", "{}", 1);
        linger(&mut set, "a", 10);
        assert_eq!(enter(&mut set, "b", "{}", 2), None);
        assert_eq!(leave(&mut set, "a"), None, "it has another name now");
        linger(&mut set, "b", 10);
        let other = enter(&mut set, "c", "[1]", 3);
        assert_eq!(told(&other), (vec!["c"], vec!["a", "b"], 0, 0), "other data are told as one difference");
        assert_eq!(told(&leave(&mut set, "c")), (vec![], vec!["c"], 0, 1));
    }

    #[test]
    fn a_connection_may_become_another_user_and_what_is_there_is_not_told_again() {
        let mut set = Set::default();
        enter(&mut set, "a", "{}", 1);
        let bob = PresenceEntry { user: Some(UserId::from("bob")), ..entry("a", "{}") };
        let diff = set.present(bob.clone(), &node("n"), None, 2);
        assert_eq!(told(&diff), (vec!["a"], vec![], 1, 1));
        assert_eq!(diff.unwrap().replaced, [PresenceEntry { revision: 1, ..entry("a", "{}") }]);
        assert_eq!(set.restore(bob.clone(), &node("m"), 3), None);
        assert_eq!(set.find(&bob.connection).unwrap().owner, node("m"));
        assert_eq!(set.remove(&bob.connection, |stored| stored.owner == node("n")), None);
        leave(&mut set, "a");
        assert_eq!(told(&set.restore(bob, &node("n"), 5)), (vec!["a"], vec![], 1, 0));
    }
}
