//! Revoked tokens: per app and user, the moment before which tokens are refused.
//!
//! A revocation must hold as long as a token issued before it could live, and a token without `exp` lives
//! for ever. So revocations do not expire; they are kept while the process lives (a restart forgets them:
//! backends that must be sure use short `exp` times), and their number is bounded per app.
//! At the bound the oldest is folded into a *floor* of the app: from then on
//! tokens issued before that moment are refused for **every** user of the app, and so are tokens without `iat`.
//! The bound errs on the safe side: a revoked token never comes back, an old unrevoked one may have to be renewed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use thiserror::Error;

/// Users with a revocation that are remembered one by one, per app; about 150 bytes each.
pub const MAX_REVOCATIONS: usize = 100_000;

/// All [`MAX_REVOCATIONS`] of the app lie in the future, so none may be folded into the floor:
/// that would lock every user out.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{MAX_REVOCATIONS} revocations of this app lie in the future; no room for another")]
pub struct RevocationsFull;

/// The revocations of all apps.
#[derive(Default)]
pub struct Revocations {
    /// Guards all of it: read at each authentication, written by the API only.
    apps: RwLock<HashMap<Arc<str>, AppRevocations>>,
}

#[derive(Default)]
struct AppRevocations {
    before: HashMap<Arc<str>, u64>,
    /// The same, oldest first.
    by_time: BTreeSet<(u64, Arc<str>)>,
    floor: Option<u64>,
}

impl Revocations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses from now on the tokens of `user` that were issued before `before`; an earlier moment than one
    /// already given changes nothing. Times are Unix milliseconds; `now` bounds the floor.
    ///
    /// A token's `iat` is mostly in whole seconds, so a token made in the same second as a
    /// revocation in milliseconds counts as made before it.
    ///
    /// # Errors
    ///
    /// [`RevocationsFull`]; nothing is changed then.
    pub fn revoke(&self, app: &str, user: &str, before: u64, now: u64) -> Result<(), RevocationsFull> {
        let mut apps = self.apps.write();
        if !apps.contains_key(app) {
            apps.insert(app.into(), AppRevocations::default());
        }
        match apps.get_mut(app) {
            Some(revocations) => revocations.revoke(user, before, now, MAX_REVOCATIONS),
            None => unreachable!("inserted above"),
        }
    }

    /// Whether a token of `user`, issued at `issued_at` (Unix milliseconds), was revoked.
    pub fn is_revoked(&self, app: &str, user: &str, issued_at: Option<u64>) -> bool {
        let apps = self.apps.read();
        let Some(revocations) = apps.get(app) else {
            return false;
        };
        let before = revocations.before.get(user).copied().max(revocations.floor);
        match (before, issued_at) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(issued_at)) => issued_at < before,
        }
    }
}

impl AppRevocations {
    fn revoke(&mut self, user: &str, before: u64, now: u64, limit: usize) -> Result<(), RevocationsFull> {
        if let Some((user, &earlier)) = self.before.get_key_value(user) {
            if earlier < before {
                let user = user.clone();
                self.by_time.remove(&(earlier, user.clone()));
                self.by_time.insert((before, user.clone()));
                self.before.insert(user, before);
            }
            return Ok(());
        }
        if self.before.len() >= limit {
            self.fold_oldest(before, now)?;
        }
        let user: Arc<str> = user.into();
        self.by_time.insert((before, user.clone()));
        self.before.insert(user, before);
        Ok(())
    }

    fn fold_oldest(&mut self, before: u64, now: u64) -> Result<(), RevocationsFull> {
        match self.by_time.first() {
            Some((oldest, _)) if *oldest <= now => {}
            _ => return Err(RevocationsFull),
        }
        if let Some((oldest, user)) = self.by_time.pop_first() {
            self.before.remove(&user);
            if self.floor.is_none() {
                tracing::warn!(
                    before,
                    oldest,
                    "more than {MAX_REVOCATIONS} revoked users: older tokens of every user of this app are refused"
                );
            }
            self.floor = self.floor.max(Some(oldest));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_issued_before_the_moment_are_refused() {
        let revocations = Revocations::new();
        revocations.revoke("1", "alice", 100_500, 100_500).unwrap();
        for (name, app, user, issued_at, expected) in [
            ("before", "1", "alice", Some(99_000), true),
            ("in the same second", "1", "alice", Some(100_000), true),
            ("just before", "1", "alice", Some(100_499), true),
            ("at the moment", "1", "alice", Some(100_500), false),
            ("after", "1", "alice", Some(101_000), false),
            ("unknown time of issue", "1", "alice", None, true),
            ("another user", "1", "bob", Some(1), false),
            ("another user, unknown time", "1", "bob", None, false),
            ("another app", "2", "alice", Some(1), false),
        ] {
            assert_eq!(revocations.is_revoked(app, user, issued_at), expected, "{name}");
        }
    }

    #[test]
    fn a_revocation_is_never_taken_back_by_an_earlier_one() {
        let revocations = Revocations::new();
        revocations.revoke("1", "alice", 2_000, 9_000).unwrap();
        revocations.revoke("1", "alice", 1_000, 9_000).unwrap();
        assert!(revocations.is_revoked("1", "alice", Some(1_500)));
        revocations.revoke("1", "alice", 3_000, 9_000).unwrap();
        assert!(revocations.is_revoked("1", "alice", Some(2_500)));
    }

    #[test]
    fn at_the_bound_the_oldest_becomes_the_floor_of_all() {
        let mut app = AppRevocations::default();
        for (user, before) in [("a", 30), ("b", 10), ("c", 20)] {
            app.revoke(user, before, 100, 3).unwrap();
        }
        assert_eq!(app.floor, None);
        app.revoke("c", 40, 100, 3).unwrap();
        assert_eq!((app.before.len(), app.floor), (3, None), "a known user takes no room");
        app.revoke("d", 50, 100, 3).unwrap();
        assert_eq!((app.before.len(), app.by_time.len(), app.floor), (3, 3, Some(10)));
        app.revoke("e", 60, 100, 3).unwrap();
        assert_eq!(app.floor, Some(30));
    }

    #[test]
    fn a_floor_never_lies_in_the_future() {
        let mut app = AppRevocations::default();
        app.revoke("a", 500, 100, 1).unwrap();
        assert_eq!(app.revoke("b", 600, 100, 1), Err(RevocationsFull));
        assert_eq!((app.before.len(), app.floor), (1, None));
    }
}
