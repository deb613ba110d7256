//! The native protocol in MessagePack, for WebSocket binary packets.
//!
//! The objects are those of JSON. A payload that is `bin` is bytes; any other payload, and presence data, is what JSON
//! can say: nil, booleans, integers, finite floats, strings, arrays, and maps whose keys are strings. `bin` inside of
//! these, extension types (timestamps among them), NaN and the infinities are `INVALID_MESSAGE`.
//!
//! On the way out, JSON integers become integers where 64 bits hold them, and every other number becomes a float of
//! 64 bits: digits beyond its precision are lost, and a number beyond its range becomes an infinity. Half of a
//! surrogate pair, which JSON can escape and UTF-8 cannot say, becomes U+FFFD. A float of 32 bits is taken at its
//! exact value.

pub mod client;
mod from_json;
mod read;
mod to_json;
mod write;

use starling_core::{Outgoing, Payload};

pub(super) use {read::fields, write::MsgpackWriter};

use super::compose;
use super::fields::Malformed;
use super::interpret::{Interpreted, interpret};
use crate::session::OwnedPacket;

/// Reads one client message.
///
/// # Errors
/// When `bytes` are not one complete value, or not a map with strings as keys.
pub fn parse(bytes: &[u8]) -> Result<Interpreted, Malformed> {
    fields(bytes).map(|fields| interpret(&fields))
}

/// Writes what members get alike, as one binary packet.
pub fn encode(outgoing: &Outgoing<'_>) -> OwnedPacket {
    let capacity = match outgoing {
        Outgoing::Message(message) => match &message.payload {
            Payload::Json(json) => 192 + json.bytes().len(),
            Payload::Binary(bytes) => 192 + bytes.len(),
        },
        Outgoing::PresenceDiff(..) => 256,
    };
    let mut out = Vec::with_capacity(capacity);
    compose::outgoing(&mut MsgpackWriter::new(&mut out), outgoing);
    OwnedPacket::Binary(out.into())
}
