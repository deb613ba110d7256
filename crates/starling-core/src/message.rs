//! Messages: what is published to a channel and reaches its members.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::{AppId, ChannelName, ConnectionId, Epoch, MessageId, PresenceDiff, UserId};

/// The event of a message that was published without one.
pub const DEFAULT_EVENT: &str = "message";

/// JSON text that is known to be well-formed. It passes through Starling byte by byte: digits of numbers and the
/// order of members are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Takes `text`, which the caller has parsed or produced as JSON.
    pub fn from_valid(text: impl Into<Bytes>) -> Self {
        Self(text.into())
    }

    /// Serialises a value.
    ///
    /// # Errors
    /// When `value` refuses to be serialised, as a map with keys that are not strings does.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|text| Self(text.into()))
    }

    /// Checks that `text` is one JSON value, and takes it without surrounding white space.
    ///
    /// # Errors
    /// When it is not, with the position in it.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(text)?;
        Ok(Self(Bytes::copy_from_slice(raw.get().as_bytes())))
    }

    /// The text `null`.
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// The text `{}`.
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("JSON text is UTF-8 by construction")
    }

    /// The bytes of the text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Any JSON value.
    Json(RawJson),
    /// Bytes, for protocols that can carry them; others get base64.
    Binary(Bytes),
}

impl Payload {
    /// Its size in bytes, as it counts against `max_payload`.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(json) => json.bytes().len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes at all (an empty binary payload).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A place in a channel's log: every message up to and including `offset` is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which log; positions of different epochs cannot be compared.
    pub epoch: Epoch,
    /// 0 before the first message, then 1, 2, 3, …
    pub offset: u64,
}

/// One published message. Immutable, and shared by everyone who receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The tenant.
    pub app: AppId,
    /// Where it was published.
    pub channel: ChannelName,
    /// Its name within the channel.
    pub id: MessageId,
    /// What happened; [`DEFAULT_EVENT`] unless the publisher said otherwise.
    pub event: Arc<str>,
    /// What it carries.
    pub payload: Payload,
    /// The sender, when it was a connection with a user.
    pub user: Option<UserId>,
    /// When it was accepted, in Unix milliseconds.
    pub ts: u64,
    /// Its place in the log, where the channel keeps history.
    pub position: Option<Position>,
    /// What it is the latest state of, for channels delivered as `latest`.
    pub key: Option<Arc<str>>,
    /// A connection that must not get it: its sender, when it asked for no echo.
    pub exclude: Option<ConnectionId>,
}

/// What reaches all members of a channel alike, and is therefore encoded once per wire form.
#[derive(Debug, Clone, Copy)]
pub enum Outgoing<'a> {
    /// A message.
    Message(&'a Message),
    /// Who joined and left since the last one.
    PresenceDiff(&'a ChannelName, &'a PresenceDiff),
}

/// A wire form: one way in which [`Outgoing`] is written for a group of members, shared by all of them.
///
/// The number is chosen by the layer that encodes; the core and the hub only compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form(pub u8);
