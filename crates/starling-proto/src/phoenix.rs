//! Phoenix Channels: serializers 2.0.0 and 1.0.0, as phoenix.js 1.7 and 1.8 and the clients in other languages speak
//! them.
//!
//! A topic is a channel. What a real server answers is matched in order and value (`tests/phoenix/vectors.rs`); where a
//! server's own code would decide, the hub does: `phx_join` is a subscription, any other event goes to the application,
//! and without one to the topic's members.
//!
//! Decisions where the contract and the official client are silent:
//!
//! - A `join_ref` is what a client made of its latest join. A push with an older one is answered by the present
//!   membership, as Phoenix 1.7 does; a `phx_leave` with an older one is ignored, because it raced with a close.
//! - `recover` that is an object, and `rewind` that is a number, are Starling's own words in a join's payload; of other
//!   kinds they are the application's. What a client gets for them stands in the join's response: `epoch`, `offset`,
//!   and `recovered` when it asked to recover.
//! - A client that connects with `meta=1` finds a sixth element in each broadcast: `{"id","ts","userId","offset","epoch"}`,
//!   as far as there are such. Bytes then come as base64, because binary frames have no room for it.
//! - Events that start with `phx_` are the protocol's own: a push of one is refused. A message of another protocol with
//!   such an event, or with one of presence, arrives under [`RENAMED`] and its name, so that nobody can close or fool a
//!   client by publishing.
//! - What the hub says about the whole connection comes on the topic `phoenix`: `error` with `{reason, code}`, `drain`
//!   with `{reconnectIn}`. Left-out messages are told by `gap` with `{missed}` on their topic. No channel of the official
//!   client listens to these unless it is told to.
//! - The topic `#user:U` can be joined by the user `U`, so that clients that drop what they have not joined get its
//!   messages; all connections of `U` get them anyway.

mod codec;
mod codes;
mod join;
mod pending;
mod presence;
mod session;
mod topics;
mod write;

use starling_core::{Form, Protocol};

pub use codec::{Carried, Incoming, Malformed, decode};
pub use codes::closing;
pub use session::PhoenixSession;
pub use write::encode;

/// The name of the protocol.
pub const PROTOCOL: Protocol = Protocol("phoenix");
/// The topic that belongs to the protocol itself.
pub const CONTROL_TOPIC: &str = "phoenix";
/// The longest `ref` or `join_ref`, in bytes as it was written.
pub const MAX_REF_BYTES: usize = 255;
/// The longest event of a push, in bytes.
pub const MAX_EVENT_BYTES: usize = 255;
/// How deep arrays and objects of a payload may be nested.
pub const MAX_DEPTH: usize = 128;
/// What stands in front of events of messages that would be taken for the protocol's own.
pub const RENAMED: &str = "event:";

/// How messages are written, and which of them can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// Objects; no binary messages, no `join_ref`.
    V1,
    /// Arrays, and binary messages.
    V2,
    /// Arrays; binary messages only from the client, for transports that bring it none.
    V2Text,
    /// Arrays with a sixth element that says where a message stands; binary messages only from the client.
    V2Meta,
}

impl Serializer {
    /// The serializer for the version that a client asks for. `None`: none of ours, and the client is refused.
    ///
    /// Versions are matched as Phoenix does: `~> 1.0.0` or `~> 2.0.0`, where only the last number may differ.
    pub fn negotiate(vsn: &str, binary: bool, meta: bool) -> Option<Self> {
        let patch =
            |start| vsn.strip_prefix(start).filter(|rest| is_number(rest.split('+').next().unwrap_or_default()));
        if patch("2.0.").is_some() {
            Some(match (meta, binary) {
                (true, _) => Self::V2Meta,
                (false, true) => Self::V2,
                (false, false) => Self::V2Text,
            })
        } else {
            patch("1.0.").map(|_| Self::V1)
        }
    }

    /// The form in which members get what all of them get alike.
    pub const fn form(self) -> Form {
        match self {
            Self::V1 => crate::voices::PHOENIX_V1,
            Self::V2 => crate::voices::PHOENIX_V2,
            Self::V2Text => crate::voices::PHOENIX_V2_TEXT,
            Self::V2Meta => crate::voices::PHOENIX_V2_META,
        }
    }
}

/// A number of a version (semver section 2): digits, without zeros in front.
fn is_number(text: &str) -> bool {
    text == "0" || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}
