//! What all parts of a running server hold on to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use starling_hub::{Hub, Now};
use tokio::runtime::Handle;

use crate::auth::Authenticator;
use crate::cluster::Known;
use crate::gate::Gate;
use crate::hooks::{HttpHooks, Secrets, Webhooks};
use crate::options::LiveOptions;
use crate::pusher;
use crate::relay::Pulses;
use crate::sessions::Sessions;
use crate::watched::Times;
use crate::worker::WorkerHandle;

/// A running server.
pub(crate) struct Shared {
    pub hub: Arc<Hub>,
    pub auth: Authenticator,
    /// What requests to the application are signed with.
    pub secrets: Arc<Secrets>,
    pub hooks: Option<Arc<HttpHooks>>,
    pub webhooks: Option<Arc<Webhooks>>,
    /// The main listener's certificate; none: plain HTTP.
    pub tls: ArcSwapOption<ServerConfig>,
    pub live: ArcSwap<LiveOptions>,
    pub gate: Gate,
    pub workers: Vec<WorkerHandle>,
    pub sessions: Sessions,
    /// Nodes that owe answers to relayed requests.
    pub pulses: Pulses,
    pub pusher: pusher::State,
    /// How long a session that lost its transport can be resumed.
    pub recovery_window: std::time::Duration,
    pub runtime: Handle,
    /// Where Engine.IO alone is spoken.
    pub engine_io: Option<String>,
    /// Socket.IO's tokens are the application's.
    pub opaque_tokens: bool,
    /// The demo page is served, and the metrics without credentials.
    pub dev: bool,
    /// Metrics and the dashboard have a listener of their own.
    pub has_admin_listener: bool,
    pub clock: Clock,
    /// How long the engine took for publishes.
    pub publish_times: Arc<Times>,
    pub draining: AtomicBool,
    /// Whether this node knows which tokens were revoked elsewhere.
    pub revocations: Known,
}

impl Shared {
    /// Whether new work is welcome: not draining, the engine takes publishes, and no token is accepted that was revoked.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.hub.engine().is_up() && self.revocations.is_known()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// The server's clock: all its threads count from the same start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        Now { micros: self.start.elapsed().as_micros() as u64, unix_ms: unix_ms() }
    }
}

/// The time of day, in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
