//! How many members channels have, for clients of apps that want to be told.
//!
//! Whenever the number of a channel's members on this node changes, all nodes are asked, and the sum is published in a
//! reserved channel beside it that only such clients are in. Changes within [`PAUSE`] are told as one.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use parking_lot::Mutex;
use starling_core::{AppId, ChannelName, Happening, Observer, Payload, Publish, Query, RawJson};
use starling_proto::pusher::PRESENCE_PREFIX;
use tokio::sync::Notify;

use crate::api::census::{self, Census};
use crate::shared::{Shared, unix_ms};

/// How long changes are collected.
const PAUSE: Duration = Duration::from_millis(200);

type Changed = HashSet<(AppId, ChannelName), RandomState>;

/// Tells members how many they are, and whatever happens to another observer.
pub(crate) struct Counts {
    shared: OnceLock<Weak<Shared>>,
    changed: Mutex<Changed>,
    wake: Arc<Notify>,
    next: Option<Arc<dyn Observer>>,
}

impl Counts {
    /// Counts, and tells `next` as well.
    pub fn new(next: Option<Arc<dyn Observer>>) -> Arc<Self> {
        Arc::new(Self { shared: OnceLock::new(), changed: Mutex::default(), wake: Arc::default(), next })
    }

    /// The server whose members are counted. Called once.
    pub fn attach(self: &Arc<Self>, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
        let (counts, runtime) = (Arc::downgrade(self), shared.runtime.clone());
        let wake = self.wake.clone();
        runtime.spawn(async move {
            loop {
                wake.notified().await;
                tokio::time::sleep(PAUSE).await;
                match counts.upgrade() {
                    Some(counts) => counts.tell().await,
                    None => return,
                }
            }
        });
    }

    /// Tells what changed.
    async fn tell(&self) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
        let changed = std::mem::take(&mut *self.changed.lock());
        for (app, channel) in changed {
            let query = Query::Channel { channel: channel.clone() };
            let Ok(answers) = census::ask(&shared, &app, &query).await else { continue };
            let count = Census::of(answers).channel(&channel).members;
            let payload = Payload::Json(RawJson::from_valid(count.to_string()));
            let publish = Publish::new(ChannelName::headcount(&channel), "count", payload);
            if let Err(error) = shared.hub.publish(&app, publish, None, unix_ms()).wait().await {
                tracing::debug!(%channel, %error, "a number of members could not be told");
            }
        }
    }

    fn note(&self, app: &AppId, channel: &ChannelName) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
        let live = shared.live.load();
        let is_wanted = live.apps.iter().any(|keys| keys.id == app.as_str() && keys.pusher.subscription_count);
        if is_wanted && !channel.is_reserved() && !channel.as_str().starts_with(PRESENCE_PREFIX) {
            self.changed.lock().insert((app.clone(), channel.clone()));
            self.wake.notify_one();
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        // Its task finds that nobody is there.
        self.wake.notify_one();
    }
}

impl Observer for Counts {
    fn observe(&self, happening: Happening<'_>) {
        if let Happening::Members { app, channel, .. } = happening {
            self.note(app, channel);
        }
        if let Some(next) = &self.next {
            next.observe(happening);
        }
    }
}
