//! The native protocol: sections 5 and 11 of the contract.
//!
//! The same objects travel as JSON in text packets or as MessagePack in binary packets. What a client says is split
//! into named fields by one of the two codecs ([`json`], [`msgpack`]) and understood in one place; what the server
//! says is composed in one place and written by either codec.
//!
//! Decisions where the contract is silent:
//!
//! - Unknown fields are ignored. A known field that stands twice is `INVALID_MESSAGE`. `null` in an optional field
//!   means that it is left out, except for `payload`, where it is a value, and `id`, where it is an error.
//! - Numbers are whole: `1.0` is no offset. A history `limit` above [`MAX_HISTORY_LIMIT`] counts as that.
//! - `recover` wins over `rewind`, so that a client can send both each time it connects.
//! - Payloads and presence data nested deeper than [`MAX_DEPTH`] are `INVALID_MESSAGE`.
//! - What an application answers to a subscription is the `payload` of its `ack`.
//! - The server's own events for one connection are `{"type":"event","channel"?,"event","payload","ack"?}`; one with an
//!   `ack` is answered by `{"type":"reply","ack","payload"}`.

mod codes;
mod compose;
mod cursor;
mod fields;
mod interpret;
pub mod json;
pub mod msgpack;
mod poll;
mod session;
mod stream;

use starling_core::{Form, Protocol};

pub use codes::closing;
pub use cursor::{Cursor, MAX_CURSOR_BYTES};
pub use fields::Malformed;
pub use interpret::{Command, Interpreted};
pub use poll::{POLL_PROTOCOL, PollSession};
pub use session::NativeSession;
pub use stream::{KEEP_ALIVE, STREAM_PROTOCOL, StreamSession, named_event, ready_event};
pub(crate) use stream::{encode_open, encode_open_named, encode_single, encode_single_named};

/// The name of the protocol.
pub const PROTOCOL: Protocol = Protocol("native");
/// The longest `id` of a client message: bytes of a string's content as it was written, or of a number.
pub const MAX_ID_BYTES: usize = 256;
/// The longest `event`, `messageId`, `key` or `epoch`, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// How deep arrays and objects of a payload may be nested.
pub const MAX_DEPTH: usize = 128;
/// Messages in one answer to `history` at most; a larger `limit` counts as this.
pub const MAX_HISTORY_LIMIT: usize = 1000;
/// Messages in an answer to `history` without `limit`.
pub const DEFAULT_HISTORY_LIMIT: usize = 100;

/// How the objects of the protocol are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON in text packets.
    Json,
    /// MessagePack in binary packets.
    Msgpack,
}

impl Encoding {
    /// The encoding that a WebSocket subprotocol stands for.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::Msgpack].into_iter().find(|encoding| encoding.subprotocol() == name)
    }

    /// The WebSocket subprotocol that stands for it.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "starling.v1.json",
            Self::Msgpack => "starling.v1.msgpack",
        }
    }

    /// The form in which members get what all of them get alike.
    pub const fn form(self) -> Form {
        match self {
            Self::Json => crate::voices::NATIVE_JSON,
            Self::Msgpack => crate::voices::NATIVE_MSGPACK,
        }
    }
}
