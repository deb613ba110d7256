//! What became of webhook events, by app.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use starling_core::AppId;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The receiver took it.
    Delivered,
    /// The receiver did not take it, and will get it again. Counted for each time.
    Retried,
    /// There was no room for it, or it was tried for too long.
    Dropped,
}

impl Fate {
    /// All of them, in the order of their places in the table.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Retried, Self::Dropped];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Dropped => "dropped",
        }
    }
}

/// The numbers of all apps that anything was told of.
#[derive(Default)]
pub(crate) struct WebhookCounters(RwLock<HashMap<AppId, Arc<[AtomicU64; Fate::ALL.len()]>>>);

impl WebhookCounters {
    pub fn count(&self, app: &AppId, fate: Fate, events: usize) {
        let known = self.0.read().get(app).cloned();
        let counts = known.unwrap_or_else(|| self.0.write().entry(app.clone()).or_default().clone());
        counts[fate as usize].fetch_add(events as u64, Ordering::Relaxed);
    }

    pub fn read(&self, app: &AppId, fate: Fate) -> u64 {
        self.0.read().get(app).map_or(0, |counts| counts[fate as usize].load(Ordering::Relaxed))
    }
}
