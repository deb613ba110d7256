//! A whole server: start, reload, drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use starling_core::{AppId, Application, Control, Engine, Observer, Pending};
use starling_hub::{Hub, HubOptions, MemoryEngine, Settings};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::{AppsError, Authenticator, MemoryLedger, TicketLedger};
use crate::cluster::{self, EngineLedger, Known};
use crate::embed::{Broadcaster, BuildError, Builder, Chain, Services};
use crate::gate::Gate;
use crate::handlers::{Attached, Built, Runner};
use crate::hooks::{HooksError, HttpHooks, Secrets, Webhooks};
use crate::listener::{self, Kind};
use crate::options::{LiveOptions, Options};
use crate::pusher;
use crate::relay;
use crate::shared::{Clock, Shared, unix_ms};
use crate::tls::{self, TlsError};
use crate::watched::{Times, WatchedEngine};
use crate::worker::{IdleWorker, Order};

/// The server cannot run as configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The apps' keys cannot be used.
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A step of the builder was wrong.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The hooks or webhooks cannot work as configured.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// The system gives no thread or no epoll instance.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}

/// A running server. Dropping it leaves it running; [`Server::drain`] ends it.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    services: Arc<Services>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Starts a server on the tokio runtime that this is called from.
    ///
    /// # Errors
    /// When it cannot run as configured; nothing is left behind then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let runtime = Handle::current();
        let ledger: Arc<dyn TicketLedger> = match &options.engine {
            Some(engine) => Arc::new(EngineLedger { engine: engine.clone() }),
            None => Arc::new(MemoryLedger::new()),
        };
        let auth = Authenticator::new(&options.live.apps, ledger)?;
        let tls = options.live.tls.as_ref().map(tls::load).transpose()?;
        let secrets = Arc::new(Secrets::new(&options.live.apps));
        let hooks = options.hooks.map(|hooks| HttpHooks::new(hooks, secrets.clone())).transpose()?;
        let main = options.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
        let admin = options.admin_listen.map(listen).transpose()?;
        let addresses = main.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());

        let workers = (0..worker_count(options.workers))
            .map(|_| IdleWorker::new())
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Worker)?;
        let spawner = runtime.clone();
        let window = options.recovery_window;
        // Alone, there are no others to learn them from.
        let revocations = if options.engine.is_none() { Known::from_the_start() } else { Known::default() };
        let engine = options.engine.unwrap_or_else(|| Arc::new(MemoryEngine::new(window)));
        let publish_times = Arc::new(Times::default());
        let engine: Arc<dyn Engine> = Arc::new(WatchedEngine::new(engine, publish_times.clone()));
        let webhooks = match options.webhooks.is_empty() {
            true => None,
            false => Some(Webhooks::new(options.webhooks, &secrets, engine.clone(), runtime.clone())?),
        };
        let hub = Hub::new(HubOptions {
            settings: settings(&options.live),
            engine,
            application: application(options.application, hooks.clone()),
            inboxes: workers.iter().map(|worker| worker.handle.inbox.clone()).collect(),
            spawn: Box::new(move |future| _ = spawner.spawn(future)),
        });
        let services = Services::new(&hub);
        for Built { attached, limits, .. } in options.handlers {
            let runner = Runner::new(limits, runtime.clone());
            // Handlers that are new have not been attached before.
            let _ = attached.set(Attached { services: services.clone(), runner });
        }
        let observer = webhooks.clone().map(|webhooks| webhooks as Arc<dyn Observer>);
        let is_counted = options.live.apps.iter().any(|app| app.pusher.subscription_count);
        let counts = is_counted.then(|| pusher::Counts::new(observer.clone()));
        if let Some(observer) = counts.clone().map(|counts| counts as Arc<dyn Observer>).or(observer) {
            hub.observe(observer);
        }
        auth.watch(&runtime);
        let shared = Arc::new(Shared {
            hub,
            auth,
            secrets,
            hooks,
            webhooks,
            tls: ArcSwapOption::from(tls),
            live: ArcSwap::from_pointee(options.live),
            gate: Gate::default(),
            draining: AtomicBool::new(false),
            revocations,
            pusher: pusher::State::default(),
            sessions: Default::default(),
            pulses: Default::default(),
            recovery_window: options.recovery_window,
            workers: workers.iter().map(|worker| worker.handle.clone()).collect(),
            runtime,
            engine_io: options.engine_io,
            opaque_tokens: options.opaque_tokens,
            dev: options.dev,
            has_admin_listener: admin.is_some(),
            clock: Clock::start(),
            publish_times,
        });
        if let Some(counts) = counts {
            counts.attach(&shared);
        }
        record_revocations(&shared);
        answer_relayed(&shared);
        let threads = workers
            .into_iter()
            .enumerate()
            .map(|(index, worker)| worker.start(index, shared.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Worker)?;

        let (stop, stopped) = watch::channel(false);
        for listener in main {
            tokio::spawn(listener::run(listener, Kind::Main, shared.clone(), stopped.clone()));
        }
        if let Some(listener) = admin {
            tokio::spawn(listener::run(listener, Kind::Admin, shared.clone(), stopped.clone()));
        }
        tokio::spawn(sweep(shared.clone(), stopped));
        Ok(Self { shared, addresses, admin_address, threads, services, stop })
    }

    /// Builds a server step by step, with handlers.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Publishes and acts on connections, from anywhere in the program; of the first app.
    ///
    /// ```no_run
    /// # async fn example(server: starling::Server) -> Result<(), starling::core::Refusal> {
    /// server.broadcaster().publish("news", "headline", "It works").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn broadcaster(&self) -> Broadcaster {
        let app = self.shared.live.load().apps.first().map_or_else(|| AppId::from(""), |app| AppId::from(&*app.id));
        Broadcaster::new(self.services.clone(), app)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where the main listener listens; ports that were asked for as 0 are filled in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics are served, if apart.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Puts other settings in force. No connection is dropped; what is already decided (a membership, an
    /// authentication) stays.
    ///
    /// # Errors
    /// When the apps' keys or the certificate cannot be used; everything stays as it was then.
    pub fn reload(&self, live: LiveOptions) -> Result<(), StartError> {
        let tls = live.tls.as_ref().map(tls::load).transpose()?;
        self.shared.auth.replace(&live.apps)?;
        self.shared.secrets.replace(&live.apps);
        self.shared.tls.store(tls);
        self.shared.hub.reconfigure(settings(&live));
        self.shared.pusher.configure(&live.apps);
        self.shared.live.store(Arc::new(live));
        Ok(())
    }

    /// Ends the server: `/readyz` says 503, every client is told to go and closed, paced, within the configured
    /// `shutdown_grace`; then the listeners close, and webhook events that wait are delivered within what is left of it.
    /// Returns when everything is gone.
    ///
    /// Not cancel-safe: the drain goes on, but nobody waits for the threads.
    pub async fn drain(self) {
        let grace = self.shared.live.load().shutdown_grace;
        self.shared.begin_drain();
        for worker in &self.shared.workers {
            worker.order(Order::Drain { within: grace });
        }
        let end = Instant::now() + grace;
        let webhooks = self.shared.webhooks.clone();
        // What becomes of the last connections is to be told within the grace as well.
        let deadline = if webhooks.is_some() { end - grace / 10 } else { end };
        while self.shared.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.finish().await;
        if let Some(webhooks) = webhooks {
            webhooks.flush(end).await;
        }
    }

    /// Ends the server at once: connections are cut.
    pub async fn stop(self) {
        self.shared.begin_drain();
        self.finish().await;
    }

    async fn finish(self) {
        // Nobody is left to receive it when all tasks have ended.
        let _ = self.stop.send(true);
        for worker in &self.shared.workers {
            worker.order(Order::Stop);
        }
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).all(|r| r.is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a worker had panicked");
        }
        self.shared.hub.end();
    }
}

/// The program's own code is asked before its backend.
fn application(own: Option<Arc<dyn Application>>, hooks: Option<Arc<HttpHooks>>) -> Option<Arc<dyn Application>> {
    match (own, hooks) {
        (Some(own), Some(hooks)) => Some(Arc::new(Chain::new([own, hooks as _]))),
        (own, hooks) => own.or(hooks.map(|hooks| hooks as _)),
    }
}

fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, StartError> {
    listener::bind(address).map_err(|error| StartError::Listen { address, error })
}

fn settings(live: &LiveOptions) -> Settings {
    let rules = live.rules.with_defaults(&pusher::channel_defaults());
    Settings { rules, limits: live.limits.clone(), backpressure: live.backpressure.clone() }
}

fn worker_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(64),
        count => count.min(64),
    }
}

/// Revocations reach every node as controls, and are recorded there. Where controls may have been missed, what was noted
/// is read again.
fn record_revocations(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.hub.on_control(move |app, control| {
        let Some(shared) = weak.upgrade() else { return };
        if let Control::Revoke { user, before } = control {
            let before = before.saturating_mul(1000);
            if shared.auth.revocations().revoke(app.as_str(), user.as_str(), before, unix_ms()).is_err() {
                tracing::warn!(%app, "too many revocations: the oldest now hold for every user of the app");
            }
        }
    });
    let weak = Arc::downgrade(shared);
    shared.hub.on_resync(move || {
        if let Some(shared) = weak.upgrade() {
            shared.revocations.doubt();
        }
    });
}

/// Requests for sessions of this node, that landed on another, are answered here.
fn answer_relayed(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.hub.on_relayed(move |message| match weak.upgrade() {
        Some(shared) => Pending::later(relay::answer(shared, message)),
        None => Pending::Ready(bytes::Bytes::new()),
    });
}

/// Forgets what has expired, about once a second, and reads what was revoked when that is in doubt.
async fn sweep(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    let mut is_failing = false;
    loop {
        let is_due = tokio::select! {
            _ = interval.tick() => true,
            () = shared.revocations.doubted() => false,
            () = listener::stopped(&mut stop) => return,
        };
        if !shared.hub.engine().is_up() {
            shared.revocations.doubt_once();
        } else if let Some(doubt) = shared.revocations.doubt_to_settle() {
            match cluster::read_revocations(&shared).await {
                Ok(()) => {
                    shared.revocations.settle(doubt);
                    if std::mem::take(&mut is_failing) {
                        tracing::warn!("the revoked tokens could be read: this node knows them now");
                    }
                }
                Err(error) if !std::mem::replace(&mut is_failing, true) => {
                    tracing::error!(%error, "cannot read which tokens were revoked: this node is not ready until it can");
                }
                Err(_) => {}
            }
        }
        if is_due {
            let now = shared.clock.now();
            shared.hub.sweep(now);
            shared.gate.sweep(now);
        }
    }
}
