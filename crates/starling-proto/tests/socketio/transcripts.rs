//! Conversations: what a session does with what it hears.

use std::time::Duration;

use starling_core::{
    ChannelName, CloseReason, ConnectionId, Epoch, ErrorCode, MessageId, Notice, Payload, Position, RawJson, Refusal,
    Reply, Tag, UserId,
};
use starling_proto::socketio::engine::Handshake;
use starling_proto::socketio::{SocketIoSession, UpgradeSession, arguments};
use starling_proto::{Action, OwnedPacket, Packet, Session};

/// A session, and what it did in words: `send …`, `request TAG …`, `close CODE`.
struct Talk<S> {
    session: S,
    out: Vec<Action>,
}

impl<S: Session> Talk<S> {
    fn says(&mut self) -> Vec<String> {
        self.out
            .drain(..)
            .map(|action| match action {
                Action::Send(OwnedPacket::Text(text)) => format!("send {}", std::str::from_utf8(&text).unwrap()),
                Action::Send(OwnedPacket::Binary(bytes)) => format!("send <{}>", bytes.escape_ascii()),
                Action::Request(tag, request) => format!("request {} {request:?}", tag.0.escape_ascii()),
                Action::Close(closing) => format!("close {}", closing.code.0),
                Action::Probe => "probe".into(),
                Action::TakeOver => "take over".into(),
            })
            .collect()
    }

    fn hears(&mut self, text: &str) -> Vec<String> {
        self.session.receive(Packet::Text(text), &mut self.out);
        self.says()
    }

    fn hears_bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        self.session.receive(Packet::Binary(bytes), &mut self.out);
        self.says()
    }

    fn answers(&mut self, tag: &'static str, reply: Reply) -> Vec<String> {
        self.session.answer(&Tag(tag.as_bytes().into()), reply, &mut self.out);
        self.says()
    }

    fn tells(&mut self, notice: &Notice) -> Vec<String> {
        self.session.notify(notice, &mut self.out);
        self.says()
    }
}

fn new() -> Talk<SocketIoSession> {
    let handshake = Handshake {
        sid: "s1".into(),
        upgrades: false,
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        max_payload: 1000,
    };
    Talk { session: SocketIoSession::new(handshake), out: Vec::new() }
}

/// In `/`, and after it in `/chat`.
fn connected() -> Talk<SocketIoSession> {
    let mut talk = new();
    talk.hears("40");
    talk.answers("c/", authenticated());
    talk.answers("e/", entered("one"));
    talk.hears("40/chat,");
    talk.answers("e/chat", entered("two"));
    talk
}

fn authenticated() -> Reply {
    Reply::Authenticated { user: None, connection: ConnectionId::from("one"), expires_at: None }
}

fn entered(id: &str) -> Reply {
    Reply::Entered { id: ConnectionId::from(id), session: None, recovered: false }
}

fn refused(code: ErrorCode) -> Reply {
    Reply::Refused { refusal: Refusal::new(code, "because"), channel: None }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn json(text: &str) -> Payload {
    Payload::Json(RawJson::parse(text).unwrap())
}

const CLOSE: &str = "close 1002";

#[test]
fn a_session_opens() {
    let mut talk = new();
    talk.session.greet(&mut talk.out);
    assert_eq!(
        talk.says(),
        [r#"send 0{"sid":"s1","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000}"#]
    );
    assert_eq!(talk.hears("3"), [""; 0], "a pong proves nothing before the client is in");
    assert_eq!(talk.hears(r#"40{"token":"T"}"#), [r#"request c/ Authenticate { token: Some("T") }"#]);
    assert_eq!(
        talk.answers("c/", authenticated()),
        [r#"request e/ Enter(Enter { scope: None, params: Some({"token":"T"}), resume: None })"#]
    );
    assert_eq!(talk.answers("e/", entered("one")), [r#"send 40{"sid":"one"}"#]);
    assert_eq!(talk.hears("3"), ["request  Confirm"]);
    talk.session.heartbeat(&mut talk.out);
    assert_eq!(talk.says(), ["send 2"]);
    assert_eq!(talk.hears("6"), [""; 0]);
    assert_eq!(talk.hears("1"), ["close 1000"]);
}

#[test]
fn further_namespaces_need_no_token() {
    let mut talk = connected();
    assert_eq!(
        talk.hears("40/third"),
        [r#"request e/third Enter(Enter { scope: Some("/third#"), params: None, resume: None })"#]
    );
    let reply = Reply::Entered { id: ConnectionId::from("three"), session: Some("P".into()), recovered: true };
    assert_eq!(talk.answers("e/third", reply), [r#"send 40/third,{"sid":"three","pid":"P"}"#]);
    assert_eq!(talk.hears(r#"40/x,{"token":"T"}"#), [r#"request c/x Authenticate { token: Some("T") }"#]);
    assert_eq!(
        talk.answers("c/x", refused(ErrorCode::Forbidden)),
        [r#"send 44/x,{"message":"because","data":{"code":"FORBIDDEN"}}"#]
    );
    assert_eq!(talk.hears(r#"42["a"]"#).len(), 1, "the others live on");
}

#[test]
fn a_lost_session_is_resumed() {
    let mut talk = new();
    talk.hears(r#"40/chat,{"pid":"P","offset":"e:3"}"#);
    assert_eq!(
        talk.answers("c/chat", authenticated()),
        [concat!(
            r#"request e/chat Enter(Enter { scope: Some("/chat#"), params: Some({"pid":"P","offset":"e:3"}), "#,
            r#"resume: Some(Resume { session: "P", after: Some("e:3") }) })"#
        )]
    );
}

#[test]
fn what_is_refused_may_be_tried_again() {
    let mut talk = new();
    assert!(talk.session.outlives_refusal());
    for _ in 0..2 {
        assert_eq!(talk.hears("40"), ["request c/ Authenticate { token: None }"]);
        assert_eq!(
            talk.answers("c/", refused(ErrorCode::AuthRequired)),
            [r#"send 44{"message":"because","data":{"code":"AUTH_REQUIRED"}}"#]
        );
    }
    let mut talk = connected();
    talk.hears("40/random");
    assert_eq!(
        talk.answers("e/random", refused(ErrorCode::InvalidChannel)),
        [r#"send 44/random,{"message":"Invalid namespace"}"#]
    );
    assert_eq!(talk.hears("40/a#b,"), [r#"send 44/a#b,{"message":"Invalid namespace"}"#]);
}

#[test]
fn events_are_requests() {
    let mut talk = connected();
    for (packet, request) in [
        (r#"42["a"]"#, r#"request  Event { channel: None, event: "a", payload: Json( []), fallback: None }"#),
        (r#"42["a",1.0]"#, r#"request  Event { channel: None, event: "a", payload: Json(1.0), fallback: None }"#),
        (
            r#"42["a",1,"2"]"#,
            r#"request  Event { channel: None, event: "a", payload: Json( [1,"2"]), fallback: None }"#,
        ),
        (r#"42[5,1]"#, r#"request  Event { channel: None, event: "5", payload: Json(1), fallback: None }"#),
        (
            r#"42/chat,12["a",{}]"#,
            r#"request a12/chat Event { channel: Some("/chat#"), event: "a", payload: Json({}), fallback: None }"#,
        ),
        (
            r#"421["subscribe","r"]"#,
            r#"request a1/ Subscribe(Subscribe { channel: "r", start: Live, presence: false, enter: None, more: None })"#,
        ),
        (
            r#"42/chat,1["subscribe","r",{"rewind":3,"presence":true,"data":{"x":1}}]"#,
            r#"request a1/chat Subscribe(Subscribe { channel: "/chat#r", start: Rewind(3), presence: true, enter: Some({"x":1}), more: None })"#,
        ),
        (
            r#"421["subscribe","r",{"recover":{"epoch":"e","offset":7}}]"#,
            r#"request a1/ Subscribe(Subscribe { channel: "r", start: Recover(Position { epoch: "e", offset: 7 }), presence: false, enter: None, more: None })"#,
        ),
        (r#"421["unsubscribe","r"]"#, r#"request a1/ Unsubscribe { channel: "r" }"#),
        (
            r#"421["publish","r","move",[1]]"#,
            r#"request a1/ Publish(Publish { channel: "r", event: "move", payload: Json([1]), message_id: None, key: None, echo: true, vouched: false })"#,
        ),
        (
            r#"421["publish","r","move",null,{"messageId":"m","key":"k","echo":false}]"#,
            r#"request a1/ Publish(Publish { channel: "r", event: "move", payload: Json(null), message_id: Some("m"), key: Some("k"), echo: false, vouched: false })"#,
        ),
        (r#"433[1]"#, r#"request  Acknowledge { ack: 3, payload: Json(1) }"#),
        (r#"433[]"#, r#"request  Acknowledge { ack: 3, payload: Json( []) }"#),
    ] {
        assert_eq!(talk.hears(packet), [request], "{packet}");
    }
    for packet in [r#"43["nothing asked"]"#, r#"4399999999999999999999["too large"]"#] {
        assert_eq!(talk.hears(packet), [""; 0], "{packet}");
    }
}

#[test]
fn events_of_the_wrong_shape_are_refused_in_their_ack() {
    let deep = format!(r#"421["a",{}{}]"#, "[".repeat(200), "]".repeat(200));
    let long = format!(r#"421["{}"]"#, "n".repeat(256));
    let mut talk = connected();
    for (packet, code) in [
        (r#"421["subscribe"]"#, "INVALID_MESSAGE"),
        (r#"421["subscribe",1]"#, "INVALID_MESSAGE"),
        (r#"421["subscribe","r",7]"#, "INVALID_MESSAGE"),
        (r#"421["subscribe","r",{"rewind":-1}]"#, "INVALID_MESSAGE"),
        (r#"421["subscribe","r",{"data":[]}]"#, "INVALID_MESSAGE"),
        (r#"421["subscribe",""]"#, "INVALID_CHANNEL"),
        (r##"421["subscribe","#x"]"##, "INVALID_CHANNEL"),
        (r#"421["subscribe","/chat#r"]"#, "INVALID_CHANNEL"),
        (r#"42/chat,1["subscribe",""]"#, "INVALID_CHANNEL"),
        (r#"421["unsubscribe"]"#, "INVALID_MESSAGE"),
        (r#"421["publish","r","e"]"#, "INVALID_MESSAGE"),
        (r#"421["publish","r",3,4]"#, "INVALID_MESSAGE"),
        (r#"421["publish","r","",4]"#, "INVALID_MESSAGE"),
        (deep.as_str(), "INVALID_MESSAGE"),
        (long.as_str(), "INVALID_MESSAGE"),
    ] {
        let said = talk.hears(packet);
        assert_eq!(said.len(), 1, "{packet}");
        let begin = if packet.contains("/chat,") { "send 43/chat,1" } else { "send 431" };
        assert!(said[0].starts_with(&format!(r#"{begin}[{{"ok":false,"error":{{"code":"{code}""#)), "{said:?}");
    }
    assert_eq!(talk.hears(r#"42["subscribe"]"#), [""; 0], "nobody waits for an ack");
}

#[test]
fn answers_are_acks() {
    let position = || Some(Position { epoch: Epoch::from("e"), offset: 4 });
    let mut talk = connected();
    for (reply, ack) in [
        (Reply::Event(None), r#"{"ok":true}"#),
        (Reply::Event(Some(json("[1,2]"))), "[1,2]"),
        (Reply::Event(Some(arguments::list(["1", "2"]))), "1,2"),
        (refused(ErrorCode::UnknownType), r#"{"ok":false,"error":{"code":"UNKNOWN_TYPE","message":"because"}}"#),
        (
            Reply::Subscribed {
                channel: channel("/chat#r"),
                position: position(),
                recovered: Some(true),
                follows: false,
                response: None,
            },
            r#"{"ok":true,"channel":"r","epoch":"e","offset":4,"recovered":true}"#,
        ),
        (Reply::Unsubscribed { channel: channel("/chat#r") }, r#"{"ok":true,"channel":"r"}"#),
        (
            Reply::Published { message_id: MessageId::from("m"), position: position() },
            r#"{"ok":true,"messageId":"m","epoch":"e","offset":4}"#,
        ),
        (Reply::Published { message_id: MessageId::from("m"), position: None }, r#"{"ok":true,"messageId":"m"}"#),
    ] {
        assert_eq!(talk.answers("a12/chat", reply), [format!("send 43/chat,12[{ack}]")]);
    }
    let binary = Reply::Event(Some(Payload::Binary((&b"\x01"[..]).into())));
    assert_eq!(talk.answers("a0/", binary), [r#"send 461-0[{"_placeholder":true,"num":0}]"#, r"send <\x01>"]);
    assert_eq!(talk.answers("", Reply::Done), [""; 0]);
    talk.hears("41/chat,");
    assert_eq!(talk.answers("a12/chat", Reply::Done), [""; 0], "it has left");
}

#[test]
fn attachments_are_put_together() {
    let mut talk = connected();
    assert_eq!(talk.hears(r#"452-7["a",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]"#), [""; 0]);
    assert_eq!(talk.hears_bytes(&[1, 2, 3]), [""; 0]);
    assert_eq!(
        talk.hears_bytes(&[4, 5, 6]),
        [concat!(
            r#"request a7/ Event { channel: None, event: "a", payload: Json( [{"_placeholder":true,"data":"AQID"},"#,
            r#"{"x":{"_placeholder":true,"data":"BAUG"}}]), fallback: None }"#
        )]
    );
    talk.hears(r#"451-["a",{"_placeholder":true,"num":0}]"#);
    assert_eq!(
        talk.hears_bytes(b"\x01"),
        [r#"request  Event { channel: None, event: "a", payload: Binary(b"\x01"), fallback: None }"#]
    );
    talk.hears(r#"461-3[{"_placeholder":true,"num":0}]"#);
    assert_eq!(talk.hears_bytes(b"\x01"), [r#"request  Acknowledge { ack: 3, payload: Binary(b"\x01") }"#]);
    assert_eq!(
        talk.hears(r#"450-["a"]"#),
        [r#"request  Event { channel: None, event: "a", payload: Json( []), fallback: None }"#]
    );
    talk.hears(r#"451-["publish","r","e",{"_placeholder":true,"num":0}]"#);
    assert!(talk.hears_bytes(b"\x01")[0].contains(r#"payload: Binary(b"\x01")"#));
}

#[test]
fn what_is_no_packet_ends_the_conversation() {
    for packet in [
        "",
        "abc",
        "4",
        "4abc",
        "47",
        "2",
        "2probe",
        "5",
        "42{}",
        "42",
        "42[]",
        r#"42[{}]"#,
        r#"42["a""#,
        r#"42["connect"]"#,
        r#"42["newListener"]"#,
        r#"42abc["a"]"#,
        r#"42-1["a"]"#,
        r#"42/nowhere,["a"]"#,
        "40",
        "40/chat,",
        "40/new,[]",
        r#"40/new,"text""#,
        "41/nowhere,",
        r#"41{"reason":1}"#,
        "43{}",
        "44",
        "45",
        r#"451["a"]"#,
        r#"451-["a"]"#,
        r#"451000000000-["a",{"_placeholder":true,"num":0}]"#,
        r#"42999999999999999999999999["a"]"#,
    ] {
        assert_eq!(connected().hears(packet), [CLOSE], "{packet:?}");
    }
    let mut early = new();
    assert_eq!(early.hears(r#"42["a"]"#), [CLOSE]);
    assert_eq!(connected().hears_bytes(&[1]), [CLOSE], "it belongs to nothing");
    let mut talk = connected();
    talk.hears(r#"451-["a",{"_placeholder":true,"num":0}]"#);
    assert_eq!(talk.hears("3"), [CLOSE], "text where bytes are awaited");
    let mut talk = connected();
    talk.hears(r#"451-["a",{"_placeholder":true,"num":1}]"#);
    assert_eq!(talk.hears_bytes(&[1]), [CLOSE], "an attachment that there is not");
    let mut talk = connected();
    talk.hears(r#"451-["a",{"_placeholder":true,"num":0}]"#);
    assert_eq!(talk.hears_bytes(&[0; 1000]), ["close 1009"]);
}

#[test]
fn refused_packets_are_answered_where_they_can_be() {
    let mut talk = connected();
    let refusal = Refusal::new(ErrorCode::RateLimited, "slow down");
    let mut refuse = |packet: Packet<'_>| {
        talk.session.refuse(packet, &refusal, &mut talk.out);
        talk.says()
    };
    const ACK: &str = r#"send 431[{"ok":false,"error":{"code":"RATE_LIMITED","message":"slow down"}}]"#;
    assert_eq!(refuse(Packet::Text(r#"421["a"]"#)), [ACK]);
    assert_eq!(refuse(Packet::Text(r#"42["a"]"#)), [""; 0]);
    assert_eq!(refuse(Packet::Text("3")), [""; 0]);
    assert_eq!(
        refuse(Packet::Text("40/new,")),
        [r#"send 44/new,{"message":"slow down","data":{"code":"RATE_LIMITED"}}"#]
    );
    // The attachments of a refused packet follow it, refused or not.
    assert_eq!(
        refuse(Packet::Text(r#"452-1["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)),
        [""; 0]
    );
    assert_eq!(refuse(Packet::Binary(&[1])), [""; 0]);
    assert_eq!(talk.hears_bytes(&[2]), [ACK]);
    talk.hears(r#"451-1["a",{"_placeholder":true,"num":0}]"#);
    talk.session.refuse(Packet::Binary(&[1]), &refusal, &mut talk.out);
    assert_eq!(talk.says(), [ACK]);
    talk.session.refuse(Packet::Binary(&[1]), &refusal, &mut talk.out);
    assert_eq!(talk.says(), [""; 0]);
}

#[test]
fn notices_are_events() {
    let mut talk = connected();
    let members = vec![starling_core::PresenceEntry {
        user: Some(UserId::from("u")),
        connection: ConnectionId::from("c"),
        data: RawJson::empty_object(),
        revision: 0,
    }];
    for (notice, said) in [
        (
            Notice::Gap { channel: channel("/chat#r"), missed: 3 },
            vec![r#"send 42/chat,["gap",{"channel":"r","missed":3}]"#],
        ),
        (
            Notice::Unsubscribed { channel: channel("r"), refusal: Refusal::new(ErrorCode::Forbidden, "no") },
            vec![r#"send 42["unsubscribed",{"channel":"r","code":"FORBIDDEN","message":"no"}]"#],
        ),
        (
            Notice::PresenceState { channel: channel("r"), members },
            vec![
                r#"send 42["presence_state",{"channel":"r","members":[{"userId":"u","connectionId":"c","data":{}}]}]"#,
            ],
        ),
        (
            Notice::Drain { reconnect_in: Duration::from_millis(70) },
            vec![r#"send 42["drain",{"reconnectIn":70}]"#, r#"send 42/chat,["drain",{"reconnectIn":70}]"#],
        ),
        (
            Notice::Event {
                channel: Some(channel("/chat#")),
                event: "hi".into(),
                payload: json("[1]"),
                ack: Some(9),
                mark: None,
            },
            vec![r#"send 42/chat,9["hi",[1]]"#],
        ),
        (
            Notice::Event {
                channel: None,
                event: "hi".into(),
                payload: arguments::list(["1", "\"2\""]),
                ack: None,
                mark: None,
            },
            vec![r#"send 42["hi",1,"2"]"#],
        ),
        (
            Notice::Event {
                channel: None,
                event: "hi".into(),
                payload: Payload::Binary((&b"x"[..]).into()),
                ack: None,
                mark: None,
            },
            vec![r#"send 451-["hi",{"_placeholder":true,"num":0}]"#, "send <x>"],
        ),
        (Notice::Subscribed { channel: channel("r"), position: None }, vec![]),
        (Notice::Error { refusal: Refusal::new(ErrorCode::Internal, "x") }, vec![]),
    ] {
        assert_eq!(talk.tells(&notice), said, "{notice:?}");
    }
}

#[test]
fn an_event_for_one_client_ends_with_its_mark() {
    let mut talk = connected();
    for (payload, said) in [
        (json(r#""text""#), r#"send 42["hi","text","~0:7"]"#),
        (arguments::list([]), r#"send 42["hi","~0:7"]"#),
        (json("1"), r#"send 42["hi",1,"~0:7"]"#),
    ] {
        let mark = Some(Position { epoch: "~0".into(), offset: 7 });
        let notice = Notice::Event { channel: None, event: "hi".into(), payload, ack: None, mark };
        assert_eq!(talk.tells(&notice), [said]);
    }
}

#[test]
fn the_server_ends_namespaces_where_the_client_must_stay_away() {
    for reason in CloseReason::ALL {
        let mut talk = connected();
        talk.session.farewell(reason, &mut talk.out);
        match reason {
            CloseReason::Forbidden | CloseReason::TokenExpired => {
                assert_eq!(talk.says(), ["send 41", "send 41/chat,"], "{reason:?}");
            }
            _ => assert_eq!(talk.says(), [""; 0], "{reason:?}"),
        }
        let closing = talk.session.closing(reason);
        assert!(closing.text.len() <= 123 && closing.code.may_be_sent());
    }
}

#[test]
fn a_client_leaves_a_namespace() {
    let mut talk = connected();
    assert_eq!(talk.hears("41/chat"), [r#"request  Exit { scope: Some("/chat#") }"#]);
    assert_eq!(talk.hears("41"), ["request  Exit { scope: None }"]);
    assert_eq!(talk.hears("40"), ["request e/ Enter(Enter { scope: None, params: None, resume: None })"]);
}

#[test]
fn too_many_namespaces() {
    let mut talk = connected();
    for n in 2..100 {
        talk.hears(&format!("40/n{n},"));
        talk.answers("", Reply::Done);
    }
    assert_eq!(
        talk.hears("40/more,"),
        [r#"send 44/more,{"message":"too many namespaces","data":{"code":"LIMIT_EXCEEDED"}}"#]
    );
}

#[test]
fn a_websocket_takes_over() {
    let mut talk = Talk { session: UpgradeSession::default(), out: Vec::new() };
    assert_eq!(talk.hears("2probe"), ["send 3probe", "probe"]);
    assert_eq!(talk.hears("5"), ["take over"]);
    for packet in ["5", "4hello", "2", ""] {
        let mut talk = Talk { session: UpgradeSession::default(), out: Vec::new() };
        assert_eq!(talk.hears(packet), [CLOSE], "{packet}");
    }
}
