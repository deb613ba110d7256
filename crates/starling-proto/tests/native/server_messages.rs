//! What the server says: the exact JSON of each, and MessagePack that means the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::{
    ErrorCode, Form, HistoryPage, Notice, Outgoing, Payload, PresenceDiff, PresenceEntry, RawJson, Refusal, Reply, Tag,
    UserId,
};
use starling_proto::native::{Encoding, NativeSession, json};
use starling_proto::{Action, OwnedPacket, Session, encode, voices};

use crate::{channel, connection, json_payload, message, msgpack, position, user};

/// The JSON text that a session sends, after a comparison with what a MessagePack session sends.
///
/// `tag` is how the id is written in either encoding.
fn said(tag: (&str, &[u8]), speak: impl Fn(&mut NativeSession, &Tag, &mut Vec<Action>)) -> String {
    let sent = |encoding, tag: &[u8]| {
        let mut out = Vec::new();
        speak(&mut NativeSession::new(encoding), &Tag(Bytes::copy_from_slice(tag)), &mut out);
        match out.pop() {
            Some(Action::Send(packet)) if out.is_empty() => packet,
            other => panic!("{other:?} after {out:?}"),
        }
    };
    both(sent(Encoding::Json, tag.0.as_bytes()), sent(Encoding::Msgpack, tag.1))
}

fn both(json: OwnedPacket, msgpack: OwnedPacket) -> String {
    let (OwnedPacket::Text(text), OwnedPacket::Binary(bytes)) = (json, msgpack) else { panic!("kinds of packets") };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    match msgpack::payload(&bytes) {
        Ok(Payload::Json(json)) => {
            assert_eq!(serde_json::from_str::<serde_json::Value>(json.as_str()).unwrap(), value);
        }
        // Bytes are no JSON; their MessagePack is pinned elsewhere.
        other => assert!(text.contains("\"encoding\":\"base64\""), "{text}: {other:?}"),
    }
    text
}

fn answer(reply: &Reply) -> String {
    said(("7", b"\x07"), |session, tag, out| session.answer(tag, reply.clone(), out))
}

fn notify(notice: &Notice) -> String {
    said(("", b""), |session, _, out| session.notify(notice, out))
}

fn members() -> Vec<PresenceEntry> {
    let data = RawJson::parse(r#"{"b":1.10,"a":[]}"#).unwrap();
    vec![
        PresenceEntry { user: user("7"), connection: connection(), data, revision: 3 },
        PresenceEntry { user: None, connection: "c2".into(), data: RawJson::empty_object(), revision: 4 },
    ]
}

const MEMBERS: &str =
    r#"[{"userId":"7","connectionId":"c1","data":{"b":1.10,"a":[]}},{"userId":null,"connectionId":"c2","data":{}}]"#;

#[test]
fn answers() {
    let kept = Arc::new(message(json_payload("1")));
    for (reply, expected) in [
        (
            Reply::Authenticated { user: user("7"), connection: connection(), expires_at: Some(5) },
            r#"{"type":"auth_ack","id":7,"userId":"7","connectionId":"c1","expiresAt":5}"#.to_owned(),
        ),
        (
            Reply::Authenticated { user: None, connection: connection(), expires_at: None },
            r#"{"type":"auth_ack","id":7,"userId":null,"connectionId":"c1"}"#.into(),
        ),
        (
            Reply::Subscribed {
                channel: channel("a"),
                position: None,
                recovered: None,
                response: None,
                follows: false,
            },
            r#"{"type":"ack","id":7,"channel":"a"}"#.into(),
        ),
        (
            Reply::Subscribed {
                channel: channel("a"),
                position: Some(position("e", 3)),
                recovered: Some(false),
                response: Some(json_payload("1")),
                follows: true,
            },
            r#"{"type":"ack","id":7,"channel":"a","epoch":"e","offset":3,"recovered":false,"payload":1}"#.into(),
        ),
        (Reply::Unsubscribed { channel: channel("a") }, r#"{"type":"ack","id":7,"channel":"a"}"#.into()),
        (
            Reply::Published { message_id: "m".into(), position: None },
            r#"{"type":"ack","id":7,"messageId":"m"}"#.into(),
        ),
        (
            Reply::Published { message_id: "m".into(), position: Some(position("e", u64::MAX)) },
            r#"{"type":"ack","id":7,"messageId":"m","epoch":"e","offset":18446744073709551615}"#.into(),
        ),
        (
            Reply::History(HistoryPage { messages: vec![], head: position("e", 0), oldest: 1 }),
            r#"{"type":"ack","id":7,"messages":[],"epoch":"e","offset":0}"#.into(),
        ),
        (
            Reply::History(HistoryPage { messages: vec![kept.clone(), kept], head: position("e", 2), oldest: 1 }),
            r#"{"type":"ack","id":7,"messages":[M,M],"epoch":"e","offset":2}"#.replace(
                'M',
                r#"{"type":"message","channel":"room:1","event":"message","payload":1,"id":"m1","ts":1700000000000}"#,
            ),
        ),
        (Reply::Members(vec![]), r#"{"type":"ack","id":7,"members":[]}"#.into()),
        (Reply::Members(members()), format!(r#"{{"type":"ack","id":7,"members":{MEMBERS}}}"#)),
        (Reply::Done, r#"{"type":"ack","id":7}"#.into()),
        (Reply::Event(None), r#"{"type":"ack","id":7}"#.into()),
        (Reply::Event(Some(json_payload("null"))), r#"{"type":"ack","id":7,"payload":null}"#.into()),
        (
            Reply::Event(Some(Payload::Binary(b"\x00"[..].into()))),
            r#"{"type":"ack","id":7,"payload":"AA==","encoding":"base64"}"#.into(),
        ),
        (
            Reply::Refused { refusal: Refusal::custom("MY_OWN", "say \"no\"\n"), channel: Some(channel("a")) },
            r#"{"type":"error","id":7,"code":"MY_OWN","message":"say \"no\"\n","channel":"a"}"#.into(),
        ),
    ] {
        assert_eq!(answer(&reply), expected);
        let mut out = Vec::new();
        json::write_reply(&mut out, &Tag(Bytes::from_static(b"7")), &reply);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn every_error_code() {
    for code in ErrorCode::ALL {
        assert_eq!(
            answer(&Reply::Refused { refusal: Refusal::new(*code, "why"), channel: None }),
            format!(r#"{{"type":"error","id":7,"code":"{code}","message":"why"}}"#)
        );
    }
}

#[test]
fn notices() {
    let forbidden = || Refusal::new(ErrorCode::Forbidden, "no");
    for (notice, expected) in [
        (Notice::Gap { channel: channel("a"), missed: 3 }, r#"{"type":"gap","channel":"a","missed":3}"#.to_owned()),
        (
            Notice::Unsubscribed { channel: channel("a"), refusal: forbidden() },
            r#"{"type":"unsubscribed","channel":"a","code":"FORBIDDEN","message":"no"}"#.into(),
        ),
        (Notice::Subscribed { channel: channel("a"), position: None }, r#"{"type":"subscribed","channel":"a"}"#.into()),
        (
            Notice::Subscribed { channel: channel("a"), position: Some(position("e", 1)) },
            r#"{"type":"subscribed","channel":"a","epoch":"e","offset":1}"#.into(),
        ),
        (
            Notice::PresenceState { channel: channel("a"), members: members() },
            format!(r#"{{"type":"presence_state","channel":"a","members":{MEMBERS}}}"#),
        ),
        (Notice::Drain { reconnect_in: Duration::from_millis(1500) }, r#"{"type":"drain","reconnectIn":1500}"#.into()),
        (Notice::Error { refusal: forbidden() }, r#"{"type":"error","code":"FORBIDDEN","message":"no"}"#.into()),
    ] {
        assert_eq!(notify(&notice), expected);
        let mut out = Vec::new();
        json::write_notice(&mut out, &notice);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

fn shared(outgoing: &Outgoing<'_>) -> String {
    let one = |form| {
        let mut packets = Vec::new();
        encode(form, outgoing, &mut packets);
        assert_eq!(packets.len(), 1);
        packets.remove(0)
    };
    both(one(voices::NATIVE_JSON), one(voices::NATIVE_MSGPACK))
}

#[test]
fn messages() {
    let mut full = message(json_payload(r#"{"b":12345678901234567890123,"a":1.10}"#));
    full.event = "mo\"ve".into();
    full.user = Some(UserId::from("\u{1}日\\本"));
    full.position = Some(position("e1", 42));
    full.key = Some("k".into());
    full.exclude = Some(connection());
    for (message, expected) in [
        (
            message(json_payload("[1, 2]")),
            r#"{"type":"message","channel":"room:1","event":"message","payload":[1, 2],"id":"m1","ts":1700000000000}"#,
        ),
        (
            full,
            r#"{"type":"message","channel":"room:1","event":"mo\"ve","payload":{"b":12345678901234567890123,"a":1.10},"id":"m1","ts":1700000000000,"userId":"\u0001日\\本","offset":42,"epoch":"e1"}"#,
        ),
        (
            message(Payload::Binary(b"\x00\x01\xff\xfe"[..].into())),
            r#"{"type":"message","channel":"room:1","event":"message","payload":"AAH//g==","encoding":"base64","id":"m1","ts":1700000000000}"#,
        ),
    ] {
        assert_eq!(shared(&Outgoing::Message(&message)), expected);
        let mut out = b"data: ".to_vec();
        json::write_message(&mut out, &message);
        assert_eq!(String::from_utf8(out).unwrap(), format!("data: {expected}"));
    }
}

#[test]
fn presence_differences() {
    let diff = PresenceDiff { joins: members(), ..PresenceDiff::default() };
    assert_eq!(
        shared(&Outgoing::PresenceDiff(&channel("a"), &diff)),
        format!(r#"{{"type":"presence_diff","channel":"a","joins":{MEMBERS},"leaves":[]}}"#)
    );
}

#[test]
fn strings_are_escaped_as_rfc_8259_wants() {
    for (text, expected) in [
        ("", r#""""#),
        ("a/b 日本 \u{7f}\u{2028}", "\"a/b 日本 \u{7f}\u{2028}\""),
        ("\"\\", r#""\"\\""#),
        ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
        ("\0\u{1f}x", r#""\u0000\u001fx""#),
    ] {
        let mut out = Vec::new();
        json::write_text(&mut out, text);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn subprotocols_choose_the_form() {
    for (name, form) in [("starling.v1.json", Form(0)), ("starling.v1.msgpack", Form(1))] {
        let encoding = Encoding::from_subprotocol(name).unwrap();
        assert_eq!((encoding.subprotocol(), NativeSession::new(encoding).form()), (name, form));
        assert_eq!(starling_proto::voice_of(form).subprotocol, Some(name));
    }
    assert_eq!(Encoding::from_subprotocol("starling.v2.json"), None);
}
