//! Which channels this node wants. It reads every channel's records; the others are for nobody here.

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::names::Key;

/// What this node wants, and how often.
#[derive(Default)]
pub(crate) struct Interest {
    wants: Mutex<HashMap<Key, usize>>,
}

impl Interest {
    pub fn want(&self, key: Key) {
        *self.wants.lock().entry(key).or_default() += 1;
    }

    pub fn unwant(&self, key: &Key) {
        let mut wants = self.wants.lock();
        if let Some(count) = wants.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                wants.remove(key);
            }
        }
        if wants.capacity() > 64 && wants.len() < wants.capacity() / 4 {
            wants.shrink_to_fit();
        }
    }

    /// Whether what happens in a channel is for this node.
    pub fn hears(&self, key: &Key) -> bool {
        self.wants.lock().contains_key(key)
    }
}
