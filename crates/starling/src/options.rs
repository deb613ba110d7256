//! What a server is made of: plain values, from a configuration file or an embedding program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use starling_core::{Application, Backpressure, Engine, Heartbeat, Limits, RuleSet};

use crate::address::Networks;
use crate::auth::{AppKeys, AuthPolicy, Origins};
use crate::handlers::Built;
use crate::hooks::{HookOptions, WebhookOptions};

/// Everything about a server that an operator chooses.
///
/// [`Options::default`] has no app and no rule: it refuses everybody.
#[non_exhaustive]
pub struct Options {
    /// Addresses of the main listener. Default: none.
    pub listen: Vec<SocketAddr>,
    /// Where metrics and the dashboard are served without credentials. None: on the main listener, with an app's
    /// credentials. Default: none.
    pub admin_listen: Option<SocketAddr>,
    /// Threads that own connections, 1 to 64; 0: one per core. Default 0.
    pub workers: usize,
    /// Logs, presence and the other nodes. None: the memory engine. Default: none.
    pub engine: Option<Arc<dyn Engine>>,
    /// The user's code. None: the rules decide alone. Default: none.
    pub application: Option<Arc<dyn Application>>,
    /// A backend that decides over HTTP. Default: none.
    pub hooks: Option<HookOptions>,
    /// Backends that are told over HTTP what happened. Default: none.
    pub webhooks: Vec<WebhookOptions>,
    /// How long a session that lost its transport can be resumed, and publishers' message ids are remembered.
    /// Default 2 min.
    pub recovery_window: Duration,
    /// Where Engine.IO is spoken without Socket.IO on top of it, for an application with a protocol of its own: it gets
    /// what clients send as the event `message`. A path with a slash at its end. Default: nowhere.
    pub engine_io: Option<String>,
    /// The tokens that Socket.IO clients send are the application's own: the server does not look at them, and the
    /// application gets them in [`Application::enter`]. Default: no, they are JWTs.
    pub opaque_tokens: bool,
    /// Serves the demo page at `/`, and the metrics without credentials. Default: no.
    pub dev: bool,
    /// What can be changed while the server runs.
    pub live: LiveOptions,
    /// Handlers that `application` consists of, which must learn to what they belong.
    pub(crate) handlers: Vec<Built>,
}

/// What can be changed while the server runs, without dropping a connection.
#[derive(Clone)]
#[non_exhaustive]
pub struct LiveOptions {
    /// The apps and their keys.
    pub apps: Vec<AppKeys>,
    /// Which web pages may connect. Default: none; programs that send no `Origin` may.
    pub origins: Origins,
    /// How connections show who they are.
    pub auth: AuthPolicy,
    /// Channel rules.
    pub rules: RuleSet,
    /// Limits of each connection.
    pub limits: Limits,
    /// What may wait for each connection.
    pub backpressure: Backpressure,
    /// How silent connections are noticed.
    pub heartbeat: Heartbeat,
    /// The largest message of a client, in bytes. Default 64 KiB.
    pub max_payload: usize,
    /// Open connections of this node. Default 1,000,000.
    pub max_connections: usize,
    /// Open connections from one address; 0: no limit. Default 0.
    pub max_connections_per_ip: usize,
    /// How long the head of a request, and a TLS handshake, may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a shutdown may take. Default 30 s.
    pub shutdown_grace: Duration,
    /// Networks whose `X-Forwarded-For` is believed. Default: none.
    pub trusted_proxies: Networks,
    /// Whether permessage-deflate is accepted. Default: yes.
    pub compression: bool,
    /// PEM files of the certificate chain and its key. Default: plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM: PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            admin_listen: None,
            workers: 0,
            engine: None,
            application: None,
            hooks: None,
            webhooks: Vec::new(),
            recovery_window: Duration::from_secs(120),
            engine_io: None,
            opaque_tokens: false,
            dev: false,
            live: LiveOptions::default(),
            handlers: Vec::new(),
        }
    }
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            apps: Vec::new(),
            origins: Origins::new::<&str>(&[], false).expect("an empty list is valid"),
            auth: AuthPolicy::default(),
            rules: RuleSet::default(),
            limits: Limits::default(),
            backpressure: Backpressure::default(),
            heartbeat: Heartbeat::default(),
            max_payload: 64 << 10,
            max_connections: 1_000_000,
            max_connections_per_ip: 0,
            handshake_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(30),
            trusted_proxies: Networks::default(),
            compression: true,
            tls: None,
        }
    }
}
