//! The native protocol in JSON, for WebSocket text packets, SSE, long-polling and `/send`.

mod read;
mod write;

use starling_core::{Message, Notice, Outgoing, Reply, Tag};

pub use crate::json_text::write_text;
pub(super) use {read::fields, write::JsonWriter};

use super::compose;
use super::fields::Malformed;
use super::interpret::{Interpreted, interpret};
use crate::session::OwnedPacket;

/// Reads one client message.
///
/// # Errors
/// When `text` is not JSON, or not an object.
pub fn parse(text: &str) -> Result<Interpreted, Malformed> {
    fields(text).map(|fields| interpret(&fields))
}

/// Writes what members get alike, as one text packet.
pub fn encode(outgoing: &Outgoing<'_>) -> OwnedPacket {
    let capacity = match outgoing {
        Outgoing::Message(message) => write::message_len(message),
        Outgoing::PresenceDiff(..) => 256,
    };
    let mut out = Vec::with_capacity(capacity);
    compose::outgoing(&mut JsonWriter::new(&mut out), outgoing);
    OwnedPacket::Text(out.into())
}

/// Appends the `message` object.
///
/// White space inside a payload stays as its publisher wrote it, line ends included.
pub fn write_message(out: &mut Vec<u8>, message: &Message) {
    out.reserve(write::message_len(message));
    compose::message(&mut JsonWriter::new(out), message);
}

/// Appends the answer to a request, an `ack`, `auth_ack` or `error` object, also when the tag is empty.
pub fn write_reply(out: &mut Vec<u8>, tag: &Tag, reply: &Reply) {
    compose::reply(&mut JsonWriter::new(out), &tag.0, reply);
}

/// Appends what the server says unasked: `gap`, `unsubscribed`, `presence_state` and the others.
pub fn write_notice(out: &mut Vec<u8>, notice: &Notice) {
    compose::notice(&mut JsonWriter::new(out), notice);
}
