//! The presence set of one channel.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use starling_core::{ConnectionId, PresenceChange, PresenceDiff, PresenceEntry, PresenceSnapshot, UserId};

/// Connections that one entry had before, at most; a user who came back more often is told to have left and joined.
const MAX_ALIASES: usize = 16;

/// Who is present, by connection.
#[derive(Default)]
pub(super) struct PresenceSet {
    entries: HashMap<ConnectionId, Present, RandomState>,
    /// How many entries each user has.
    users: HashMap<UserId, usize, RandomState>,
    lingering: usize,
    pub version: u64,
}

struct Present {
    entry: PresenceEntry,
    /// Connections under which those who watch longer know this entry: its user came back within the time of grace,
    /// and nobody was told.
    aliases: Vec<ConnectionId>,
    /// When it leaves, if it lingers after its connection was lost; Unix milliseconds.
    until: Option<u64>,
}

impl PresenceSet {
    /// Applies a change, which makes this `version` of the set; `None` when nobody needs to know.
    pub fn apply(&mut self, change: PresenceChange, version: u64) -> Option<PresenceDiff> {
        match change {
            PresenceChange::Enter(entry) => self.enter(PresenceEntry { revision: version, ..entry }),
            PresenceChange::Leave(connection) => self.leave(&connection),
            PresenceChange::Linger { connection, until } => {
                let present = self.entries.get_mut(&connection)?;
                self.lingering += usize::from(present.until.is_none());
                present.until = Some(until);
                None
            }
        }
    }

    /// Removes an entry that has lingered long enough.
    pub fn expire(&mut self, connection: &ConnectionId, now: u64) -> Option<PresenceDiff> {
        let due = self.entries.get(connection)?.until.is_some_and(|until| until <= now);
        if due { self.leave(connection) } else { None }
    }

    fn enter(&mut self, mut entry: PresenceEntry) -> Option<PresenceDiff> {
        let replaced: Vec<PresenceEntry> =
            self.entries.get(&entry.connection).map(|present| present.entry.clone()).into_iter().collect();
        let concerned = [Some(&entry), replaced.first()].into_iter().flatten().filter_map(|entry| entry.user.clone());
        let concerned: SmallVec<[(UserId, bool); 2]> =
            concerned.map(|user| (user.clone(), self.users.contains_key(&user))).collect();
        let before = self.take(&entry.connection).or_else(|| self.take_lingering(&entry));
        let mut aliases = Vec::new();
        let mut known = None;
        if let Some(mut before) = before {
            aliases = std::mem::take(&mut before.aliases);
            if before.entry.connection != entry.connection {
                aliases.push(before.entry.connection.clone());
            }
            known = Some(before.entry);
        }
        let is_back = |known: &PresenceEntry| known.connection != entry.connection && known.data == entry.data;
        let told = known.as_ref().is_some_and(is_back);
        let silent = told && aliases.len() <= MAX_ALIASES;
        let gone = if silent { Vec::new() } else { std::mem::take(&mut aliases) };
        if let Some(known) = known.as_ref().filter(|_| silent) {
            // For everybody else it is the state that it was.
            entry.revision = known.revision;
        }
        if let Some(user) = &entry.user {
            *self.users.entry(user.clone()).or_default() += 1;
        }
        self.entries.insert(entry.connection.clone(), Present { entry: entry.clone(), aliases, until: None });
        if silent {
            return None;
        }
        let leaves = known.map(|known| known_as(&known, gone)).unwrap_or_default();
        let mut diff = PresenceDiff { joins: vec![entry], leaves, replaced, ..PresenceDiff::default() };
        for (user, was_there) in concerned {
            match (was_there, self.users.contains_key(&user)) {
                (false, true) if !diff.users_in.contains(&user) => diff.users_in.push(user),
                (true, false) => diff.users_out.push(user),
                _ => {}
            }
        }
        Some(diff)
    }

    fn leave(&mut self, connection: &ConnectionId) -> Option<PresenceDiff> {
        let Present { entry, aliases, .. } = self.take(connection)?;
        let mut leaves = known_as(&entry, aliases);
        let users_out = entry.user.iter().filter(|user| !self.users.contains_key(*user)).cloned().collect();
        leaves.push(entry);
        Some(PresenceDiff { leaves, users_out, ..PresenceDiff::default() })
    }

    fn take(&mut self, connection: &ConnectionId) -> Option<Present> {
        let present = self.entries.remove(connection)?;
        self.lingering -= usize::from(present.until.is_some());
        if let Some(user) = &present.entry.user
            && let Some(count) = self.users.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
            }
        }
        Some(present)
    }

    /// The entry that the user of `entry` left behind with a lost connection.
    fn take_lingering(&mut self, entry: &PresenceEntry) -> Option<Present> {
        if self.lingering == 0 || entry.user.is_none() {
            return None;
        }
        let lost = self.entries.values().find(|present| present.until.is_some() && present.entry.user == entry.user)?;
        let connection = lost.entry.connection.clone();
        self.take(&connection)
    }

    pub fn snapshot(&self) -> PresenceSnapshot {
        let members = self.entries.values().map(|present| present.entry.clone()).collect();
        PresenceSnapshot { members, version: self.version }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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

    fn entry(user: &str, connection: &str, data: &str) -> PresenceEntry {
        let data = RawJson::parse(data).unwrap();
        PresenceEntry { user: Some(UserId::from(user)), connection: ConnectionId::from(connection), data, revision: 0 }
    }

    fn linger(set: &mut PresenceSet, connection: &str, until: u64) {
        let told = set.apply(PresenceChange::Linger { connection: ConnectionId::from(connection), until }, 1);
        assert_eq!(told, None, "a lost connection tells nobody");
    }

    fn connections(diff: Option<PresenceDiff>) -> (Vec<String>, Vec<String>) {
        let names = |entries: Vec<PresenceEntry>| entries.iter().map(|e| e.connection.to_string()).collect();
        diff.map(|diff| (names(diff.joins), names(diff.leaves))).unwrap_or_default()
    }

    #[test]
    fn a_user_who_is_back_in_time_never_left_and_leaves_under_every_name() {
        let mut set = PresenceSet::default();
        set.apply(PresenceChange::Enter(entry("ann", "a", "{}")), 1);
        linger(&mut set, "a", 10);
        assert_eq!(set.apply(PresenceChange::Enter(entry("ann", "b", "{}")), 1), None);
        assert_eq!(set.expire(&ConnectionId::from("a"), 20), None, "its time of grace is over, and it is back");
        assert_eq!(set.snapshot().members, [PresenceEntry { revision: 1, ..entry("ann", "b", "{}") }]);
        let left = connections(set.apply(PresenceChange::Leave(ConnectionId::from("b")), 1));
        assert_eq!(left, (vec![], vec!["a".into(), "b".into()]));
        assert!(set.is_empty());
    }

    #[test]
    fn a_return_with_other_data_is_told_as_one_difference() {
        let mut set = PresenceSet::default();
        set.apply(PresenceChange::Enter(entry("ann", "a", "{}")), 1);
        linger(&mut set, "a", 10);
        let told = connections(set.apply(PresenceChange::Enter(entry("ann", "b", "[1]")), 1));
        assert_eq!(told, (vec!["b".into()], vec!["a".into()]));
    }

    #[test]
    fn who_does_not_come_back_leaves_when_the_time_is_over() {
        let mut set = PresenceSet::default();
        set.apply(PresenceChange::Enter(entry("ann", "a", "{}")), 1);
        linger(&mut set, "a", 10);
        assert_eq!(set.expire(&ConnectionId::from("a"), 9), None);
        set.apply(PresenceChange::Enter(entry("bob", "b", "{}")), 1);
        assert_eq!(connections(set.expire(&ConnectionId::from("a"), 10)), (vec![], vec!["a".into()]));
    }
}
