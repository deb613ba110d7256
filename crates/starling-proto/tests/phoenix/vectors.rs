//! The recorded frames of a real server: the session answers with the same, in order and value, when the hub's answers
//! are those of the recorded application (`phoenix-1.7.21.txt` says what that does).

use serde_json::Value;
use starling_core::{ConnectionId, ErrorCode, MessageId, Notice, Outgoing, Payload, Refusal, Reply, Request};
use starling_proto::phoenix::{PhoenixSession, Serializer, encode};
use starling_proto::{Action, Opened, OwnedPacket, Packet, Session};

use crate::{channel, entry, hex, json, message};

const VECTORS: &str = include_str!("phoenix-1.7.21.txt");

/// The recorded application, in the hub's place.
struct Server {
    session: PhoenixSession,
    revision: u64,
    sent: Vec<OwnedPacket>,
    closed: Option<u16>,
}

impl Server {
    fn new() -> Self {
        let mut session = PhoenixSession::new(Serializer::V2);
        let connection = ConnectionId::from("c1");
        let opened = Opened { connection, user: None, expires_at: None, authenticated: false };
        session.open(&opened, &mut Vec::new());
        Self { session, revision: 0, sent: Vec::new(), closed: None }
    }

    fn hears(&mut self, packet: Packet<'_>) {
        let mut actions = Vec::new();
        self.session.receive(packet, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(packet) => self.sent.push(packet),
                Action::Close(closing) => self.closed = Some(closing.code.0),
                Action::Request(tag, request) => {
                    let (reply, notice) = self.room(request);
                    let joined = matches!(reply, Reply::Subscribed { .. });
                    self.act(|session, out| session.answer(&tag, reply, out));
                    if let Some(notice) = notice {
                        self.act(|session, out| session.notify(&notice, out));
                    }
                    if joined {
                        self.revision += 1;
                        let bob = entry(Some("bob"), "c1", r#"{"online_at":1}"#, self.revision);
                        let state = Notice::PresenceState { channel: channel("room:a"), members: vec![bob] };
                        self.act(|session, out| session.notify(&state, out));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut PhoenixSession, &mut Vec<Action>)) {
        let mut actions = Vec::new();
        act(&mut self.session, &mut actions);
        self.carry_out(actions);
    }

    /// What the recorded channel does with a request, and what it tells afterwards.
    fn room(&mut self, request: Request) -> (Reply, Option<Notice>) {
        let refused = |reason: &'static str| Reply::Refused { refusal: Refusal::custom("", reason), channel: None };
        match request {
            Request::Subscribe(subscribe) => match subscribe.channel.as_str() {
                "nope" => (Reply::Refused { refusal: Refusal::no_rule(), channel: None }, None),
                "room:forbidden" => (refused("unauthorized"), None),
                "room:crash" => (refused("join crashed"), None),
                _ => {
                    let params = subscribe.more.and_then(|more| more.params).expect("a join has params");
                    let response = json(&format!(r#"{{"joined":{}}}"#, params.as_str()));
                    let channel = subscribe.channel;
                    let (position, recovered, response) = (None, None, Some(response));
                    (Reply::Subscribed { channel, position, recovered, follows: false, response }, None)
                }
            },
            Request::Unsubscribe { channel } => (Reply::Unsubscribed { channel }, None),
            Request::Event { channel: Some(channel), event, payload, .. } => match &*event {
                "echo" => (Reply::Event(Some(payload)), None),
                "err" => (refused(""), None),
                "shout" => {
                    let message = message(channel.as_str(), &event, payload);
                    encode(Serializer::V2, &Outgoing::Message(&message), &mut self.sent);
                    (Reply::Published { message_id: MessageId::from("m"), position: None }, None)
                }
                "shout_from" => (Reply::Event(None), None),
                "stop" => {
                    let refusal = Refusal::new(ErrorCode::Forbidden, "stopped");
                    (Reply::Event(Some(payload)), Some(Notice::Unsubscribed { channel, refusal }))
                }
                "bin" => {
                    let payload = Payload::Binary((&[0, 1][..]).into());
                    let told =
                        Notice::Event { channel: Some(channel), event: "bin".into(), payload, ack: None, mark: None };
                    self.act(|session, out| session.notify(&told, out));
                    (Reply::Event(Some(Payload::Binary((&[1, 2, 3, 4][..]).into()))), None)
                }
                other => panic!("the recorded application has no {other}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The channel crashes: what asked for it is never answered.
    fn crashes(&mut self) {
        let refusal = Refusal::new(ErrorCode::Internal, "crashed");
        let notice = Notice::Unsubscribed { channel: channel("room:a"), refusal };
        self.act(|session, out| session.notify(&notice, out));
    }
}

/// A frame as it can be compared: every `phx_ref` is one, and refusals have the `code` that the contract adds.
fn comparable(text: &str) -> Value {
    fn blank(value: &mut Value) {
        match value {
            Value::Object(members) => members.iter_mut().for_each(|(name, value)| match name.as_str() {
                "phx_ref" => *value = Value::from(value.as_str().map_or(0, str::len)),
                _ => blank(value),
            }),
            Value::Array(elements) => elements.iter_mut().for_each(blank),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    blank(&mut value);
    if let Some(response) = value[4]["response"].as_object_mut().filter(|response| response.contains_key("reason")) {
        response.remove("code");
    }
    value
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn the_frames_of_a_real_server_are_matched() {
    let mut server = Server::new();
    let mut compared = 0;
    for (number, line) in VECTORS.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if let Some(frame) = line.strip_prefix("> ") {
            assert!(server.sent.is_empty(), "line {number}: more was sent: {:?}", server.sent);
            match frame.strip_prefix("bin ") {
                Some(hex) => server.hears(Packet::Binary(&bytes(hex))),
                None if frame.contains("\"boom\"") => server.crashes(),
                None => server.hears(Packet::Text(frame)),
            }
        } else if let Some(frame) = line.strip_prefix("< ") {
            assert!(!server.sent.is_empty(), "line {number}: nothing was sent, not {frame}");
            match (server.sent.remove(0), frame.strip_prefix("bin ")) {
                (OwnedPacket::Text(text), None) => {
                    let text = std::str::from_utf8(&text).unwrap();
                    assert_eq!(comparable(text), comparable(frame), "line {number}");
                }
                (OwnedPacket::Binary(bytes), Some(expected)) => assert_eq!(hex(&bytes), expected, "line {number}"),
                (packet, _) => panic!("line {number}: {packet:?}, not {frame}"),
            }
            compared += 1;
        } else if let Some(code) = line.strip_prefix("close ") {
            server.hears(Packet::Text("this is not JSON"));
            assert_eq!(server.closed.map(|code| code.to_string()), Some(code.trim().to_owned()));
            compared += 1;
        } else {
            assert!(line.starts_with('#') || line.is_empty(), "line {number}: {line}");
        }
    }
    assert!(server.sent.is_empty(), "more was sent: {:?}", server.sent);
    assert_eq!(compared, VECTORS.lines().filter(|line| line.starts_with(['<', 'c'])).count());
}
