//! The engine: the seam's operations, and the tasks that keep one node going.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use starling_core::{
    Answer, AppId, ChannelName, Control, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, NodeId,
    Pending, Position, PresenceChange, PresenceSnapshot, Publication, Published, Query, Sink,
};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::lease::heartbeat;
use crate::link::{self, unavailable};
use crate::names::Key;
use crate::notes::CLEANING;
use crate::options::{ConnectError, NatsOptions};
use crate::shared::Shared;

/// How often subscriptions that nobody wants are looked for.
const IDLE_CHECK: Duration = Duration::from_millis(500);

/// Nodes linked by NATS. One per process; it stops with its last reference.
pub struct NatsEngine {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl NatsEngine {
    /// Connects to the broker. Must be called on a tokio runtime, on which the engine goes on to work.
    ///
    /// A server that cannot be reached is no error: the engine is returned, [`Engine::is_up`] is false, and it connects
    /// as soon as it can.
    ///
    /// # Errors
    /// When waiting would not help: see [`ConnectError`].
    pub async fn connect(options: NatsOptions) -> Result<Arc<Self>, ConnectError> {
        let node = NodeId::new(crate::streams::random_word());
        let (link, is_connected) = link::connect(options, node).await?;
        let shared = Shared::new(link);
        let listening = shared.listen_to_nodes().await;
        let mut tasks = listening.map_err(|error| ConnectError::Invalid(error.to_string()))?;
        if is_connected {
            shared.beat().await;
        }
        tasks.push(every(&shared, heartbeat(&shared.link.options), |shared| async move { shared.beat().await }));
        tasks.push(every(&shared, IDLE_CHECK, |shared| async move { shared.interest.end_idle() }));
        tasks.push(every(&shared, CLEANING, |shared| async move {
            if let Err(error) = shared.clean_notes().await {
                tracing::debug!(%error, "notes are not cleaned");
            }
        }));
        tasks.push(tokio::spawn(watch_connection(shared.clone(), u64::from(is_connected))).abort_handle());
        Ok(Arc::new(Self { shared, tasks }))
    }

    /// Runs an operation on the engine's own runtime, whatever the caller's is.
    fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Pending<Result<T, EngineError>> {
        let task = self.shared.runtime.spawn(operation);
        Pending::later(async move { task.await.unwrap_or_else(|_| Err(unavailable("the engine is gone"))) })
    }
}

impl Drop for NatsEngine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.shared.interest.end();
    }
}

/// Does something again and again, as long as the engine is there.
fn every<F: Future<Output = ()> + Send + 'static>(
    shared: &Arc<Shared>,
    period: Duration,
    act: impl Fn(Arc<Shared>) -> F + Send + 'static,
) -> AbortHandle {
    let shared = Arc::downgrade(shared);
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            act(shared).await;
        }
    });
    task.abort_handle()
}

/// Heals what a lost connection left, each time one is made; `known` connections were looked at already.
async fn watch_connection(shared: Arc<Shared>, mut known: u64) {
    let signals = shared.link.signals.clone();
    loop {
        signals.changed.notified().await;
        let connections = signals.connections.load(Ordering::Acquire);
        let is_new = connections > known;
        known = connections;
        let was_slow = signals.dropped.swap(false, Ordering::AcqRel);
        if is_new {
            shared.heal().await;
        }
        if (is_new || was_slow)
            && let Some(sink) = shared.sink.get()
        {
            sink.resync();
        }
    }
}

impl Shared {
    /// The client has subscribed again; the streams may be others.
    async fn heal(self: &Arc<Self>) {
        self.link.streams.forget_all();
        if let Err(error) = self.link.check_server().await {
            tracing::error!(%error, "NATS");
        }
        // Once this is answered, what is published reaches this node again.
        if let Err(error) = self.link.within("subscribe again", self.link.confirmed(async { Ok(()) })).await {
            tracing::warn!(%error, "NATS");
        }
        self.beat().await;
    }
}

impl Engine for NatsEngine {
    fn attach(&self, sink: Arc<dyn Sink>) {
        let _ = self.shared.sink.set(sink);
    }

    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        self.shared.publish(publication)
    }

    fn interest(&self, app: &AppId, channel: &ChannelName, wanted: bool) -> Pending<Result<(), EngineError>> {
        let key = Key::new(app, channel);
        if !wanted {
            self.shared.interest.unwant(&key);
            return Pending::Ready(Ok(()));
        }
        let shared = self.shared.clone();
        self.run(async move { shared.want(key).await })
    }

    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Pending<Result<HistoryPage, EngineError>> {
        let (shared, key) = (self.shared.clone(), Key::new(app, channel));
        self.run(async move { shared.read_history(&key, policy, range, now).await })
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        let (shared, key) = (self.shared.clone(), Key::new(app, channel));
        self.run(async move { shared.clear(&key).await })
    }

    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>> {
        let (shared, key) = (self.shared.clone(), Key::new(app, channel));
        self.run(async move { shared.change_presence(key, change).await })
    }

    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>> {
        let (shared, key) = (self.shared.clone(), Key::new(app, channel));
        self.run(async move { shared.members(&key).await })
    }

    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>> {
        let (shared, app) = (self.shared.clone(), app.clone());
        self.run(async move { shared.tell_all(&app, control).await })
    }

    fn survey(&self, app: &AppId, query: Query) -> Pending<Result<Vec<Answer>, EngineError>> {
        let (shared, app) = (self.shared.clone(), app.clone());
        self.run(async move { shared.survey(&app, query).await })
    }

    fn node(&self) -> &NodeId {
        &self.shared.link.node
    }

    fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Pending<Result<Bytes, EngineError>> {
        let (shared, node) = (self.shared.clone(), node.clone());
        self.run(async move { shared.relay(&node, request, timeout).await })
    }

    fn claim(&self, name: &str, ttl: Duration) -> Pending<Result<bool, EngineError>> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        self.run(async move { shared.claim(&name, ttl).await })
    }

    fn note(&self, name: &str, value: Bytes, ttl: Duration) -> Pending<Result<(), EngineError>> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        self.run(async move { shared.keep_note(&name, value, ttl).await })
    }

    fn notes(&self, prefix: &str, take: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>> {
        let (shared, prefix) = (self.shared.clone(), prefix.to_owned());
        self.run(async move { shared.find_notes(&prefix, take).await })
    }

    fn is_up(&self) -> bool {
        self.shared.link.is_up()
    }

    fn sweep(&self, now: u64) {
        self.shared.end_grace(now);
    }
}
