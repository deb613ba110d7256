//! Which workers of this node have members of which channel.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use starling_core::{AppId, ChannelName};

const SHARDS: usize = 64;

/// A channel of an app, as a key of maps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ChannelKey {
    pub app: AppId,
    pub channel: ChannelName,
}

/// The same, borrowed.
#[derive(Hash)]
pub(crate) struct ChannelRef<'a> {
    pub app: &'a AppId,
    pub channel: &'a ChannelName,
}

impl Equivalent<ChannelKey> for ChannelRef<'_> {
    fn equivalent(&self, key: &ChannelKey) -> bool {
        *self.app == key.app && *self.channel == key.channel
    }
}

/// A set of workers, as bits.
pub(crate) type Workers = u64;

/// The table: read once per message, written when a channel gets its first or loses its last member on a worker.
#[derive(Default)]
pub(crate) struct Interest {
    hasher: RandomState,
    shards: Box<[RwLock<HashMap<ChannelKey, Workers, RandomState>>]>,
}

impl Interest {
    pub fn new() -> Self {
        Self { hasher: RandomState::default(), shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// Adds a worker, and says whether it is the first.
    pub fn add(&self, key: &ChannelKey, worker: usize) -> bool {
        let mut shard = self.shard(key).write();
        let workers = shard.entry(key.clone()).or_insert(0);
        let first = *workers == 0;
        *workers |= 1 << worker;
        first
    }

    /// Removes a worker, and says whether it was the last.
    pub fn remove(&self, key: &ChannelKey, worker: usize) -> bool {
        let mut shard = self.shard(key).write();
        let Some(workers) = shard.get_mut(key) else {
            return false;
        };
        *workers &= !(1 << worker);
        let last = *workers == 0;
        if last {
            shard.remove(key);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
        last
    }

    /// The workers that want this channel.
    pub fn workers(&self, app: &AppId, channel: &ChannelName) -> Workers {
        let key = ChannelRef { app, channel };
        let shard = &self.shards[self.hasher.hash_one(&key) as usize % SHARDS];
        shard.read().get(&key).copied().unwrap_or(0)
    }

    fn shard(&self, key: &ChannelKey) -> &RwLock<HashMap<ChannelKey, Workers, RandomState>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_are_told() {
        let interest = Interest::new();
        let key = ChannelKey { app: AppId::from("1"), channel: ChannelName::parse("c").unwrap() };
        assert!(interest.add(&key, 0));
        assert!(!interest.add(&key, 3));
        assert_eq!(interest.workers(&key.app, &key.channel), 0b1001);
        assert!(!interest.remove(&key, 0));
        assert!(interest.remove(&key, 3));
        assert!(!interest.remove(&key, 3), "removed twice");
        assert_eq!(interest.workers(&key.app, &key.channel), 0);
    }
}
