//! One receiver of webhooks: its lanes, its bounds, its deliveries.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use reqwest::header::{HeaderMap, HeaderValue};
use starling_core::{AppId, ChannelName, ConnectionId, Pending};
use starling_proto::pusher::PRESENCE_PREFIX;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lane::{Batch, Count, Item, Lane};
use super::{Elsewhere, Event, Fate, LANES, WebhookCounters, What, render};
use crate::hooks::client::{self, Backend};
use crate::hooks::{HooksError, Secrets, WebhookEvent, WebhookFormat, WebhookOptions};
use crate::pusher::webhook;
use crate::shared::unix_ms;

/// The longest pause between deliveries while the server ends.
const HURRIED_PAUSE: Duration = Duration::from_millis(250);

/// See the module's documentation.
pub(super) struct Endpoint {
    options: WebhookOptions,
    backend: Backend,
    secrets: Arc<Secrets>,
    counters: Arc<WebhookCounters>,
    runtime: Handle,
    hasher: RandomState,
    lanes: RwLock<HashMap<AppId, Lanes>>,
    /// Events that wait or are being delivered, and their bytes.
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    /// Connections whose `connected` had no room, so that their `disconnected` is not owed.
    untold: Mutex<HashSet<ConnectionId>>,
    /// Until when everything must be delivered, once the server ends.
    hurry: watch::Sender<Option<Instant>>,
    /// Whether the last delivery failed.
    is_down: AtomicBool,
    /// Whether events are being dropped for want of room.
    is_full: AtomicBool,
}

type Lanes = Arc<[Lane; LANES]>;

impl Endpoint {
    pub fn new(
        options: WebhookOptions,
        secrets: Arc<Secrets>,
        counters: Arc<WebhookCounters>,
        runtime: Handle,
    ) -> Result<Arc<Self>, HooksError> {
        Ok(Arc::new(Self {
            backend: Backend::new(&options.url, options.timeout, LANES)?,
            options,
            secrets,
            counters,
            runtime,
            hasher: RandomState::default(),
            lanes: RwLock::default(),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            untold: Mutex::default(),
            hurry: watch::Sender::new(None),
            is_down: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        }))
    }

    pub fn wants(&self, kind: WebhookEvent) -> bool {
        let has = match self.options.format {
            WebhookFormat::Starling => true,
            WebhookFormat::Pusher => !matches!(kind, WebhookEvent::Connected | WebhookEvent::Disconnected),
        };
        has && self.options.events.contains(&kind)
    }

    /// Whether it is told how many members this channel has. Pusher tells that of presence channels by their members.
    pub fn wants_count(&self, channel: &ChannelName) -> bool {
        let has = match self.options.format {
            WebhookFormat::Starling => true,
            WebhookFormat::Pusher => !channel.as_str().starts_with(PRESENCE_PREFIX),
        };
        has && self.wants(WebhookEvent::SubscriptionCount)
    }

    /// Events that wait or are being delivered.
    pub fn waiting(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// The server ends: everything is delivered at once, or not at all after `deadline`.
    pub fn hurry(&self, deadline: Instant) {
        self.hurry.send_replace(Some(deadline));
    }

    /// Queues an event behind those with the same `key`, if there is room.
    pub fn push(self: &Arc<Self>, app: &AppId, key: &str, event: &Event, item: impl FnOnce() -> Item) {
        let size = event.size();
        let taken = match &event.what {
            // Owed to a `connected` that was taken. How many there can be is bounded by the open connections.
            What::Disconnected { caller, .. } if self.wants(WebhookEvent::Connected) => {
                let is_owed = !self.untold.lock().remove(&caller.connection);
                if is_owed {
                    self.take_room(size);
                }
                is_owed
            }
            _ => self.try_take_room(size),
        };
        if taken {
            return self.enqueue(app, key, item(), size);
        }
        if let What::Connected(caller) = &event.what {
            self.untold.lock().insert(caller.connection.clone());
        }
        self.count_dropped(app);
    }

    /// Queues the number of a channel's members; one that waits already is replaced.
    pub fn push_count(self: &Arc<Self>, app: &AppId, channel: &ChannelName, here: u64, ask: &Elsewhere) {
        let lane = self.lane(app, channel.as_str());
        let lanes = self.lanes_of(app);
        // Other nodes are asked when its turn comes: until then it may change many times.
        let (ask, key) = (ask.clone(), (app.clone(), channel.clone()));
        let elsewhere = Pending::later(async move { ask(&key.0, &key.1).wait().await });
        let Some(count) = lanes[lane].replace_count(channel, Count { here, elsewhere }) else { return };
        let size = 256;
        if !self.try_take_room(size) {
            return self.count_dropped(app);
        }
        lanes[lane].note_count(channel.clone(), count);
        self.enqueue(app, channel.as_str(), Item::Count(channel.clone()), size);
    }

    fn count_dropped(&self, app: &AppId) {
        self.counters.count(app, Fate::Dropped, 1);
        if !self.is_full.swap(true, Ordering::Relaxed) {
            let (url, waiting) = (self.backend.address(), self.waiting());
            tracing::error!(%url, waiting, "webhook events are dropped: too many wait for their receiver");
        }
    }

    fn enqueue(self: &Arc<Self>, app: &AppId, key: &str, item: Item, size: usize) {
        let (lanes, lane) = (self.lanes_of(app), self.lane(app, key));
        if lanes[lane].push(item, size, self.options.max_batch) {
            let (endpoint, app) = (self.clone(), app.clone());
            self.runtime.spawn(async move { endpoint.run(&app, &lanes[lane]).await });
        }
    }

    fn lane(&self, app: &AppId, key: &str) -> usize {
        self.hasher.hash_one((app, key)) as usize % LANES
    }

    fn lanes_of(&self, app: &AppId) -> Lanes {
        if let Some(lanes) = self.lanes.read().get(app) {
            return lanes.clone();
        }
        self.lanes.write().entry(app.clone()).or_default().clone()
    }

    fn try_take_room(&self, size: usize) -> bool {
        let has_room = self.queued.load(Ordering::Relaxed) < self.options.max_queue
            && self.queued_bytes.load(Ordering::Relaxed) + size <= self.options.max_queue_bytes;
        if has_room {
            self.take_room(size);
        }
        has_room
    }

    fn take_room(&self, size: usize) {
        self.queued.fetch_add(1, Ordering::AcqRel);
        self.queued_bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// Delivers what is in a lane, until nothing is.
    async fn run(&self, app: &AppId, lane: &Lane) {
        let mut hurry = self.hurry.subscribe();
        if hurry.borrow_and_update().is_none() && !lane.has(self.options.max_batch) {
            tokio::select! {
                () = tokio::time::sleep(self.options.max_delay) => {}
                () = lane.full.notified() => {}
                _ = hurry.changed() => {}
            }
        }
        while let Some(batch) = lane.take(self.options.max_batch, self.options.max_batch_bytes).await {
            if !batch.events.is_empty() && !self.deliver(app, &batch, &mut hurry).await {
                // It counts as waiting for ever: who waits for the queues learns that they were not emptied.
                return;
            }
            self.queued.fetch_sub(batch.items, Ordering::AcqRel);
            self.queued_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        }
    }

    /// Sends a batch until it is taken or given up. Its body stays the same, the signature is made for each time.
    ///
    /// Returns whether it is worthwhile to go on: not when the server has ended meanwhile.
    async fn deliver(&self, app: &AppId, batch: &Batch, hurry: &mut watch::Receiver<Option<Instant>>) -> bool {
        let body = Bytes::from(match self.options.format {
            WebhookFormat::Starling => render::body(&random_id(), unix_ms(), app, &batch.events),
            WebhookFormat::Pusher => webhook::body(unix_ms(), &batch.events),
        });
        let (start, events) = (Instant::now(), batch.events.len());
        let mut pause = self.options.first_pause;
        loop {
            let Some(headers) = self.headers(app, &body) else {
                tracing::error!(%app, events, "webhook events of an app that is not configured are dropped");
                self.counters.count(app, Fate::Dropped, events);
                return true;
            };
            let error = match self.backend.post(headers, body.clone()).await {
                Ok(response) => {
                    client::ignore(response).await;
                    self.counters.count(app, Fate::Delivered, events);
                    self.note_up();
                    return true;
                }
                Err(error) => error,
            };
            self.note_down(&error);
            let deadline = *hurry.borrow_and_update();
            let has_ended = deadline.is_some_and(|it| it <= Instant::now());
            if has_ended || start.elapsed() >= self.options.give_up_after {
                tracing::error!(url = %self.backend.address(), %error, events, "webhook events are given up");
                self.counters.count(app, Fate::Dropped, events);
                return !has_ended;
            }
            self.counters.count(app, Fate::Retried, events);
            let longest = if deadline.is_some() { HURRIED_PAUSE } else { self.options.longest_pause };
            tokio::select! {
                () = tokio::time::sleep(random_part(pause.min(longest))) => {}
                _ = hurry.changed() => {}
            }
            pause = pause.saturating_mul(2).min(self.options.longest_pause);
        }
    }

    fn headers(&self, app: &AppId, body: &[u8]) -> Option<HeaderMap> {
        match self.options.format {
            WebhookFormat::Starling => client::signed(&self.secrets, app, body),
            WebhookFormat::Pusher => {
                let mut headers = client::json();
                let text = |text: String| HeaderValue::try_from(text).ok();
                headers.insert("x-pusher-key", text(self.secrets.public_key(app)?.into())?);
                headers.insert("x-pusher-signature", text(self.secrets.sign(app, &[body])?)?);
                Some(headers)
            }
        }
    }

    fn note_up(&self) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!(url = %self.backend.address(), waiting = self.waiting(), "the webhooks' receiver takes events again");
        }
        self.is_full.store(false, Ordering::Relaxed);
    }

    fn note_down(&self, error: &client::NoAnswer) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(url = %self.backend.address(), %error, "the webhooks' receiver takes no events: they wait");
        }
    }
}

/// The id of a delivery: 128 random bits.
fn random_id() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Full jitter: anything up to `longest`, so that many who failed together do not come back together.
fn random_part(longest: Duration) -> Duration {
    let mut random = [0; 4];
    getrandom::fill(&mut random).expect("the system has random numbers");
    longest.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}
