//! A message to publish, and what became of it.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use starling_core::{Payload, Position, RawJson};
use starling_proto::native::Encoding;

use crate::error::Error;
use crate::wire::Fields;

/// A message to publish.
#[derive(Debug, Clone)]
#[must_use]
pub struct Publish {
    pub(crate) channel: String,
    pub(crate) event: Option<String>,
    pub(crate) payload: Payload,
    pub(crate) message_id: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) echo: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Publish {
    /// A message with this payload.
    pub fn new(channel: impl Into<String>, payload: Payload) -> Self {
        let channel = channel.into();
        Self { channel, event: None, payload, message_id: None, key: None, echo: true, timeout: None }
    }

    /// A message with a JSON payload.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when `payload` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(channel: impl Into<String>, payload: &T) -> Result<Self, Error> {
        Ok(Self::new(channel, Payload::Json(RawJson::of(payload).map_err(Error::payload)?)))
    }

    /// Names what happened. Default `message`.
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Names the message; within the server's recovery window, the same name is delivered once. Default: random.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// What the message is the latest state of, for channels with the delivery `latest`. Default none.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Whether this client gets the message too, if it is subscribed. Default true.
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    /// How long to wait for the acknowledgement. Default: [`Builder::publish_timeout`](crate::Builder::publish_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn write(&self, id: Option<u64>, encoding: Encoding) -> Bytes {
        let fields = Fields {
            id,
            channel: Some(&self.channel),
            event: self.event.as_deref(),
            message_id: self.message_id.as_deref(),
            key: self.key.as_deref(),
            echo: (!self.echo).then_some(false),
            ..Fields::new("publish")
        };
        fields.write_with(&self.payload, encoding)
    }
}

/// The server took a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The message's name.
    pub message_id: String,
    /// Its place in the log, where the channel keeps history.
    pub position: Option<Position>,
}
