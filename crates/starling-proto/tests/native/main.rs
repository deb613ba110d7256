//! The native protocol as its clients see it: bytes in, bytes out.

mod client_messages;
mod msgpack;
mod random;
mod server_messages;
mod transcripts;

use starling_core::{AppId, ChannelName, ConnectionId, Epoch, Message, MessageId, Payload, Position, RawJson, UserId};
use starling_proto::native::{Command, json, msgpack as msgpack_codec};

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a good name")
}

fn json_payload(text: &str) -> Payload {
    Payload::Json(RawJson::parse(text).expect("JSON"))
}

fn position(epoch: &str, offset: u64) -> Position {
    Position { epoch: Epoch::from(epoch), offset }
}

/// A message with nothing optional.
fn message(payload: Payload) -> Message {
    Message {
        app: AppId::from("1"),
        channel: channel("room:1"),
        id: MessageId::from("m1"),
        event: "message".into(),
        payload,
        user: None,
        ts: 1_700_000_000_000,
        position: None,
        key: None,
        exclude: None,
    }
}

fn user(id: &str) -> Option<UserId> {
    Some(UserId::from(id))
}

fn connection() -> ConnectionId {
    ConnectionId::from("c1")
}

/// What a JSON message is understood as: its id, and the request or the refusal in words.
fn understood(text: &str) -> String {
    describe(json::parse(text))
}

fn understood_msgpack(bytes: &[u8]) -> String {
    describe(msgpack_codec::parse(bytes))
}

fn describe(parsed: Result<starling_proto::native::Interpreted, starling_proto::native::Malformed>) -> String {
    match parsed.map(|interpreted| interpreted.outcome) {
        Ok(Ok(Command::Ping)) => "Ping".to_owned(),
        Ok(Ok(Command::Request(request))) => format!("{request:?}"),
        Ok(Err(refusal)) => refusal.to_string(),
        Err(malformed) => format!("malformed: {malformed}"),
    }
}
