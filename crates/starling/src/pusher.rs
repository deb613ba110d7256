//! Pusher Channels on the main listener: `GET /app/{key}` and the HTTP API under `/apps/{id}/…`.
//!
//! What clients and servers say is `starling_proto::pusher`'s business; here are the requests, the limits of an app,
//! and the rendering of webhooks. Apps are known by their configured key (clients) and id (servers).

mod api;
mod connect;
mod count;
mod event;
mod look;
mod signature;
pub(crate) mod webhook;

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{HistoryPolicy, PrefixDefaults, PresencePolicy};
use starling_hub::{Bucket, Now};
use starling_proto::pusher::{App, LiveApp, PRESENCE_PREFIX};

use crate::auth::AppKeys;

pub use starling_proto::pusher::AppSettings;

pub(crate) use api::serve as api;
pub(crate) use connect::connect;
pub(crate) use count::Counts;

/// The last event of a `cache-` channel, as long as the real service keeps it.
const CACHED: HistoryPolicy = HistoryPolicy { size: 1, ttl: Duration::from_secs(30 * 60) };

/// What channels of Pusher's names keep where their rule does not say it: `presence-` presence, and those with `cache-`
/// their last event.
pub(crate) fn channel_defaults() -> [PrefixDefaults; 5] {
    let defaults = |prefix, presence: bool, history| PrefixDefaults {
        prefix,
        presence: presence.then(PresencePolicy::default),
        history,
    };
    [
        defaults("presence-cache-", true, Some(CACHED)),
        defaults(PRESENCE_PREFIX, true, None),
        defaults("private-encrypted-cache-", false, Some(CACHED)),
        defaults("private-cache-", false, Some(CACHED)),
        defaults("cache-", false, Some(CACHED)),
    ]
}

/// What is kept of apps between requests.
#[derive(Default)]
pub(crate) struct State {
    apps: Mutex<HashMap<String, Kept, RandomState>>,
}

/// One app, by its id.
struct Kept {
    app: Arc<LiveApp>,
    /// For the events that its servers publish.
    events: Bucket,
}

impl Kept {
    fn new(keys: &AppKeys) -> Self {
        Self { app: Arc::new(LiveApp::new(app_of(keys))), events: Bucket::default() }
    }

    fn configure(&mut self, keys: &AppKeys) {
        if !self.app.now().is(&keys.key, &keys.secret, &keys.pusher) {
            self.app.configure(app_of(keys));
        }
    }
}

fn app_of(keys: &AppKeys) -> App {
    App::new(&keys.key, &keys.secret, keys.pusher.clone())
}

impl State {
    /// The app as its sessions share it.
    fn app(&self, keys: &AppKeys) -> Arc<LiveApp> {
        let mut apps = self.apps.lock();
        let kept = apps.entry_ref(&keys.id).or_insert_with(|| Kept::new(keys));
        kept.configure(keys);
        kept.app.clone()
    }

    /// The configuration was read again: open sessions go by it from now on. Those of an app that is gone stay as they
    /// are.
    pub fn configure(&self, apps: &[AppKeys]) {
        let mut known = self.apps.lock();
        for keys in apps {
            if let Some(kept) = known.get_mut(&keys.id) {
                kept.configure(keys);
            }
        }
    }

    /// Whether the app may publish so many events now; takes them from its budget.
    fn take_events(&self, keys: &AppKeys, count: usize, now: Now) -> bool {
        let rate = keys.pusher.events_per_second;
        let mut apps = self.apps.lock();
        match apps.get_mut(&keys.id) {
            Some(kept) if rate > 0 => (0..count).all(|_| kept.events.take(now, rate, rate)),
            _ => true,
        }
    }
}
