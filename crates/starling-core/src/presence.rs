//! Presence: who is in a channel. One set for all protocols and nodes.

use crate::{AppId, ChannelName, ConnectionId, RawJson, UserId};

/// One connection that is present in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEntry {
    /// Whose connection it is; none for an anonymous one.
    pub user: Option<UserId>,
    /// Which connection.
    pub connection: ConnectionId,
    /// What it tells about itself: a JSON object.
    pub data: RawJson,
    /// The version of the channel's set with which it entered or got its present data; 0 until the engine took it.
    pub revision: u64,
}

/// A change that a node asks its engine to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceChange {
    /// Adds the entry, or replaces the data of the one with the same connection.
    Enter(PresenceEntry),
    /// Removes the entry of this connection.
    Leave(ConnectionId),
    /// The connection was lost. Its entry stays until then, and leaves if its user has not entered again: if it has,
    /// the new entry takes the place of the old one, and nobody is told of a leave or a join.
    Linger {
        /// Which.
        connection: ConnectionId,
        /// Until when, in Unix milliseconds.
        until: u64,
    },
}

/// A change that happened, told to every node that has members in the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEvent {
    /// The tenant.
    pub app: AppId,
    /// Where.
    pub channel: ChannelName,
    /// Counts the changes of this channel's set; see [`PresenceSnapshot::version`].
    pub version: u64,
    /// What changed.
    pub diff: PresenceDiff,
    /// Whether this node asked for the change, or noticed that it was due: true on exactly one node of a cluster, which
    /// gets the event whether it is interested in the channel or not.
    pub ours: bool,
}

/// Who joined and who left. An update is a join of a connection that is already present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresenceDiff {
    /// Entries that are new or have new data.
    pub joins: Vec<PresenceEntry>,
    /// Entries that are gone, as they last were.
    pub leaves: Vec<PresenceEntry>,
    /// Entries of `joins` and `leaves` that were there before with other data or another revision, as they were until
    /// this difference.
    pub replaced: Vec<PresenceEntry>,
    /// Users whose first connection is among the `joins`.
    pub users_in: Vec<UserId>,
    /// Users whose last connection is among the `leaves`.
    pub users_out: Vec<UserId>,
}

impl PresenceDiff {
    /// Appends what happened after `self`, so that both can be told at once.
    ///
    /// Within one difference a connection stands on one side only, with its latest state: whoever left and came back
    /// is a join, which replaces what is known of it.
    pub fn append(&mut self, later: PresenceDiff) {
        for user in later.users_out {
            cancel_or_push(&mut self.users_in, &mut self.users_out, user);
        }
        for user in later.users_in {
            cancel_or_push(&mut self.users_out, &mut self.users_in, user);
        }
        for entry in later.leaves {
            self.forget(&entry.connection);
            self.leaves.push(entry);
        }
        let replaced = later.replaced;
        for entry in later.joins {
            // What it replaces is what was known before this whole difference: of one that is new in it, nothing.
            let of_entry = |known: &&PresenceEntry| known.connection == entry.connection;
            let is_new = self.joins.iter().any(|known| of_entry(&known));
            let known = self.leaves.iter().find(of_entry).or_else(|| replaced.iter().find(of_entry));
            if !is_new
                && !self.replaced.iter().any(|known| of_entry(&known))
                && let Some(known) = known
            {
                self.replaced.push(known.clone());
            }
            self.forget(&entry.connection);
            self.joins.push(entry);
        }
    }

    fn forget(&mut self, connection: &ConnectionId) {
        self.joins.retain(|known| known.connection != *connection);
        self.leaves.retain(|known| known.connection != *connection);
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.leaves.is_empty()
    }
}

/// Whoever came and went within one difference did neither.
fn cancel_or_push(opposite: &mut Vec<UserId>, same: &mut Vec<UserId>, user: UserId) {
    match opposite.iter().position(|known| *known == user) {
        Some(at) => _ = opposite.swap_remove(at),
        None => same.push(user),
    }
}

/// The whole set at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresenceSnapshot {
    /// Everyone present, in no particular order.
    pub members: Vec<PresenceEntry>,
    /// The version of the last event that is included: events up to it are already in `members`.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(joins: &[&str], leaves: &[&str]) -> PresenceDiff {
        let entry = |name: &&str| PresenceEntry {
            user: None,
            connection: ConnectionId::from(*name),
            data: RawJson::empty_object(),
            revision: 0,
        };
        PresenceDiff {
            joins: joins.iter().map(entry).collect(),
            leaves: leaves.iter().map(entry).collect(),
            ..PresenceDiff::default()
        }
    }

    #[test]
    fn each_connection_stands_on_the_side_of_its_latest_state() {
        let mut sum = diff(&["a", "b"], &["c"]);
        sum.append(diff(&["c"], &["a"]));
        let came_back = PresenceDiff { replaced: diff(&["c"], &[]).joins, ..diff(&["b", "c"], &["a"]) };
        assert_eq!(sum, came_back, "who left and came back replaces what is known of it");
    }

    #[test]
    fn an_update_replaces_what_was_known_before_the_difference() {
        let update =
            |before: &[&str], now: &[&str]| PresenceDiff { replaced: diff(before, &[]).joins, ..diff(now, &[]) };
        let mut known = PresenceDiff::default();
        known.append(update(&["a"], &["a"]));
        known.append(update(&["a"], &["a"]));
        assert_eq!(known, update(&["a"], &["a"]));
        known.append(diff(&[], &["a"]));
        let left = PresenceDiff { replaced: diff(&["a"], &[]).joins, ..diff(&[], &["a"]) };
        assert_eq!(known, left, "it is the state before that others know");
        let mut new = diff(&["b"], &[]);
        new.append(update(&["b"], &["b"]));
        assert_eq!(new, diff(&["b"], &[]), "nobody knew it before");
    }

    #[test]
    fn a_user_who_comes_and_goes_did_neither() {
        let user = || vec![UserId::from("u")];
        let mut sum = PresenceDiff { users_out: user(), ..PresenceDiff::default() };
        sum.append(PresenceDiff { users_in: user(), ..PresenceDiff::default() });
        assert_eq!(sum, PresenceDiff::default());
    }
}
