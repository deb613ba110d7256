//! What a user may choose, and why an engine cannot be made at all.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// How to reach Redis, and how to use it. [`RedisOptions::new`] has the defaults.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Where Redis is:
    ///
    /// - `redis://[[user]:password@]host[:port][/database]`: one server, or any node of a Cluster, which is noticed;
    ///   several addresses may be given, separated by commas, and are tried in turn;
    /// - `rediss://…`: the same over TLS;
    /// - `redis+sentinel://[[user]:password@]host[:port],host[:port],…/master-name[/database]`, or `rediss+sentinel`:
    ///   the master that these Sentinels (default port 26379) name.
    pub url: String,
    /// What the names of all keys and channels in Redis start with; hubs that must not see each other on one server
    /// need different ones. Default `starling`. Braces are not allowed.
    pub prefix: String,
    /// How long a command may take. One that takes longer has an unknown outcome: it fails, and the connection is made
    /// anew. Default 5 s.
    pub response_timeout: Duration,
    /// How long a node that says nothing counts as alive; it renews its lease three times as often. After that, others
    /// end its presence entries: 1.7 leases after its death, and one lease later where Redis was away, too.
    /// Default 10 s; at least 300 ms.
    pub lease: Duration,
    /// How long publishers' own message ids are remembered. Default 2 min.
    pub window: Duration,
    /// How long a channel stays subscribed after nobody on this node wants it any more, so that flapping costs nothing.
    /// Default 2 s.
    pub unsubscribe_lag: Duration,
    /// How long a survey waits for other nodes. Default 1 s.
    pub survey_timeout: Duration,
    /// Password of the Sentinels themselves, if they want one.
    pub sentinel_password: Option<String>,
    /// Certificates for `rediss`. Without, the system's roots are trusted, and no certificate is shown.
    pub tls: Option<Tls>,
}

/// Certificates, in PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Whom to trust, instead of the system's roots.
    pub roots: Option<Vec<u8>>,
    /// What to show to the server, and its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl RedisOptions {
    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "starling".into(),
            response_timeout: Duration::from_secs(5),
            lease: Duration::from_secs(10),
            window: Duration::from_secs(120),
            unsubscribe_lag: Duration::from_secs(2),
            survey_timeout: Duration::from_secs(1),
            sentinel_password: None,
            tls: None,
        }
    }

    /// Whether they make sense. Nothing is connected to.
    ///
    /// # Errors
    /// [`ConnectError::Invalid`], as [`RedisEngine::connect`](crate::RedisEngine::connect) would say.
    pub fn check(&self) -> Result<(), ConnectError> {
        crate::broker::check(self).map(drop)
    }
}

/// Without the passwords.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &crate::address::without_password(&self.url))
            .field("prefix", &self.prefix)
            .field("response_timeout", &self.response_timeout)
            .field("lease", &self.lease)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The engine can never work as it is configured. A server that only cannot be reached now is no such error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL, or another option, makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The server refuses the user or the password, or wants one.
    #[error("redis refuses the credentials: {0}")]
    Credentials(String),
    /// The user may not do what the engine needs.
    #[error("redis does not permit the user what is needed: {0}")]
    Permission(String),
    /// The server is older than what the engine needs.
    #[error("redis {found} is too old: at least {needed} is needed")]
    TooOld {
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// The server is a replica, which takes no writes.
    #[error("{0} is a read-only replica: name its master, or the Sentinels")]
    ReadOnly(String),
    /// What answers is no Redis that keeps data.
    #[error("what answers is no redis server: {0}")]
    NotRedis(String),
}
