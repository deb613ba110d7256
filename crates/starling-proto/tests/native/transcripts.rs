//! Conversations: what a session does with what it hears.

use starling_core::{ChannelName, CloseReason, ErrorCode, Notice, Refusal, Reply, Tag};
use starling_proto::native::{Encoding, NativeSession};
use starling_proto::{Action, Opened, OwnedPacket, Packet, Session};

use crate::{connection, position, user};

/// A session, and what it did in words: `send …`, `request ID …`, `close CODE`.
struct Talk {
    session: NativeSession,
    out: Vec<Action>,
}

impl Talk {
    fn new(encoding: Encoding) -> Self {
        Self { session: NativeSession::new(encoding), out: Vec::new() }
    }

    fn says(&mut self) -> Vec<String> {
        self.out
            .drain(..)
            .map(|action| match action {
                Action::Send(OwnedPacket::Text(text)) => format!("send {}", std::str::from_utf8(&text).unwrap()),
                Action::Send(OwnedPacket::Binary(bytes)) => format!("send {}", bytes.escape_ascii()),
                Action::Request(tag, request) => format!("request {} {request:?}", tag.0.escape_ascii()),
                Action::Close(closing) => format!("close {}", closing.code.0),
                Action::Probe | Action::TakeOver => unreachable!("native connections have one transport"),
            })
            .collect()
    }

    fn hears(&mut self, packet: Packet<'_>) -> Vec<String> {
        self.session.receive(packet, &mut self.out);
        self.says()
    }

    fn hears_text(&mut self, text: &str) -> Vec<String> {
        self.hears(Packet::Text(text))
    }

    fn answers(&mut self, tag: &'static str, reply: Reply) -> Vec<String> {
        self.session.answer(&Tag(tag.as_bytes().into()), reply, &mut self.out);
        self.says()
    }

    fn opens(&mut self, authenticated: bool) -> Vec<String> {
        let opened =
            Opened { connection: connection(), user: user("7"), expires_at: Some(1_700_000_000_000), authenticated };
        self.session.open(&opened, &mut self.out);
        self.says()
    }
}

fn refusal() -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "too many messages")
}

fn subscribed() -> Reply {
    Reply::Subscribed {
        channel: ChannelName::parse("a").unwrap(),
        position: Some(position("e", 2)),
        recovered: None,
        response: None,
        follows: false,
    }
}

#[test]
fn a_client_with_a_token_is_greeted() {
    let mut talk = Talk::new(Encoding::Json);
    assert_eq!(
        talk.opens(true),
        [r#"send {"type":"auth_ack","userId":"7","connectionId":"c1","expiresAt":1700000000000}"#]
    );
    assert_eq!(Talk::new(Encoding::Json).opens(false), [""; 0]);
}

#[test]
fn a_conversation_with_ids() {
    let mut talk = Talk::new(Encoding::Json);
    assert_eq!(talk.hears_text(r#"{"type":"ping"}"#), [r#"send {"type":"pong"}"#]);
    assert_eq!(talk.hears_text(r#"{"type":"ping","id":"p\u0031"}"#), [r#"send {"type":"pong","id":"p\u0031"}"#]);
    assert_eq!(
        talk.hears_text(r#"{"id":1.50,"type":"subscribe","channel":"a"}"#),
        [
            r#"request 1.50 Subscribe(Subscribe { channel: "a", start: Live, presence: false, enter: None, more: None })"#
        ]
    );
    assert_eq!(
        talk.answers("1.50", subscribed()),
        [r#"send {"type":"ack","id":1.50,"channel":"a","epoch":"e","offset":2}"#]
    );
    assert_eq!(
        talk.hears_text(r#"{"id":2,"type":"nothing"}"#),
        [r#"send {"type":"error","id":2,"code":"UNKNOWN_TYPE","message":"unknown `type`"}"#]
    );
    assert_eq!(
        talk.hears_text(r#"{"type":"publish","channel":"a"}"#),
        [r#"send {"type":"error","code":"INVALID_MESSAGE","message":"`payload` is missing","channel":"a"}"#]
    );
    assert_eq!(
        talk.hears_text("[]"),
        [r#"send {"type":"error","code":"INVALID_MESSAGE","message":"a message is an object"}"#]
    );
}

#[test]
fn without_an_id_only_errors_and_auth_are_answered() {
    let mut talk = Talk::new(Encoding::Json);
    assert_eq!(
        talk.hears_text(r#"{"type":"unsubscribe","channel":"a"}"#),
        [r#"request  Unsubscribe { channel: "a" }"#]
    );
    for reply in [subscribed(), Reply::Done, Reply::Event(None), Reply::Members(vec![])] {
        assert_eq!(talk.answers("", reply), [""; 0]);
    }
    assert_eq!(
        talk.answers("", Reply::Refused { refusal: refusal(), channel: ChannelName::parse("a").ok() }),
        [r#"send {"type":"error","code":"RATE_LIMITED","message":"too many messages","channel":"a"}"#]
    );
    assert_eq!(
        talk.answers("", Reply::Authenticated { user: None, connection: connection(), expires_at: None }),
        [r#"send {"type":"auth_ack","userId":null,"connectionId":"c1"}"#]
    );
}

#[test]
fn what_is_not_json_ends_the_conversation() {
    const SYNTAX: &str = r#"send {"type":"error","code":"INVALID_MESSAGE","message":"not one well-formed value"}"#;
    const KIND: &str =
        r#"send {"type":"error","code":"INVALID_MESSAGE","message":"wrong kind of frame for this subprotocol"}"#;
    let mut talk = Talk::new(Encoding::Json);
    assert_eq!(talk.hears_text("{"), [SYNTAX, "close 1003"]);
    assert_eq!(talk.hears(Packet::Binary(b"{}")), [KIND, "close 1003"]);
}

#[test]
fn what_is_not_msgpack_ends_the_conversation() {
    for packet in [Packet::Text(r#"{"type":"ping"}"#), Packet::Binary(b"\xc1"), Packet::Binary(b"")] {
        let said = Talk::new(Encoding::Msgpack).hears(packet);
        assert!(said[0].starts_with(r"send \x83\xa4type\xa5error\xa4code\xafINVALID_MESSAGE"), "{said:?}");
        assert_eq!(said[1..], ["close 1003"]);
    }
}

#[test]
fn a_conversation_in_msgpack() {
    let mut talk = Talk::new(Encoding::Msgpack);
    assert_eq!(
        talk.opens(true),
        [
            r"send \x84\xa4type\xa8auth_ack\xa6userId\xa17\xacconnectionId\xa2c1\xa9expiresAt\xcf\x00\x00\x01\x8b\xcf\xe5h\x00"
        ]
    );
    assert_eq!(
        talk.hears(Packet::Binary(b"\x82\xa4type\xa4ping\xa2id\xcd\x01\x00")),
        [r"send \x82\xa4type\xa4pong\xa2id\xcd\x01\x00"]
    );
    assert_eq!(
        talk.hears(Packet::Binary(b"\x83\xa2id\xa1x\xa4type\xabunsubscribe\xa7channel\xa1a")),
        [r#"request \xa1x Unsubscribe { channel: "a" }"#]
    );
    assert_eq!(
        talk.answers("x", Reply::Unsubscribed { channel: ChannelName::parse("a").unwrap() }),
        [r"send \x83\xa4type\xa3ack\xa2idx\xa7channel\xa1a"]
    );
    assert_eq!(
        talk.hears(Packet::Binary(b"\x90")),
        [r"send \x83\xa4type\xa5error\xa4code\xafINVALID_MESSAGE\xa7message\xb6a message is an object"]
    );
}

#[test]
fn a_refused_packet_is_answered_with_its_id() {
    let mut talk = Talk::new(Encoding::Json);
    for (packet, id) in [
        (Packet::Text(r#"{"type":"ping","id":"a"}"#), r#""id":"a","#),
        (Packet::Text(r#"{"id":3}"#), r#""id":3,"#),
        (Packet::Text(r#"{"id":[]}"#), ""),
        (Packet::Text("{"), ""),
        (Packet::Binary(b""), ""),
    ] {
        talk.session.refuse(packet, &refusal(), &mut talk.out);
        let expected = format!(r#"send {{"type":"error",{id}"code":"RATE_LIMITED","message":"too many messages"}}"#);
        assert_eq!(talk.says(), [expected]);
    }
    let mut talk = Talk::new(Encoding::Msgpack);
    talk.session.refuse(Packet::Binary(b"\x81\xa2id\x07"), &refusal(), &mut talk.out);
    assert_eq!(
        talk.says(),
        [r"send \x84\xa4type\xa5error\xa2id\x07\xa4code\xacRATE_LIMITED\xa7message\xb1too many messages"]
    );
}

#[test]
fn notices_are_sent_at_once() {
    let mut talk = Talk::new(Encoding::Json);
    talk.session.notify(&Notice::Gap { channel: ChannelName::parse("a").unwrap(), missed: 1 }, &mut talk.out);
    assert_eq!(talk.says(), [r#"send {"type":"gap","channel":"a","missed":1}"#]);
}

#[test]
fn every_reason_has_its_close_code() {
    let codes = CloseReason::ALL.map(|reason| {
        let closing = NativeSession::new(Encoding::Json).closing(reason);
        assert!(closing.text.len() <= 123 && closing.code.may_be_sent());
        (closing.reason.as_str(), closing.code.0)
    });
    assert_eq!(
        codes,
        [
            ("normal", 1000),
            ("lost", 1001),
            ("protocol_error", 1002),
            ("invalid_message", 1003),
            ("invalid_text", 1007),
            ("too_large", 1009),
            ("heartbeat_timeout", 1001),
            ("auth_required", 4001),
            ("token_expired", 4002),
            ("forbidden", 4003),
            ("slow_consumer", 4008),
            ("too_many_requests", 4029),
            ("drain", 1012),
            ("internal", 1011),
        ]
    );
}
