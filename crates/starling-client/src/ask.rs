//! Requests of the application beside subscriptions: what is asked, and what the answers hold.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_core::{Payload, Position, RawJson};
use starling_proto::native::Encoding;

use crate::error::Error;
use crate::publish::Publish;
use crate::subscription::Message;
use crate::wire::Fields;

/// What a handle asks the driver to ask the server.
#[derive(Debug)]
pub(crate) enum Ask {
    Publish(Publish),
    History { channel: String, options: HistoryOptions },
    Presence { channel: String, action: &'static str, data: Option<RawJson> },
    Event(Request),
}

/// Something for the application behind the server, which replies.
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    pub(crate) event: String,
    pub(crate) payload: Payload,
    pub(crate) channel: Option<String>,
    pub(crate) timeout: Option<Duration>,
}

impl Request {
    /// A request with this payload.
    pub fn new(event: impl Into<String>, payload: Payload) -> Self {
        Self { event: event.into(), payload, channel: None, timeout: None }
    }

    /// A request with a JSON payload.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when `payload` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(event: impl Into<String>, payload: &T) -> Result<Self, Error> {
        Ok(Self::new(event, Payload::Json(RawJson::of(payload).map_err(Error::payload)?)))
    }

    /// Which channel it is about. Default: none.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// How long to wait for the reply. Default: [`Builder::request_timeout`](crate::Builder::request_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn write(&self, id: Option<u64>, encoding: Encoding) -> Bytes {
        let channel = self.channel.as_deref();
        Fields { id, channel, event: Some(&self.event), ..Fields::new("event") }.write_with(&self.payload, encoding)
    }
}

/// What the application replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// As it was sent; `None` where the application replied with nothing.
    pub payload: Option<Payload>,
}

impl Reply {
    /// The payload as a type of the caller's own; nothing at all is `null`.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when it has another shape, or is bytes.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match &self.payload {
            Some(payload) => read(payload),
            None => serde_json::from_str("null").map_err(Error::payload),
        }
    }
}

/// A JSON payload as a type of the caller's own.
pub(crate) fn read<T: DeserializeOwned>(payload: &Payload) -> Result<T, Error> {
    match payload {
        Payload::Json(json) => serde_json::from_str(json.as_str()).map_err(Error::payload),
        Payload::Binary(_) => Err(Error::payload(serde::de::Error::custom("it is bytes"))),
    }
}

/// Which part of a channel's history.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HistoryOptions {
    /// At most so many messages, the newest unless `after` is given. Default 100; the server gives at most 1000.
    pub limit: Option<u32>,
    /// Only messages with smaller offsets.
    pub before: Option<u64>,
    /// Only messages with greater offsets.
    pub after: Option<u64>,
}

impl HistoryOptions {
    /// At most so many messages, the newest unless [`after`](Self::after) is given. Default 100; the server gives at
    /// most 1000.
    pub fn limit(mut self, messages: u32) -> Self {
        self.limit = Some(messages);
        self
    }

    /// Only messages with smaller offsets.
    pub fn before(mut self, offset: u64) -> Self {
        self.before = Some(offset);
        self
    }

    /// Only messages with greater offsets.
    pub fn after(mut self, offset: u64) -> Self {
        self.after = Some(offset);
        self
    }

    pub(crate) fn write(&self, id: Option<u64>, channel: &str, encoding: Encoding) -> Bytes {
        let Self { limit, before, after } = *self;
        Fields { id, channel: Some(channel), limit, before, after, ..Fields::new("history") }.write(encoding)
    }
}

/// A part of a channel's history.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct History {
    /// The oldest first.
    pub messages: Vec<Message>,
    /// Where the log stands.
    pub position: Option<Position>,
}
