//! How many members each channel has on this node, over all its workers, for the observer.
//!
//! Nothing is counted where nobody observes.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{Happening, Observer};

use crate::interest::ChannelKey;

const SHARDS: usize = 64;

/// The counts. What is told is told under the channel's lock, so that an observer learns of changes in their order.
pub(crate) struct Tally {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<ChannelKey, u64, RandomState>>]>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { hasher: RandomState::default(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Tally {
    /// A connection became a member. User channels are nobody's business.
    pub fn joined(&self, key: &ChannelKey, observer: &dyn Observer) {
        if key.channel.is_reserved() {
            return;
        }
        let mut shard = self.shard(key).lock();
        let count = shard.entry(key.clone()).or_default();
        *count += 1;
        let (app, channel) = (&key.app, &key.channel);
        if *count == 1 {
            observer.observe(Happening::Occupied(app, channel));
        }
        observer.observe(Happening::Members { app, channel, count: *count });
    }

    /// A connection is a member no longer. One that was never counted, because nobody observed yet, does not count.
    pub fn left(&self, key: &ChannelKey, observer: &dyn Observer) {
        let mut shard = self.shard(key).lock();
        let Some(count) = shard.get_mut(key) else { return };
        *count -= 1;
        let (app, channel, count) = (&key.app, &key.channel, *count);
        observer.observe(Happening::Members { app, channel, count });
        if count == 0 {
            shard.remove(key);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
            observer.observe(Happening::Vacated(app, channel));
        }
    }

    fn shard(&self, key: &ChannelKey) -> &Mutex<HashMap<ChannelKey, u64, RandomState>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}
