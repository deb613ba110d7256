//! What the server sends: pushes and replies to one member, broadcasts written once for all of them.

use std::borrow::Cow;

use bytes::{BufMut, Bytes};
use starling_core::{Message, Outgoing, Payload};

use super::codec::string;
use super::{RENAMED, Serializer, presence};
use crate::json_text::{base64_len, write_base64, write_number, write_text};
use crate::session::OwnedPacket;

/// The kinds of binary messages that a server sends.
const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;

/// The longest name that fits behind a binary header.
const MAX_BINARY_NAME: usize = 255;

/// Whether a request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Error,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// The four fields in front of a payload. References are JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub join_ref: &'a str,
    pub reference: &'a str,
    pub topic: &'a str,
    pub event: &'a str,
}

/// Writes what members get alike, for everyone who has this serializer.
pub fn encode(serializer: Serializer, outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    out.push(match outgoing {
        Outgoing::Message(message) => broadcast(serializer, message),
        Outgoing::PresenceDiff(topic, diff) => {
            let head = Head { join_ref: "null", reference: "null", topic: topic.as_str(), event: "presence_diff" };
            text(serializer, head, 256, |out| presence::write_diff(out, diff))
        }
    });
}

fn broadcast(serializer: Serializer, message: &Message) -> OwnedPacket {
    let event = event_of(&message.event);
    let topic = message.channel.as_str();
    if let Payload::Binary(bytes) = &message.payload
        && serializer == Serializer::V2
        && let Some(packet) = binary(BROADCAST, [topic.as_bytes(), event.as_bytes()], bytes)
    {
        return packet;
    }
    let head = Head { join_ref: "null", reference: "null", topic, event: &event };
    text(serializer, head, payload_len(&message.payload) + META_LEN, |out| {
        write_payload(out, &message.payload);
        if serializer == Serializer::V2Meta {
            out.push(b',');
            write_meta(out, message);
        }
    })
}

/// The event under which a message arrives; see [`RENAMED`].
fn event_of(event: &str) -> Cow<'_, str> {
    match event.starts_with("phx_") || event == "presence_state" || event == "presence_diff" {
        true => Cow::Owned(format!("{RENAMED}{event}")),
        false => Cow::Borrowed(event),
    }
}

/// A guess at the length of what [`write_meta`] writes.
const META_LEN: usize = 96;

fn write_meta(out: &mut Vec<u8>, message: &Message) {
    out.extend_from_slice(b"{\"id\":");
    write_text(out, message.id.as_str());
    out.extend_from_slice(b",\"ts\":");
    write_number(out, message.ts);
    if let Some(user) = &message.user {
        out.extend_from_slice(b",\"userId\":");
        write_text(out, user.as_str());
    }
    if let Some(position) = &message.position {
        out.extend_from_slice(b",\"offset\":");
        write_number(out, position.offset);
        out.extend_from_slice(b",\"epoch\":");
        write_text(out, position.epoch.as_str());
    }
    out.push(b'}');
}

/// Tells one member something.
pub(super) fn push(serializer: Serializer, join_ref: &str, topic: &str, event: &str, payload: &Payload) -> OwnedPacket {
    if let Payload::Binary(bytes) = payload
        && serializer == Serializer::V2
        && let Some(packet) = binary(PUSH, [&reference_bytes(join_ref), topic.as_bytes(), event.as_bytes()], bytes)
    {
        return packet;
    }
    let head = Head { join_ref, reference: "null", topic, event };
    text(serializer, head, payload_len(payload), |out| write_payload(out, payload))
}

/// Answers with a payload.
pub(super) fn reply(
    serializer: Serializer,
    [join_ref, reference, topic]: [&str; 3],
    status: Status,
    response: &Payload,
) -> OwnedPacket {
    if let Payload::Binary(bytes) = response
        && serializer == Serializer::V2
        && let Some(packet) = binary(
            REPLY,
            [&reference_bytes(join_ref), &reference_bytes(reference), topic.as_bytes(), status.as_str().as_bytes()],
            bytes,
        )
    {
        return packet;
    }
    reply_with(serializer, [join_ref, reference, topic], status, |out| write_payload(out, response))
}

/// Answers with what `response` writes.
pub(super) fn reply_with(
    serializer: Serializer,
    [join_ref, reference, topic]: [&str; 3],
    status: Status,
    response: impl FnOnce(&mut Vec<u8>),
) -> OwnedPacket {
    let head = Head { join_ref, reference, topic, event: "phx_reply" };
    text(serializer, head, 64, |out| {
        out.extend_from_slice(b"{\"response\":");
        response(out);
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(status.as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    })
}

/// A message whose payload is written by `payload`, which has about so many bytes.
pub(super) fn text(
    serializer: Serializer,
    head: Head<'_>,
    payload_len: usize,
    payload: impl FnOnce(&mut Vec<u8>),
) -> OwnedPacket {
    let Head { join_ref, reference, topic, event } = head;
    let names = join_ref.len() + reference.len() + topic.len() + event.len();
    let mut out = Vec::with_capacity(names + payload_len + 48);
    match serializer {
        Serializer::V1 => {
            out.extend_from_slice(b"{\"topic\":");
            write_text(&mut out, topic);
            out.extend_from_slice(b",\"event\":");
            write_text(&mut out, event);
            out.extend_from_slice(b",\"ref\":");
            out.extend_from_slice(reference.as_bytes());
            out.extend_from_slice(b",\"payload\":");
            payload(&mut out);
            out.push(b'}');
        }
        Serializer::V2 | Serializer::V2Text | Serializer::V2Meta => {
            out.push(b'[');
            out.extend_from_slice(join_ref.as_bytes());
            out.push(b',');
            out.extend_from_slice(reference.as_bytes());
            out.push(b',');
            write_text(&mut out, topic);
            out.push(b',');
            write_text(&mut out, event);
            out.push(b',');
            payload(&mut out);
            out.push(b']');
        }
    }
    OwnedPacket::Text(out.into())
}

/// Appends a payload; bytes where there is no binary message for them.
pub(super) fn write_payload(out: &mut Vec<u8>, payload: &Payload) {
    match payload {
        Payload::Json(json) => out.extend_from_slice(json.bytes()),
        Payload::Binary(bytes) => {
            out.extend_from_slice(b"{\"data\":");
            write_base64(out, bytes);
            out.extend_from_slice(b",\"encoding\":\"base64\"}");
        }
    }
}

fn payload_len(payload: &Payload) -> usize {
    match payload {
        Payload::Json(json) => json.bytes().len(),
        Payload::Binary(bytes) => base64_len(bytes.len()) + 32,
    }
}

/// A binary message; none where a name is too long for its header.
fn binary<const N: usize>(kind: u8, names: [&[u8]; N], payload: &Bytes) -> Option<OwnedPacket> {
    if names.iter().any(|name| name.len() > MAX_BINARY_NAME) {
        return None;
    }
    let len = 1 + N + names.iter().map(|name| name.len()).sum::<usize>() + payload.len();
    let mut out = Vec::with_capacity(len);
    out.put_u8(kind);
    names.iter().for_each(|name| out.put_u8(name.len() as u8));
    names.iter().for_each(|name| out.put_slice(name));
    out.put_slice(payload);
    Some(OwnedPacket::Binary(out.into()))
}

/// A reference as it stands behind a binary header: the content of a string, the digits of a number, or nothing.
fn reference_bytes(json: &str) -> Cow<'_, [u8]> {
    if json == "null" {
        return Cow::Borrowed(&[]);
    }
    match string(json) {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(json.as_bytes()),
    }
}
