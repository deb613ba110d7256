//! What members of a channel get alike.

use bytes::Bytes;
use starling_core::{Outgoing, Payload, PresenceDiff, UserId};
use starling_proto::pusher::{encode, payload_of_text};

use crate::{channel, entry, json, message, text};

fn written(outgoing: &Outgoing<'_>) -> Vec<String> {
    let mut out = Vec::new();
    encode(outgoing, &mut out);
    out.iter().map(text).collect()
}

#[test]
fn data_is_a_string_of_json_text() {
    for (name, event, payload, expected) in [
        ("news", "e", json(r#"{"a":1.50}"#), r#"{"event":"e","data":"{\"a\":1.50}","channel":"news"}"#),
        ("news", "e", json(r#""text""#), r#"{"event":"e","data":"\"text\"","channel":"news"}"#),
        ("news", "e", json(r#""a\"b""#), r#"{"event":"e","data":"\"a\\\"b\"","channel":"news"}"#),
        (
            "news",
            "ü\"",
            json("12345678901234567890"),
            r#"{"event":"ü\"","data":"12345678901234567890","channel":"news"}"#,
        ),
        (
            "news",
            "e",
            Payload::Binary(Bytes::from_static(b"\x01\x02\x03")),
            r#"{"event":"e","data":"\"AQID\"","channel":"news"}"#,
        ),
        ("#user:ann", "e", json("1"), r##"{"event":"e","data":"1","channel":"#server-to-user-ann"}"##),
        (
            "presence-a",
            "client-x",
            json("{}"),
            r#"{"event":"client-x","data":"{}","channel":"presence-a","user_id":"ann"}"#,
        ),
        ("private-a", "client-x", json("{}"), r#"{"event":"client-x","data":"{}","channel":"private-a"}"#),
    ] {
        let mut message = message(channel(name), event, payload);
        message.user = Some(UserId::from("ann"));
        assert_eq!(written(&Outgoing::Message(&message)), [expected]);
    }
}

#[test]
fn nobody_speaks_in_the_name_of_the_server() {
    for event in ["pusher:error", "pusher_internal:member_added"] {
        assert!(written(&Outgoing::Message(&message(channel("news"), event, json("{}")))).is_empty(), "{event}");
    }
}

#[test]
fn text_becomes_the_payload_that_it_is() {
    for (data, expected) in [
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (" [1] ", "[1]"),
        ("text", r#""text""#),
        ("", r#""""#),
        ("1", "1"),
        ("{broken", r#""{broken""#),
        ("\u{1}", r#""\u0001""#),
    ] {
        assert_eq!(payload_of_text(data, 100), Ok(json(expected)), "{data:?}");
    }
    assert!(payload_of_text(&"x".repeat(100), 100).is_ok());
    assert!(payload_of_text(&"x".repeat(101), 100).is_err());
    assert!(payload_of_text(&format!("{}{}", "[".repeat(128), "]".repeat(128)), 1000).is_ok());
    assert!(payload_of_text(&format!("{}{}", "[".repeat(129), "]".repeat(129)), 1000).is_err());
}

#[test]
fn users_are_told_of_when_they_come_and_go() {
    let diff = PresenceDiff {
        joins: vec![
            entry(Some("ann"), "1", r#"{"name":"Ann"}"#, 1),
            entry(Some("bob"), "2", "{}", 2),
            entry(None, "3", r#"{"user_info":"text"}"#, 3),
        ],
        leaves: vec![entry(Some("cat"), "4", "{}", 0), entry(None, "5", "{}", 0)],
        replaced: Vec::new(),
        users_in: vec![UserId::from("ann")],
        users_out: vec![UserId::from("cat")],
    };
    assert_eq!(
        written(&Outgoing::PresenceDiff(&channel("presence-a"), &diff)),
        [
            r#"{"event":"pusher_internal:member_removed","data":"{\"user_id\":\"cat\"}","channel":"presence-a"}"#,
            r#"{"event":"pusher_internal:member_removed","data":"{\"user_id\":\"5\"}","channel":"presence-a"}"#,
            r#"{"event":"pusher_internal:member_added","data":"{\"user_id\":\"ann\",\"user_info\":{\"name\":\"Ann\"}}","channel":"presence-a"}"#,
            r#"{"event":"pusher_internal:member_added","data":"{\"user_id\":\"3\",\"user_info\":\"text\"}","channel":"presence-a"}"#,
        ]
    );
}

#[test]
fn reserved_channels_tell_who_is_online_and_how_many_there_are() {
    let ann = UserId::from("ann");
    let diff = PresenceDiff { users_in: vec![ann.clone()], ..PresenceDiff::default() };
    let online = starling_core::ChannelName::online(&ann);
    assert_eq!(
        written(&Outgoing::PresenceDiff(&online, &diff)),
        [
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"ann\"]}]}"}"#
        ]
    );
    assert!(written(&Outgoing::PresenceDiff(&online, &PresenceDiff::default())).is_empty());
    let count = message(starling_core::ChannelName::headcount(&channel("news")), "count", json("3"));
    assert_eq!(
        written(&Outgoing::Message(&count)),
        [r#"{"event":"pusher_internal:subscription_count","data":"{\"subscription_count\":3}","channel":"news"}"#]
    );
}
