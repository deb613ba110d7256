//! Which channels this node hears: one subscription per channel, and past a limit one per group.
//!
//! NATS carries a subscription per channel well; this node's memory does not (7 KB each). Past the limit a channel is
//! heard through the subtree that its name hashes to, and what belongs to nobody here is dropped on arrival. A channel
//! keeps the way by which it came for as long as it is wanted: moving it would repeat or lose messages.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_nats::header::{HeaderMap, NATS_SEQUENCE};
use bytes::Bytes;
use futures_util::StreamExt;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{Control, EngineError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::link::unavailable;
use crate::names::Key;
use crate::shared::Shared;
use crate::wire::{Record, Wire};

/// How long a channel that nobody wants is still heard, so that flapping costs nothing.
const LAG: Duration = Duration::from_secs(2);

/// What this node wants.
#[derive(Default)]
pub(crate) struct Interest {
    wants: Mutex<HashMap<Key, Want>>,
    groups: tokio::sync::Mutex<HashMap<u64, Weak<Feed>>>,
}

struct Want {
    count: usize,
    /// Since when nobody wants it.
    idle: Option<Instant>,
    route: Option<Route>,
    ready: watch::Receiver<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Subscribing,
    Heard,
    Failed,
}

/// By which subscription a channel is heard.
struct Route {
    is_group: bool,
    _feed: Arc<Feed>,
}

/// A subscription; it ends with this.
struct Feed(AbortHandle);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Interest {
    /// Whether what happens in a channel arrives by itself.
    pub fn hears(&self, key: &Key) -> bool {
        self.wants.lock().get(key).is_some_and(|want| *want.ready.borrow() == Progress::Heard)
    }

    fn hears_by_group(&self, key: &Key) -> bool {
        self.wants.lock().get(key).is_some_and(|want| matches!(want.route, Some(Route { is_group: true, .. })))
    }

    pub fn unwant(&self, key: &Key) {
        if let Some(want) = self.wants.lock().get_mut(key) {
            want.count = want.count.saturating_sub(1);
            if want.count == 0 {
                want.idle = Some(Instant::now());
            }
        }
    }

    /// Ends subscriptions that nobody has wanted for a while.
    pub fn end_idle(&self) {
        let mut wants = self.wants.lock();
        wants.retain(|_, want| want.idle.is_none_or(|since| since.elapsed() < LAG));
        if wants.capacity() > 64 && wants.len() < wants.capacity() / 4 {
            wants.shrink_to_fit();
        }
    }

    /// Ends all subscriptions.
    pub fn end(&self) {
        self.wants.lock().clear();
    }
}

impl Shared {
    pub async fn want(self: &Arc<Self>, key: Key) -> Result<(), EngineError> {
        self.link.ready()?;
        let mut ready = {
            let mut wants = self.interest.wants.lock();
            let is_single = wants.len() < self.link.options.max_subscriptions;
            let want = wants.entry(key.clone()).or_insert_with(|| {
                let (sender, ready) = watch::channel(Progress::Subscribing);
                self.runtime.spawn(self.clone().subscribe(key.clone(), is_single, sender));
                Want { count: 0, idle: None, route: None, ready }
            });
            want.count += 1;
            want.idle = None;
            want.ready.clone()
        };
        let heard = self.link.within("subscribe", async {
            let progress = ready.wait_for(|progress| *progress != Progress::Subscribing).await;
            Ok(progress.is_ok_and(|progress| *progress == Progress::Heard))
        });
        match heard.await {
            Ok(true) => Ok(()),
            // The wish is gone with the subscription.
            Ok(false) => Err(unavailable("NATS did not take the subscription")),
            Err(error) => {
                self.interest.unwant(&key);
                Err(error)
            }
        }
    }

    async fn subscribe(self: Arc<Self>, key: Key, is_single: bool, progress: watch::Sender<Progress>) {
        let feed = if is_single { self.feed_of(&key).await } else { self.feed_of_group(&key).await };
        let heard = match feed {
            Ok(route) => {
                if let Some(want) = self.interest.wants.lock().get_mut(&key) {
                    want.route = Some(route);
                }
                self.link.within("subscribe", self.link.confirmed(async { Ok(()) })).await
            }
            Err(error) => Err(error),
        };
        match heard {
            Ok(()) => _ = progress.send(Progress::Heard),
            Err(_) => {
                self.interest.wants.lock().remove(&key);
                let _ = progress.send(Progress::Failed);
            }
        }
    }

    async fn feed_of(self: &Arc<Self>, key: &Key) -> Result<Route, EngineError> {
        let subject = format!("{}.ch.{}.>", self.link.options.prefix, key.tokens());
        let skipped = subject.len() - 1;
        let mut messages = self.link.client.subscribe(subject).await.map_err(unavailable)?;
        let (shared, key) = (Arc::downgrade(self), key.clone());
        let task = self.runtime.spawn(async move {
            while let Some(message) = messages.next().await {
                let Some(shared) = shared.upgrade() else { return };
                let what = message.subject.get(skipped..).unwrap_or("");
                shared.deliver(&key, what, message.headers.as_ref(), &message.payload);
            }
        });
        Ok(Route { is_group: false, _feed: Arc::new(Feed(task.abort_handle())) })
    }

    async fn feed_of_group(self: &Arc<Self>, key: &Key) -> Result<Route, EngineError> {
        let mut groups = self.interest.groups.lock().await;
        if let Some(feed) = groups.get(&key.group()).and_then(Weak::upgrade) {
            return Ok(Route { is_group: true, _feed: feed });
        }
        let root = format!("{}.ch.", self.link.options.prefix);
        let subject = format!("{root}{}.>", key.group());
        let mut messages = self.link.client.subscribe(subject).await.map_err(unavailable)?;
        let shared = Arc::downgrade(self);
        let task = self.runtime.spawn(async move {
            while let Some(message) = messages.next().await {
                let Some(shared) = shared.upgrade() else { return };
                let Some((key, what)) = message.subject.get(root.len()..).and_then(Key::parse) else { continue };
                if shared.interest.hears_by_group(&key) {
                    shared.deliver(&key, what, message.headers.as_ref(), &message.payload);
                }
            }
        });
        let feed = Arc::new(Feed(task.abort_handle()));
        groups.insert(key.group(), Arc::downgrade(&feed));
        Ok(Route { is_group: true, _feed: feed })
    }

    /// Hands over what arrived for a channel; `what` is the end of its subject.
    fn deliver(&self, key: &Key, what: &str, headers: Option<&HeaderMap>, payload: &Bytes) {
        let Some(sink) = self.sink.get() else { return };
        let seq = || headers?.get(NATS_SEQUENCE)?.as_str().parse().ok();
        if what.starts_with("p.") {
            if let Some(seq) = seq() {
                self.deliver_presence(key, seq, payload);
            }
            return;
        }
        let record = match Record::decode(payload) {
            Ok(record) => record,
            Err(error) => return tracing::error!(channel = %key.channel, %error, "NATS"),
        };
        // Only what a stream republished has a place in the log.
        if record.epoch.is_some() != (what == "h") {
            return tracing::error!(channel = %key.channel, "NATS: a record that is neither of a log nor without one");
        }
        if let Some(seq) = seq() {
            self.logs.follow(key, seq, &record);
        }
        if record.cleared
            && let Some(epoch) = record.epoch.clone()
        {
            let head = starling_core::Position { epoch, offset: 0 };
            sink.control(&key.app, Control::HistoryCleared { channel: key.channel.clone(), head });
        }
        record.positioned().for_each(|message| sink.message(Arc::new(message)));
    }
}
