//! Conversations that the vectors of a real server do not have.

use starling_core::{ConnectionId, Epoch, ErrorCode, MessageId, Notice, Payload, Position, Refusal, Reply, UserId};
use starling_proto::Packet;
use starling_proto::phoenix::Serializer;

use crate::{Talk, channel, json, subscribed};

fn position(offset: u64) -> Option<Position> {
    Some(Position { epoch: Epoch::from("e1"), offset })
}

#[test]
fn versions_are_negotiated_as_phoenix_does() {
    for (vsn, expected) in [
        ("2.0.0", Some(Serializer::V2)),
        ("2.0.7", Some(Serializer::V2)),
        ("1.0.0", Some(Serializer::V1)),
        ("2.1.0", None),
        ("1.1.0", None),
        ("3.0.0", None),
        ("2.0", None),
        ("2.0.", None),
        ("2.0.01", None),
        ("2.0.0-rc", None),
        ("", None),
        ("2", None),
    ] {
        assert_eq!(Serializer::negotiate(vsn, true, false), expected, "{vsn:?}");
    }
    assert_eq!(Serializer::negotiate("2.0.0", false, false), Some(Serializer::V2Text));
    assert_eq!(Serializer::negotiate("2.0.0", true, true), Some(Serializer::V2Meta));
}

#[test]
fn a_token_in_a_join_is_looked_at_first() {
    let mut talk = Talk::new(Serializer::V2);
    let join = r#"["1","1","room:a","phx_join",{"token":"t"}]"#;
    assert_eq!(talk.hears_text(join), [r#"request Authenticate { token: Some("t") }"#]);
    let refused = Reply::Refused { refusal: Refusal::new(ErrorCode::TokenInvalid, "no"), channel: None };
    assert_eq!(
        talk.answers(refused),
        [r#"send ["1","1","room:a","phx_reply",{"response":{"reason":"no","code":"TOKEN_INVALID"},"status":"error"}]"#]
    );
    talk.hears_text(join);
    let accepted = Reply::Authenticated {
        user: Some(UserId::from("ann")),
        connection: ConnectionId::from("c1"),
        expires_at: None,
    };
    let asked = talk.answers(accepted);
    assert!(asked.len() == 1 && asked[0].starts_with("request Subscribe("), "{asked:?}");
    assert_eq!(
        talk.answers(subscribed("room:a")),
        [r#"send ["1","1","room:a","phx_reply",{"response":{},"status":"ok"}]"#]
    );
}

#[test]
fn a_join_that_asks_is_told_its_position() {
    let mut talk = Talk::new(Serializer::V2);
    let asked = talk.hears_text(r#"["1","1","room:a","phx_join",{"recover":{"epoch":"e1","offset":3}}]"#);
    assert!(asked[0].contains(r#"start: Recover(Position { epoch: "e1", offset: 3 })"#), "{asked:?}");
    assert!(asked[0].contains("presence_if_kept: true"), "{asked:?}");
    let reply = |recovered, response| Reply::Subscribed {
        channel: channel("room:a"),
        position: position(9),
        recovered,
        follows: true,
        response,
    };
    assert_eq!(
        talk.answers(reply(Some(true), None)),
        [concat!(
            r#"send ["1","1","room:a","phx_reply",{"response":"#,
            r#"{"epoch":"e1","offset":9,"recovered":true},"status":"ok"}]"#
        )]
    );
    talk.hears_text(r#"["2","2","room:b","phx_join",{"rewind":2}]"#);
    assert_eq!(
        talk.answers(reply(None, Some(json(r#"{ "a":1 }"#)))),
        [r#"send ["2","2","room:b","phx_reply",{"response":{"a":1,"epoch":"e1","offset":9},"status":"ok"}]"#]
    );
    talk.hears_text(r#"["3","3","room:c","phx_join",{}]"#);
    assert_eq!(
        talk.answers(reply(None, None)),
        [r#"send ["3","3","room:c","phx_reply",{"response":{},"status":"ok"}]"#],
        "an unmodified client never notices"
    );
}

#[test]
fn a_push_is_published_where_nobody_handles_it() {
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    let asked = talk.hears_text(r#"["1","2","room:a","move",[1.50]]"#);
    assert_eq!(
        asked,
        [concat!(
            r#"request Event { channel: Some("room:a"), event: "move", payload: Json([1.50]), "#,
            r#"fallback: Some(Publish { channel: "room:a", event: "move", payload: Json([1.50]), "#,
            r#"message_id: None, key: None, echo: true, vouched: false }) }"#
        )]
    );
    assert_eq!(
        talk.answers(Reply::Published { message_id: MessageId::from("m"), position: position(1) }),
        [r#"send ["1","2","room:a","phx_reply",{"response":{},"status":"ok"}]"#]
    );
}

#[test]
fn serializer_1_0_0_speaks_objects() {
    let mut talk = Talk::new(Serializer::V1);
    assert_eq!(
        talk.hears_text(r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"9"}"#),
        [r#"send {"topic":"phoenix","event":"phx_reply","ref":"9","payload":{"response":{},"status":"ok"}}"#]
    );
    talk.hears_text(r#"{"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}"#);
    assert_eq!(
        talk.answers(subscribed("room:a")),
        [r#"send {"topic":"room:a","event":"phx_reply","ref":"1","payload":{"response":{},"status":"ok"}}"#]
    );
    talk.hears_text(r#"{"topic":"room:a","event":"phx_leave","payload":{},"ref":"2"}"#);
    assert_eq!(
        talk.answers(Reply::Unsubscribed { channel: channel("room:a") }),
        [
            r#"send {"topic":"room:a","event":"phx_reply","ref":"2","payload":{"response":{},"status":"ok"}}"#,
            r#"send {"topic":"room:a","event":"phx_close","ref":null,"payload":{}}"#
        ]
    );
}

#[test]
fn a_leave_of_an_older_join_is_ignored() {
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    talk.joins("2", "room:a");
    assert_eq!(talk.hears_text(r#"["1","3","room:a","phx_leave",{}]"#), [""; 0]);
    assert_eq!(
        talk.hears_text(r#"["2","4","room:a","phx_leave",{}]"#),
        [r#"request Unsubscribe { channel: "room:a" }"#]
    );
    talk.answers(Reply::Unsubscribed { channel: channel("room:a") });
    assert_eq!(
        talk.hears_text(r#"["2","5","room:a","phx_leave",{}]"#),
        [r#"send ["2","5","room:a","phx_reply",{"response":{},"status":"ok"}]"#],
        "leaving what one has left is fine"
    );
}

#[test]
fn a_refused_second_join_ends_the_first() {
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    let asked = talk.hears_text(r#"["2","2","room:a","phx_join",{}]"#);
    assert_eq!(asked[0], r#"request Unsubscribe { channel: "room:a" }"#);
    let asked = talk.answers(Reply::Unsubscribed { channel: channel("room:a") });
    assert!(asked.len() == 1 && asked[0].starts_with("request Subscribe("), "{asked:?}");
    let refused = Reply::Refused { refusal: Refusal::custom("NO", "not now"), channel: None };
    assert_eq!(
        talk.answers(refused),
        [
            r#"send ["2","2","room:a","phx_reply",{"response":{"reason":"not now","code":"NO"},"status":"error"}]"#,
            r#"send ["1","1","room:a","phx_close",{}]"#
        ]
    );
}

#[test]
fn the_server_makes_members_and_ends_them() {
    let mut talk = Talk::new(Serializer::V2);
    let name = channel("room:a");
    assert_eq!(talk.notices(&Notice::Subscribed { channel: name.clone(), position: None }), [""; 0]);
    let asked = talk.hears_text(r#"["1","1","room:a","phx_join",{}]"#);
    assert_eq!(asked[0], r#"request Unsubscribe { channel: "room:a" }"#, "the client joins for itself");
    talk.answers(Reply::Done);
    assert_eq!(talk.answers(subscribed("room:a")).len(), 1, "there is no older join to close");
    let ended = Refusal::new(ErrorCode::Forbidden, "ended");
    assert_eq!(
        talk.notices(&Notice::Unsubscribed { channel: name.clone(), refusal: ended.clone() }),
        [r#"send ["1","1","room:a","phx_close",{}]"#]
    );
    assert_eq!(talk.notices(&Notice::Unsubscribed { channel: name.clone(), refusal: ended }), [""; 0]);
    talk.joins("2", "room:a");
    let broken = Refusal::new(ErrorCode::Internal, "broken");
    assert_eq!(
        talk.notices(&Notice::Unsubscribed { channel: name, refusal: broken }),
        [r#"send ["2","2","room:a","phx_error",{}]"#]
    );
}

#[test]
fn the_server_tells_one_member_something() {
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    let mut event = |channel: Option<&str>, payload| {
        let channel = channel.map(crate::channel);
        talk.notices(&Notice::Event { channel, event: "hint".into(), payload, ack: None, mark: None }).remove(0)
    };
    assert_eq!(event(Some("room:a"), json("{}")), r#"send ["1",null,"room:a","hint",{}]"#);
    assert_eq!(event(None, json("{}")), r#"send [null,null,"phoenix","hint",{}]"#);
    let bytes = Payload::Binary((&b"\x07"[..]).into());
    assert_eq!(event(Some("room:a"), bytes), "send bin 0001060431726f6f6d3a6168696e7407");
    assert_eq!(
        talk.notices(&Notice::Gap { channel: channel("room:a"), missed: 3 }),
        [r#"send ["1",null,"room:a","gap",{"missed":3}]"#]
    );
    let error = Notice::Error { refusal: Refusal::new(ErrorCode::TokenExpired, "over") };
    assert_eq!(
        talk.notices(&error),
        [r#"send [null,null,"phoenix","error",{"reason":"over","code":"TOKEN_EXPIRED"}]"#]
    );
}

#[test]
fn a_user_joins_its_own_topic_and_no_other() {
    let mut talk = Talk::new(Serializer::V2);
    let ok = r##"send ["1","1","#user:bob","phx_reply",{"response":{},"status":"ok"}]"##;
    assert_eq!(talk.hears_text(r##"["1","1","#user:bob","phx_join",{}]"##), [ok]);
    assert_eq!(
        talk.hears_text(r##"["1","2","#user:bob","phx_leave",{}]"##),
        [
            r##"send ["1","2","#user:bob","phx_reply",{"response":{},"status":"ok"}]"##,
            r##"send ["1","1","#user:bob","phx_close",{}]"##
        ]
    );
    let asked = talk.hears_text(r##"["1","3","#user:ann","phx_join",{}]"##);
    assert!(asked[0].starts_with("request Subscribe("), "the hub refuses: {asked:?}");
}

#[test]
fn a_reply_of_bytes_is_binary_where_it_can_be() {
    for (serializer, expected) in [
        (Serializer::V2, "send bin 010101060231 32726f6f6d3a616f6b0708".replace(" 32", "32")),
        (
            Serializer::V2Text,
            r#"send ["1","2","room:a","phx_reply",{"response":{"data":"Bwg=","encoding":"base64"},"status":"ok"}]"#
                .into(),
        ),
    ] {
        let mut talk = Talk::new(serializer);
        talk.joins("1", "room:a");
        let push = b"\x00\x01\x01\x06\x01\x31\x32room:ae\x01";
        let asked = talk.hears(Packet::Binary(push));
        assert!(asked[0].contains(r#"payload: Binary(b"\x01")"#), "{asked:?}");
        let reply = Reply::Event(Some(Payload::Binary((&b"\x07\x08"[..]).into())));
        let said = talk.answers(reply);
        assert_eq!(said, [expected], "{serializer:?}");
    }
}
