//! What can go wrong, by who is at fault.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use starling_core::Refusal;
use thiserror::Error;

/// Why something did not happen.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not one of a Starling server.
    #[error("{url:?} is not a ws://, wss://, http:// or https:// URL: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A payload that cannot be written as JSON, or is not of the type that it was to be read as.
    #[error("the payload does not fit: {0}")]
    Payload(Arc<serde_json::Error>),
    /// The certificates to trust could not be read.
    #[error("certificates of authorities: {0}")]
    Certificates(String),
    /// The function that was to give a token failed.
    #[error("no token: {0}")]
    Token(Arc<dyn std::error::Error + Send + Sync>),
    /// The connection could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection ended in a way that connecting again would not mend, or before a request that is sent only once was
    /// answered.
    #[error("{0}")]
    Lost(Lost),
    /// This client is subscribed to the channel already.
    #[error("already subscribed to {0:?}")]
    AlreadySubscribed(String),
    /// As many publishes and other requests as [`Builder::max_pending`](crate::Builder::max_pending) allows await their
    /// answer.
    #[error("too many requests await their answer")]
    QueueFull,
    /// No answer came in time. A publish may have happened all the same; published again under the same message id, it
    /// happens once.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The client was closed by [`Client::close`](crate::Client::close).
    #[error("the client is closed")]
    Closed,
}

impl Error {
    pub(crate) fn payload(error: serde_json::Error) -> Self {
        Self::Payload(Arc::new(error))
    }
}

/// Why there is no connection, and whether another transport may fare better.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) blame: Blame,
}

/// What is at fault that there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The way there, as far as can be told: another transport may fare better.
    Path,
    /// What every transport would meet: no network, no token, a refusal by the server itself.
    Elsewhere,
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self { error: error.into(), blame: Blame::Path }
    }
}

/// Why a connection could not be opened.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The network, TLS included.
    #[error("cannot connect to {address}: {error}")]
    Io {
        /// Host and port.
        address: String,
        /// The cause.
        error: Arc<io::Error>,
    },
    /// Neither an acceptance nor a refusal came within [`Builder::connect_timeout`](crate::Builder::connect_timeout).
    #[error("no answer from {address} within {after:?}")]
    Timeout {
        /// Host and port.
        address: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server, or something on the way, answered with an HTTP error.
    #[error("the server refused the connection: HTTP {status}{}", detail(.message))]
    Status {
        /// The status code.
        status: u16,
        /// When to try again, if the server said.
        retry_after: Option<Duration>,
        /// The beginning of the answer's body.
        message: String,
    },
    /// What answered does not speak the protocol.
    #[error("not a Starling server: {0}")]
    Protocol(String),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The close code; `None` where the connection just broke off.
    pub code: Option<u16>,
    /// What the server gave as the reason, or what broke.
    pub reason: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "connection closed with {code}{}", detail(&self.reason)),
            None => write!(f, "connection lost{}", detail(&self.reason)),
        }
    }
}

impl Lost {
    /// Without a word from the server.
    pub(crate) fn broken(reason: impl ToString) -> Self {
        Self { code: None, reason: reason.to_string() }
    }

    /// Whether something on the way may have ended the connection: with any other code it was the server.
    pub(crate) fn may_be_the_path(&self) -> bool {
        matches!(self.code, None | Some(1000 | 1001 | 1005 | 1006))
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
