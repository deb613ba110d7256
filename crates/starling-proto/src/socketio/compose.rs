//! What the server says, as packets.

use bytes::Bytes;
use starling_core::{
    ChannelName, ConnectionId, Message, Notice, Outgoing, Payload, Position, PresenceEntry, Refusal, Reply,
};

use super::RESERVED_EVENTS;
use super::arguments::{self, Written};
use crate::json_text::{write_number, write_text};
use crate::session::OwnedPacket;

/// The namespace of a channel, and the room's name in it.
pub(super) fn place(channel: &ChannelName) -> (&str, &str) {
    match channel.scope() {
        Some(scope) => (&scope[..scope.len() - 1], &channel.as_str()[scope.len()..]),
        None => ("/", channel.as_str()),
    }
}

/// Writes what members of a channel get alike.
pub fn encode(outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    match outgoing {
        Outgoing::Message(message) => self::message(message, out),
        Outgoing::PresenceDiff(channel, diff) => {
            let (namespace, room) = place(channel);
            event(namespace, "presence_diff", out, |json| {
                begin(json, room);
                entries(json, "joins", &diff.joins);
                entries(json, "leaves", &diff.leaves);
                json.push(b'}');
            });
        }
    }
}

fn message(message: &Message, out: &mut Vec<OwnedPacket>) {
    let (namespace, room) = place(&message.channel);
    let payload = arguments::written(&message.payload, false);
    let mut json = Vec::with_capacity(128 + payload.text().len() + room.len() + message.event.len());
    head(&mut json, b'2', payload.attachments().len(), namespace, None);
    json.push(b'[');
    let is_reserved = RESERVED_EVENTS.contains(&&*message.event);
    write_text(&mut json, if is_reserved { starling_core::DEFAULT_EVENT } else { &message.event });
    json.push(b',');
    json.extend_from_slice(payload.text());
    json.push(b',');
    begin(&mut json, room);
    member(&mut json, "id", message.id.as_str());
    name(&mut json, "ts");
    write_number(&mut json, message.ts);
    if let Some(user) = &message.user {
        member(&mut json, "userId", user.as_str());
    }
    if is_reserved {
        member(&mut json, "event", &message.event);
    }
    if let Some(position) = &message.position {
        name(&mut json, "offset");
        write_number(&mut json, position.offset);
        json.extend_from_slice(b"},");
        write_position(&mut json, position);
        json.push(b']');
    } else {
        json.extend_from_slice(b"}]");
    }
    push(json, payload, out);
}

/// An event of one argument, which is written by `argument`.
fn event(namespace: &str, event: &str, out: &mut Vec<OwnedPacket>, argument: impl FnOnce(&mut Vec<u8>)) {
    let mut json = Vec::with_capacity(128);
    head(&mut json, b'2', 0, namespace, None);
    json.push(b'[');
    write_text(&mut json, event);
    json.push(b',');
    argument(&mut json);
    json.push(b']');
    out.push(OwnedPacket::Text(json.into()));
}

/// An event that somebody emits, perhaps asking for an ack.
pub(super) fn emission(
    namespace: &str,
    event: &str,
    payload: &Payload,
    ack: Option<u64>,
    mark: Option<&Position>,
    out: &mut Vec<OwnedPacket>,
) {
    let payload = arguments::written(payload, true);
    let text = payload.text();
    let mut json = Vec::with_capacity(32 + event.len() + text.len());
    let ack = ack.map(|ack| ack.to_string());
    head(&mut json, b'2', payload.attachments().len(), namespace, ack.as_deref());
    json.push(b'[');
    let is_reserved = RESERVED_EVENTS.contains(&event);
    write_text(&mut json, if is_reserved { starling_core::DEFAULT_EVENT } else { event });
    if !text.is_empty() {
        json.push(b',');
        json.extend_from_slice(text);
    }
    if let Some(mark) = mark {
        json.push(b',');
        write_position(&mut json, mark);
    }
    json.push(b']');
    push(json, payload, out);
}

/// The answer to a CONNECT.
pub(super) fn connected(namespace: &str, id: &ConnectionId, session: Option<&str>, out: &mut Vec<OwnedPacket>) {
    let mut json = Vec::with_capacity(96);
    head(&mut json, b'0', 0, namespace, None);
    json.extend_from_slice(br#"{"sid":"#);
    write_text(&mut json, id.as_str());
    if let Some(session) = session {
        member(&mut json, "pid", session);
    }
    json.push(b'}');
    out.push(OwnedPacket::Text(json.into()));
}

/// A CONNECT is refused.
pub(super) fn connect_error(namespace: &str, message: &str, code: Option<&str>, out: &mut Vec<OwnedPacket>) {
    let mut json = Vec::with_capacity(96);
    head(&mut json, b'4', 0, namespace, None);
    json.extend_from_slice(br#"{"message":"#);
    write_text(&mut json, message);
    if let Some(code) = code {
        json.extend_from_slice(br#","data":{"code":"#);
        write_text(&mut json, code);
        json.push(b'}');
    }
    json.push(b'}');
    out.push(OwnedPacket::Text(json.into()));
}

/// The server ends a namespace.
pub(super) fn disconnect(namespace: &str, out: &mut Vec<OwnedPacket>) {
    let mut json = Vec::with_capacity(16);
    head(&mut json, b'1', 0, namespace, None);
    out.push(OwnedPacket::Text(json.into()));
}

/// The ack to an event.
pub(super) fn ack(namespace: &str, id: &str, reply: &Reply, out: &mut Vec<OwnedPacket>) {
    let payload = match reply {
        Reply::Event(Some(payload)) => arguments::written(payload, true),
        _ => Written::Text(b""),
    };
    let mut json = Vec::with_capacity(64 + payload.text().len());
    head(&mut json, b'3', payload.attachments().len(), namespace, Some(id));
    json.push(b'[');
    match reply {
        Reply::Event(Some(_)) => json.extend_from_slice(payload.text()),
        reply => outcome(&mut json, reply),
    }
    json.push(b']');
    push(json, payload, out);
}

/// `{"ok":…}`.
fn outcome(json: &mut Vec<u8>, reply: &Reply) {
    if let Reply::Refused { refusal, .. } = reply {
        return refused(json, refusal);
    }
    json.extend_from_slice(br#"{"ok":true"#);
    match reply {
        Reply::Subscribed { channel, position, recovered, response, .. } => {
            member(json, "channel", place(channel).1);
            whereabouts(json, position.as_ref());
            if let Some(recovered) = recovered {
                name(json, "recovered");
                json.extend_from_slice(if *recovered { b"true" } else { b"false" });
            }
            if let Some(Payload::Json(response)) = response {
                name(json, "response");
                json.extend_from_slice(response.bytes());
            }
        }
        Reply::Unsubscribed { channel } => member(json, "channel", place(channel).1),
        Reply::Published { message_id, position } => {
            member(json, "messageId", message_id.as_str());
            whereabouts(json, position.as_ref());
        }
        // Nothing that these say is asked for.
        Reply::Authenticated { .. }
        | Reply::Entered { .. }
        | Reply::History(_)
        | Reply::Members(_)
        | Reply::Done
        | Reply::Event(_)
        | Reply::Unanswered
        | Reply::Refused { .. } => {}
    }
    json.push(b'}');
}

fn refused(json: &mut Vec<u8>, refusal: &Refusal) {
    json.extend_from_slice(br#"{"ok":false,"error":{"code":"#);
    write_text(json, &refusal.code);
    member(json, "message", &refusal.message);
    json.extend_from_slice(b"}}");
}

/// What the client did not ask for. What it is told of all its namespaces is written for each of `namespaces`.
pub(super) fn notice<'a>(notice: &Notice, namespaces: impl Iterator<Item = &'a str>, out: &mut Vec<OwnedPacket>) {
    match notice {
        Notice::Gap { channel, missed } => {
            let (namespace, room) = place(channel);
            event(namespace, "gap", out, |json| {
                begin(json, room);
                name(json, "missed");
                write_number(json, *missed);
                json.push(b'}');
            });
        }
        Notice::Unsubscribed { channel, refusal } => {
            let (namespace, room) = place(channel);
            event(namespace, "unsubscribed", out, |json| {
                begin(json, room);
                member(json, "code", &refusal.code);
                member(json, "message", &refusal.message);
                json.push(b'}');
            });
        }
        Notice::PresenceState { channel, members } => {
            let (namespace, room) = place(channel);
            event(namespace, "presence_state", out, |json| {
                begin(json, room);
                entries(json, "members", members);
                json.push(b'}');
            });
        }
        Notice::Event { channel, event, payload, ack, mark } => {
            let namespace = channel.as_ref().map_or("/", |channel| place(channel).0);
            emission(namespace, event, payload, *ack, mark.as_ref(), out);
        }
        Notice::Drain { reconnect_in } => {
            for namespace in namespaces {
                event(namespace, "drain", out, |json| {
                    json.extend_from_slice(br#"{"reconnectIn":"#);
                    write_number(json, u64::try_from(reconnect_in.as_millis()).unwrap_or(u64::MAX));
                    json.push(b'}');
                });
            }
        }
        // A room that the server joins is not told, as in Socket.IO; nor has it words for an error without an ack.
        Notice::Subscribed { .. } | Notice::Error { .. } => {}
    }
}

/// `4<type>[<attachments>-][<namespace>,][<id>]`; `kind` is that of a packet without attachments.
fn head(out: &mut Vec<u8>, kind: u8, attachments: usize, namespace: &str, id: Option<&str>) {
    out.push(b'4');
    if attachments > 0 {
        // BINARY_EVENT and BINARY_ACK come three behind EVENT and ACK.
        out.push(kind + 3);
        write_number(out, attachments as u64);
        out.push(b'-');
    } else {
        out.push(kind);
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(id.unwrap_or_default().as_bytes());
}

fn push(json: Vec<u8>, payload: Written<'_>, out: &mut Vec<OwnedPacket>) {
    out.push(OwnedPacket::Text(json.into()));
    if let Written::Attached(_, attachments) = payload {
        out.extend(attachments.into_iter().map(|bytes: Bytes| OwnedPacket::Binary(bytes)));
    }
}

/// `"epoch:offset"`: a text in the last place, which the official clients name when they come back.
fn write_position(json: &mut Vec<u8>, position: &Position) {
    write_text(json, &format!("{}:{}", position.epoch, position.offset));
}

/// `{"channel":…`, which the caller goes on with.
fn begin(json: &mut Vec<u8>, room: &str) {
    json.extend_from_slice(br#"{"channel":"#);
    write_text(json, room);
}

fn name(json: &mut Vec<u8>, name: &str) {
    json.extend_from_slice(b",\"");
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(b"\":");
}

fn member(json: &mut Vec<u8>, name: &str, text: &str) {
    self::name(json, name);
    write_text(json, text);
}

fn whereabouts(json: &mut Vec<u8>, position: Option<&Position>) {
    if let Some(position) = position {
        member(json, "epoch", position.epoch.as_str());
        name(json, "offset");
        write_number(json, position.offset);
    }
}

fn entries(json: &mut Vec<u8>, name: &str, entries: &[PresenceEntry]) {
    self::name(json, name);
    json.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(br#"{"userId":"#);
        match &entry.user {
            Some(user) => write_text(json, user.as_str()),
            None => json.extend_from_slice(b"null"),
        }
        member(json, "connectionId", entry.connection.as_str());
        self::name(json, "data");
        json.extend_from_slice(entry.data.bytes());
        json.push(b'}');
    }
    json.push(b']');
}
