//! The engine: the seam's operations, and the tasks that keep one node going.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use starling_core::{
    Answer, AppId, ChannelName, Control, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, NodeId,
    Pending, Position, PresenceChange, PresenceSnapshot, Publication, Published, Query, Sink,
};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::client::unavailable;
use crate::lease::RETRY;
use crate::names::{Key, random_node};
use crate::notes::CLEANING;
use crate::options::{ConnectError, KafkaOptions};
use crate::reader;
use crate::shared::Shared;

/// How often what waits too long is looked for.
const PATIENCE_CHECK: Duration = Duration::from_millis(200);

/// After no broker could be reached, how long it is still waited for a reason why that can never be.
const EXPLANATION: Duration = Duration::from_secs(2);

/// Nodes linked by Kafka. One per process; it stops with its last reference.
pub struct KafkaEngine {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
    sweeps: AtomicUsize,
}

impl KafkaEngine {
    /// Connects to the brokers. Must be called on a tokio runtime, on which the engine goes on to work; what it reads comes
    /// on a thread of its own.
    ///
    /// Brokers that cannot be reached are no error: the engine is returned, [`Engine::is_up`] is false, and it connects
    /// as soon as it can. The same where there is more to read than the time for an operation allows.
    ///
    /// # Errors
    /// When waiting would not help: see [`ConnectError`].
    pub async fn connect(options: KafkaOptions) -> Result<Arc<Self>, ConnectError> {
        let files = options.client_certificate.iter().flat_map(|(cert, key)| [cert, key]).chain(&options.ca);
        for path in files {
            if let Err(error) = std::fs::File::open(path) {
                return Err(ConnectError::File { path: path.clone(), reason: error.to_string() });
            }
        }
        let patience = options.timeout * 2;
        let shared = Shared::new(options, random_node())?;
        let (started, start) = oneshot::channel();
        let (weak, thread) = (Arc::downgrade(&shared), thread::Builder::new().name("kafka".into()));
        thread
            .spawn(move || reader::run(weak, started))
            .map_err(|error| ConnectError::Invalid(format!("no thread to read on: {error}")))?;
        let is_late = every(&shared, PATIENCE_CHECK, |shared| async move {
            if shared.writer.waiters().give_up(shared.options.timeout) {
                shared.signals.doubt("Kafka does not answer in time");
            }
        });
        let cleaning = every(&shared, CLEANING, |shared| async move {
            let alive = shared.nodes.alive(shared.options.lease);
            if shared.signals.is_up() && alive.iter().all(|node| *node >= shared.node) {
                shared.clean_notes();
            }
        });
        let beating = tokio::spawn(keep_alive(Arc::downgrade(&shared))).abort_handle();
        let signals = shared.signals.clone();
        let engine = Arc::new(Self { shared, tasks: vec![is_late, cleaning, beating], sweeps: AtomicUsize::new(0) });
        let is_away = async {
            while signals.doubts() == 0 {
                tokio::time::sleep(RETRY).await;
            }
            tokio::time::sleep(EXPLANATION).await;
        };
        tokio::select! {
            started = start => started.unwrap_or(Ok(()))?,
            () = is_away => {}
            () = tokio::time::sleep(patience) => {}
        }
        Ok(engine)
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

impl Drop for KafkaEngine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.shared.say_goodbye();
        self.shared.stopping.store(true, Ordering::Release);
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
        loop {
            ticks.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            act(shared).await;
        }
    });
    task.abort_handle()
}

/// Heartbeats: regular ones while all is well, more often while it is not.
async fn keep_alive(shared: Weak<Shared>) {
    loop {
        let (signals, pause) = {
            let Some(shared) = shared.upgrade() else { return };
            let is_up = shared.signals.is_up();
            (shared.signals.clone(), if is_up { shared.options.heartbeat() } else { RETRY })
        };
        let _ = tokio::time::timeout(pause, async {
            signals.changed.notified().await;
            // Troubles come in swarms.
            tokio::time::sleep(RETRY.min(pause)).await;
        })
        .await;
        let Some(shared) = shared.upgrade() else { return };
        // Before it has begun to read, nothing comes back.
        if shared.is_reading() {
            shared.keep_alive().await;
        }
    }
}

impl Engine for KafkaEngine {
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
        // Everything is read anyway; what is published from now on is read after this.
        Pending::Ready(self.shared.ready().map(|()| self.shared.interest.want(key)))
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
        self.run(async move { shared.within("history", shared.read_history(&key, policy, range, now)).await })
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        let (shared, key) = (self.shared.clone(), Key::new(app, channel));
        self.run(async move { shared.within("clear history", shared.clear(&key)).await })
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
        &self.shared.node
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
        self.shared.signals.is_up()
    }

    fn sweep(&self, now: u64) {
        self.shared.end_grace(now);
        self.shared.sweep_logs(self.sweeps.fetch_add(1, Ordering::Relaxed), now);
    }
}
