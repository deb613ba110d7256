//! Where the connections are that requests ask for by name: long-polling sessions, and streams.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{AppId, UserId};
use starling_hub::Slot;

use crate::auth::Claims;
use crate::poll::Polled;

const SHARDS: usize = 32;

/// See the module's documentation. The worker that owns a connection enters it, and takes it out.
#[derive(Default)]
pub(crate) struct Sessions {
    hasher: RandomState,
    shards: [Mutex<HashMap<Arc<str>, Place, RandomState>>; SHARDS],
}

/// Where a connection is, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub worker: usize,
    pub slot: Slot,
    pub owner: (AppId, Option<UserId>),
    /// What a session of polls is known by between them.
    pub polled: Option<Arc<Polled>>,
}

impl Place {
    /// Whether a request with these credentials may speak for the connection. Without credentials it may for one that
    /// has none either, where there may be such.
    pub fn is_owned_by(&self, claims: Option<&Claims>, anonymous: bool) -> bool {
        let (app, user) = &self.owner;
        match claims {
            Some(claims) => {
                app.as_str() == &*claims.app && user.as_ref().is_some_and(|user| user.as_str() == &*claims.user)
            }
            None => user.is_none() && anonymous,
        }
    }
}

impl Sessions {
    fn shard(&self, key: &str) -> &Mutex<HashMap<Arc<str>, Place, RandomState>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    pub fn insert(&self, key: Arc<str>, place: Place) {
        self.shard(&key).lock().insert(key, place);
    }

    pub fn find(&self, key: &str) -> Option<Place> {
        self.shard(key).lock().get(key).cloned()
    }

    /// Keeps what is known of a session of polls, while it is there.
    pub fn keep_polled(&self, key: &str, polled: &Arc<Polled>) {
        if let Some(place) = self.shard(key).lock().get_mut(key) {
            place.polled = Some(polled.clone());
        }
    }

    /// Unless another connection has the name by now.
    pub fn remove(&self, key: &str, worker: usize, slot: Slot) {
        let mut shard = self.shard(key).lock();
        if shard.get(key).is_some_and(|place| place.worker == worker && place.slot == slot) {
            shard.remove(key);
        }
        if shard.is_empty() {
            shard.shrink_to_fit();
        }
    }
}
