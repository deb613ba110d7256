//! How a client is set up.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::client::{Client, Status};
use crate::connector::Connector;
use crate::driver::{Driver, connection};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::tls;

/// Commands that wait for the driver: beyond, a call waits.
const COMMANDS: usize = 256;

type TokenFuture = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// Where tokens come from.
pub(crate) enum TokenSource {
    /// An anonymous connection.
    None,
    /// Always the same one; when it expires, the client ends.
    Fixed(String),
    /// A fresh one for each connection, and before one expires.
    Function(Box<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenSource {
    pub(crate) async fn token(&self) -> Result<Option<String>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::Function(function) => function().await.map(Some),
        }
    }

    /// Whether a token that was refused can be followed by a better one.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Self::Function(_))
    }
}

/// What the driver goes by.
pub(crate) struct Settings {
    pub(crate) tokens: TokenSource,
    pub(crate) connect_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) stable_after: Duration,
    pub(crate) queue: usize,
    pub(crate) max_pending: usize,
}

/// Sets up a [`Client`]. Made by [`Client::builder`].
#[must_use]
pub struct Builder {
    url: String,
    authorities: Vec<PathBuf>,
    max_message: usize,
    backoff_base: Duration,
    backoff_cap: Duration,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            authorities: Vec::new(),
            max_message: 16 << 20,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(30),
            settings: Settings {
                tokens: TokenSource::None,
                connect_timeout: Duration::from_secs(10),
                ping_interval: Duration::from_secs(25),
                ping_timeout: Duration::from_secs(20),
                stable_after: Duration::from_secs(10),
                queue: 256,
                max_pending: 1000,
            },
        }
    }

    /// Connects as the user of this JSON Web Token. When it expires or is refused, the client ends. Default: none,
    /// which is an anonymous connection.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.tokens = TokenSource::Fixed(token.into());
        self
    }

    /// Asks `function` for a JSON Web Token for each connection, and again before one expires.
    ///
    /// When it fails, connecting is tried again later. Default: none, which is an anonymous connection.
    pub fn token_fn<F, T, E>(mut self, function: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.settings.tokens = TokenSource::Function(Box::new(move || {
            let token = function();
            Box::pin(async move { token.await.map_err(|error| Error::Token(Arc::from(error.into()))) })
        }));
        self
    }

    /// Also trusts the certificate authorities in this PEM file. Default: only those of the system.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(path.into());
        self
    }

    /// Time for name resolution, TCP, TLS, the upgrade and authentication. Default 10 s. Later: the next attempt.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Delays between attempts to connect: random, up to `base`, which doubles with each failure, up to `cap`.
    /// Default 500 ms and 30 s. They start over once a connection has lasted as [`stable_after`](Self::stable_after) says.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.backoff_base, self.backoff_cap) = (base, cap);
        self
    }

    /// How long a connection must last for the delays to start over. Default 10 s.
    pub fn stable_after(mut self, lasting: Duration) -> Self {
        self.settings.stable_after = lasting;
        self
    }

    /// Silence of the server after which it is sent a ping, and how long the answer may take before the connection
    /// counts as lost. Default 25 s and 20 s.
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.settings.ping_interval, self.settings.ping_timeout) = (interval, timeout);
        self
    }

    /// Items that wait in a subscription before reading from the socket stops. Default 256, at least 1.
    pub fn queue(mut self, items: usize) -> Self {
        self.settings.queue = items.max(1);
        self
    }

    /// Publishes that may await their acknowledgement, also while there is no connection. Default 1000. Beyond:
    /// [`Error::QueueFull`].
    pub fn max_pending(mut self, publishes: usize) -> Self {
        self.settings.max_pending = publishes;
        self
    }

    /// The longest message from the server, in bytes. Default 16 MiB. A longer one ends the connection.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Connects, once: where the first attempt fails, so does this. Lost connections are then replaced for as long as
    /// there is a handle to the client.
    ///
    /// Needs a tokio runtime with time and I/O enabled. Cancel-safe: dropping the future gives the attempt up.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub async fn connect(self) -> Result<Client, Error> {
        let endpoint = Endpoint::parse(&self.url)?;
        let tls = if endpoint.secure { Some(tls::config(&self.authorities)?) } else { None };
        let connector = Connector { endpoint, tls, max_message: self.max_message };
        let link = connection::open(&connector, &self.settings).await?;
        let (commands, received) = mpsc::channel(COMMANDS);
        let (status, watched) = watch::channel(link.status());
        let driver =
            Driver::new(connector, self.settings, Backoff::new(self.backoff_base, self.backoff_cap), received, status);
        tokio::spawn(driver.run(link));
        Ok(Client::new(commands, watched))
    }
}

impl std::fmt::Debug for Builder {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("url", &self.url).finish_non_exhaustive()
    }
}

#[expect(dead_code, reason = "checks at compile time that a client can be shared")]
fn assert_shareable(client: Client, status: Status) -> impl Send + Sync {
    (client, status)
}
