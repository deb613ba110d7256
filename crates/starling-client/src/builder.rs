//! How a client is set up.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use starling_proto::native::Encoding;
use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::client::{Client, Limits, Status};
use crate::connector::Connector;
use crate::driver::{Driver, Failed, Ladder, Link, Session, link};
use crate::endpoint::Endpoint;
use crate::error::{Blame, Error};
use crate::tls;
use crate::transport::Transport;

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
    encoding: Encoding,
    transports: Vec<Transport>,
    upgrade_after: Duration,
    limits: Limits,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            authorities: Vec::new(),
            max_message: 16 << 20,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(30),
            encoding: Encoding::Json,
            transports: Transport::ALL.to_vec(),
            upgrade_after: Duration::from_secs(15),
            limits: Limits {
                request_timeout: Duration::from_secs(10),
                publish_timeout: Duration::from_secs(60),
                queue: 256,
            },
            settings: Settings {
                tokens: TokenSource::None,
                connect_timeout: Duration::from_secs(10),
                ping_interval: Duration::from_secs(8),
                ping_timeout: Duration::from_secs(5),
                stable_after: Duration::from_secs(10),
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

    /// Speaks MessagePack instead of JSON on a WebSocket, on which bytes travel as they are. Numbers of JSON payloads that
    /// are no integers of 64 bits then have the precision of a float of 64 bits. The other transports are text: on them the
    /// same messages travel as JSON, bytes as base64. Default: JSON.
    pub fn msgpack(mut self) -> Self {
        self.encoding = Encoding::Msgpack;
        self
    }

    /// Ways to the server, the best first. Default [`Transport::ALL`]: a WebSocket, where that does not get through
    /// server-sent events, where those do not either long-polling. An empty list is the default.
    ///
    /// The URL must be that of a `/ws` (or have no path) for the others to be found beside it; otherwise only
    /// [`Transport::WebSocket`] is used.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports.clear();
        for transport in transports {
            if !self.transports.contains(&transport) {
                self.transports.push(transport);
            }
        }
        if self.transports.is_empty() {
            self.transports = Transport::ALL.to_vec();
        }
        self
    }

    /// How long a fallback is used before the best transport is tried beside it. The delay doubles with each try, up to
    /// 10 minutes; the transport is taken once it has lasted as [`stable_after`](Self::stable_after) says. Default 15 s.
    pub fn upgrade_after(mut self, delay: Duration) -> Self {
        self.upgrade_after = delay;
        self
    }

    /// Also trusts the certificate authorities in this PEM file. Default: only those of the system.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(path.into());
        self
    }

    /// Time for name resolution, TCP, TLS, the upgrade and authentication. Default 10 s. Later: the next attempt, over
    /// another transport.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Delays between attempts to connect: random, up to `base`, which doubles with each failure, up to `cap`.
    /// Default 1 s and 30 s. They start over once a connection has lasted as [`stable_after`](Self::stable_after) says.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.backoff_base, self.backoff_cap) = (base, cap);
        self
    }

    /// How long a connection must last for the delays to start over, and for its transport to count as one that works.
    /// Default 10 s.
    pub fn stable_after(mut self, lasting: Duration) -> Self {
        self.settings.stable_after = lasting;
        self
    }

    /// Silence of the server after which it is sent a ping, and how long the answer may take before the connection
    /// counts as lost. Default 8 s and 5 s. The other transports notice by themselves: an event stream that is silent
    /// for 25 s, a poll or a message that is not answered in time. A server does not read while one of its hooks decides about a message: keep
    /// the timeout above that of the hooks.
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.settings.ping_interval, self.settings.ping_timeout) = (interval, timeout);
        self
    }

    /// How long the answer to a request may take, time without a connection included: history, presence, and requests
    /// of the application. Default 10 s. Later: [`Error::Timeout`].
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.limits.request_timeout = timeout;
        self
    }

    /// The same for publishes. Default 60 s: below the two minutes in which a server recognises a repeated message id by
    /// default, so that sending again never publishes twice.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.limits.publish_timeout = timeout;
        self
    }

    /// Items that wait in a subscription or an inbox before reading from the socket stops. Default 256, at least 1.
    pub fn queue(mut self, items: usize) -> Self {
        self.limits.queue = items.max(1);
        self
    }

    /// Publishes and other requests that may await their answer, also while there is no connection. Default 1000. Beyond:
    /// [`Error::QueueFull`].
    pub fn max_pending(mut self, requests: usize) -> Self {
        self.settings.max_pending = requests;
        self
    }

    /// The longest message from the server, and the longest answer to a poll, in bytes. Default 16 MiB. A longer one ends
    /// the connection.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Connects, once: where the server cannot be reached or refuses, so does this. A transport that does not get through
    /// is followed by the next one, each of them tried once. Lost connections are then replaced for as long as there is a
    /// handle to the client.
    ///
    /// Needs a tokio runtime with time and I/O enabled. Cancel-safe: dropping the future gives the attempt up.
    ///
    /// # Errors
    ///
    /// Why there is no connection: over the best transport, if none worked.
    pub async fn connect(self) -> Result<Client, Error> {
        let (connector, mut ladder) = self.connector()?;
        let mut first = None;
        loop {
            match link::open(&connector, &self.settings, ladder.transport()).await {
                Ok(link) => return Ok(self.spawn(connector, ladder, Some(link))),
                Err(failure) => {
                    let has_untried = failure.blame == Blame::Path && ladder.failed(Failed::Opening);
                    let error = first.get_or_insert(failure.error);
                    if !has_untried {
                        return Err(error.clone());
                    }
                }
            }
        }
    }

    /// A client that connects in the background, and goes on trying. What is asked of it meanwhile waits.
    ///
    /// Needs a tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    ///
    /// When the URL or a certificate is not usable.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Client, Error> {
        let (connector, ladder) = self.connector()?;
        Ok(self.spawn(connector, ladder, None))
    }

    fn connector(&self) -> Result<(Arc<Connector>, Ladder), Error> {
        let endpoint = Endpoint::parse(&self.url)?;
        let mut transports = self.transports.clone();
        if endpoint.beside("sse", &[]).is_none() {
            transports.retain(|transport| *transport == Transport::WebSocket);
        }
        if transports.is_empty() {
            let reason = "its path does not end in /ws, so that nobody knows what is beside it".into();
            return Err(Error::Url { url: self.url.clone(), reason });
        }
        let tls = if endpoint.secure { Some(tls::config(&self.authorities)?) } else { None };
        let connector = Connector { endpoint, tls, encoding: self.encoding, max_message: self.max_message };
        Ok((Arc::new(connector), Ladder::new(transports, self.upgrade_after)))
    }

    fn spawn(self, connector: Arc<Connector>, ladder: Ladder, link: Option<Link>) -> Client {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (status, watched) = watch::channel(link.as_ref().map_or(Status::Connecting, Link::status));
        let session = Session::new(self.encoding, self.limits.queue, self.settings.max_pending, commands.downgrade());
        let backoff = Backoff::new(self.backoff_base, self.backoff_cap);
        tokio::spawn(Driver::new(connector, self.settings, ladder, backoff, session, received, status).run(link));
        Client::new(commands, watched, self.limits)
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
