//! Server-sent events: the native objects as an event stream (WHATWG HTML section 9.2). Section 7 of the contract.
//!
//! Messages are events without a name, or with their own where the client asked for it; everything else is named by its
//! type. A message's `id:` is a cursor over all channels of the stream: of a stream of one channel it is the same for
//! all who read it, and written once; of several it is the connection's own, and put behind by the transport.

use std::time::Duration;

use bytes::Bytes;
use starling_core::{CloseReason, Form, Notice, Outgoing, Protocol, Refusal, Reply, Tag};

use super::cursor::Cursor;
use super::{codes, compose, json};
use crate::session::{Action, Beat, Closing, Opened, OwnedPacket, Packet, Session};
use crate::voices;

/// The name of the protocol.
pub const STREAM_PROTOCOL: Protocol = Protocol("sse");

/// How often a comment keeps an idle stream alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One client's event stream. What the client says beside it comes as requests, whose answers do not go here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSession {
    /// Whether messages carry their event as the event's name.
    pub is_named: bool,
    /// Whether the stream has one channel only, so that the cursor is written with the message.
    pub is_single: bool,
}

impl Session for StreamSession {
    fn open(&mut self, _: &Opened, _: &mut Vec<Action>) {}

    fn receive(&mut self, _: Packet<'_>, _: &mut Vec<Action>) {}

    fn refuse(&mut self, _: Packet<'_>, _: &Refusal, _: &mut Vec<Action>) {}

    fn answer(&mut self, _: &Tag, _: Reply, _: &mut Vec<Action>) {}

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        let name = match notice {
            Notice::Gap { .. } => "gap",
            Notice::Unsubscribed { .. } => "unsubscribed",
            Notice::Subscribed { .. } => "subscribed",
            Notice::PresenceState { .. } => "presence_state",
            Notice::Event { .. } => "event",
            Notice::Drain { .. } => "drain",
            Notice::Error { .. } => "error",
        };
        let mut object = Vec::new();
        compose::notice(&mut json::JsonWriter::new(&mut object), notice);
        out.push(Action::Send(named_event(name, &object)));
    }

    fn beat(&self) -> Beat {
        Beat::Every(KEEP_ALIVE)
    }

    fn heartbeat(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Send(OwnedPacket::Text(Bytes::from_static(b":\n\n"))));
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        match (self.is_single, self.is_named) {
            (true, false) => voices::STREAM,
            (true, true) => voices::STREAM_NAMED,
            (false, false) => voices::STREAM_OPEN,
            (false, true) => voices::STREAM_NAMED_OPEN,
        }
    }
}

/// A complete event of this name.
pub fn named_event(name: &str, object: &[u8]) -> OwnedPacket {
    let mut out = Vec::with_capacity(name.len() + object.len() + 20);
    event(&mut out, Some(name), object);
    out.push(b'\n');
    OwnedPacket::Text(out.into())
}

/// The first event of a stream: `ready`, with the cursor that the stream starts from.
pub fn ready_event(cursor: &Cursor, object: &[u8]) -> OwnedPacket {
    let mut out = Vec::with_capacity(object.len() + 128);
    event(&mut out, Some("ready"), object);
    id(&mut out, cursor);
    out.push(b'\n');
    OwnedPacket::Text(out.into())
}

/// The names of events and their data, up to where the cursor belongs.
fn event(out: &mut Vec<u8>, name: Option<&str>, object: &[u8]) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        // A line end would end the field.
        out.extend(name.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    // A line end in JSON text is white space between its tokens, and a space is as good.
    out.extend(object.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.push(b'\n');
}

fn id(out: &mut Vec<u8>, cursor: &Cursor) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(cursor.to_string().as_bytes());
    out.push(b'\n');
}

fn encode(outgoing: &Outgoing<'_>, is_named: bool, is_single: bool) -> OwnedPacket {
    let packet = json::encode(outgoing);
    let object = packet.bytes();
    let Outgoing::Message(message) = outgoing else {
        return named_event("presence_diff", object);
    };
    let mut out = Vec::with_capacity(object.len() + 128);
    event(&mut out, is_named.then_some(&*message.event), object);
    if is_single {
        if let Some(position) = &message.position {
            id(&mut out, &Cursor::at(&message.channel, position));
        }
        out.push(b'\n');
    }
    OwnedPacket::Text(out.into())
}

/// For streams of one channel.
pub(crate) fn encode_single(outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    out.push(encode(outgoing, false, true));
}

/// For streams of one channel with names.
pub(crate) fn encode_single_named(outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    out.push(encode(outgoing, true, true));
}

/// For streams of several channels: without the cursor, and without the end of the event.
pub(crate) fn encode_open(outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    out.push(encode(outgoing, false, false));
}

/// For streams of several channels with names.
pub(crate) fn encode_open_named(outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    out.push(encode(outgoing, true, false));
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::{AppId, ChannelName, Message, MessageId, Payload, Position, RawJson};

    fn message(payload: &str) -> Message {
        Message {
            app: AppId::from("1"),
            channel: ChannelName::parse("a").unwrap(),
            id: MessageId::from("m"),
            event: "tick".into(),
            payload: Payload::Json(RawJson::from_valid(payload.to_owned())),
            user: None,
            ts: 5,
            position: Some(Position { epoch: "x".into(), offset: 2 }),
            key: None,
            exclude: None,
        }
    }

    fn written(payload: &str, is_named: bool, is_single: bool) -> String {
        let message = message(payload);
        let packet = encode(&Outgoing::Message(&message), is_named, is_single);
        String::from_utf8(packet.bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_one_event() {
        let object =
            r#"{"type":"message","channel":"a","event":"tick","payload":[1,2],"id":"m","ts":5,"offset":2,"epoch":"x"}"#;
        let cursor = Cursor::at(&ChannelName::parse("a").unwrap(), &Position { epoch: "x".into(), offset: 2 });
        let text = written("[1,2]", false, true);
        let (data, id) = text.split_once("\nid: ").unwrap();
        let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(sorted(data.strip_prefix("data: ").unwrap()), sorted(object));
        assert_eq!(id, format!("{cursor}\n\n"));
        assert!(written("1", true, true).starts_with("event: tick\ndata: {"));
        assert!(written("1", false, false).ends_with("}\n"), "the transport puts its cursor behind");
    }

    #[test]
    fn line_ends_in_a_payload_do_not_end_the_data() {
        let text = written("[1,\r\n2]", false, true);
        assert!(text.contains("[1,  2]"), "{text}");
    }
}
