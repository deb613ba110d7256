//! What members of a channel get alike.

use std::sync::Arc;

use starling_core::{
    AppId, ChannelName, ConnectionId, Epoch, Message, MessageId, Outgoing, Payload, Position, PresenceDiff,
    PresenceEntry, RawJson, UserId,
};
use starling_proto::{OwnedPacket, encode, voices};

fn message(channel: &str, payload: Payload) -> Message {
    Message {
        app: AppId::from("1"),
        channel: ChannelName::parse(channel).unwrap(),
        id: MessageId::from("m1"),
        event: Arc::from("move"),
        payload,
        user: None,
        ts: 5,
        position: None,
        key: None,
        exclude: None,
    }
}

fn json(text: &str) -> Payload {
    Payload::Json(RawJson::parse(text).unwrap())
}

fn written(outgoing: &Outgoing<'_>) -> Vec<String> {
    let mut out = Vec::new();
    encode(voices::SOCKETIO, outgoing, &mut out);
    out.iter()
        .map(|packet| match packet {
            OwnedPacket::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            OwnedPacket::Binary(bytes) => format!("<{}>", bytes.escape_ascii()),
        })
        .collect()
}

#[test]
fn messages_are_events_with_their_circumstances() {
    let plain = message("room", json("1.50"));
    assert_eq!(written(&Outgoing::Message(&plain)), [r#"42["move",1.50,{"channel":"room","id":"m1","ts":5}]"#]);
    let logged = Message {
        user: Some(UserId::from("u")),
        position: Some(Position { epoch: Epoch::from("e"), offset: 7 }),
        ..message("/chat#a#b", json(r#"{"x":[]}"#))
    };
    assert_eq!(
        written(&Outgoing::Message(&logged)),
        [r#"42/chat,["move",{"x":[]},{"channel":"a#b","id":"m1","ts":5,"userId":"u","offset":7},"e:7"]"#]
    );
}

#[test]
fn bytes_are_attachments() {
    let binary = message("/chat#r", Payload::Binary((&b"\x01\xff"[..]).into()));
    assert_eq!(
        written(&Outgoing::Message(&binary)),
        [r#"451-/chat,["move",{"_placeholder":true,"num":0},{"channel":"r","id":"m1","ts":5}]"#, r"<\x01\xff>"]
    );
    let inside =
        message("r", json(r#"{"a":{"_placeholder":true,"data":"AQ=="},"b":[{"_placeholder":true,"data":"Ag=="}]}"#));
    assert_eq!(
        written(&Outgoing::Message(&inside)),
        [
            r#"452-["move",{"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":1}]},{"channel":"r","id":"m1","ts":5}]"#,
            r"<\x01>",
            r"<\x02>"
        ]
    );
}

#[test]
fn no_message_can_make_a_client_close() {
    // The official clients close when one of their own events comes from outside, or an attachment that is not there is
    // mentioned.
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        let reserved = Message { event: Arc::from(name), ..message("r", json("1")) };
        let expected = format!(r#"42["message",1,{{"channel":"r","id":"m1","ts":5,"event":"{name}"}}]"#);
        assert_eq!(written(&Outgoing::Message(&reserved)), [expected]);
    }
    let mention = message("r", json(r#"[{"_placeholder":true,"num":9},{"_placeholder":true,"data":"AQ=="}]"#));
    assert!(written(&Outgoing::Message(&mention))[0].starts_with(r#"42["move",[{"_placeholder":true,"num":9}"#));
}

#[test]
fn a_list_of_arguments_is_one_payload_of_a_message() {
    let list = message("r", starling_proto::socketio::arguments::list(["1", "2"]));
    assert_eq!(written(&Outgoing::Message(&list)), [r#"42["move",[1,2],{"channel":"r","id":"m1","ts":5}]"#]);
}

#[test]
fn presence_differences() {
    let entry = |user: Option<&str>| PresenceEntry {
        user: user.map(UserId::from),
        connection: ConnectionId::from("c1"),
        data: RawJson::empty_object(),
        revision: 0,
    };
    let diff = PresenceDiff { joins: vec![entry(Some("u")), entry(None)], leaves: vec![], ..PresenceDiff::default() };
    let channel = ChannelName::parse("/chat#r").unwrap();
    assert_eq!(
        written(&Outgoing::PresenceDiff(&channel, &diff)),
        [concat!(
            r#"42/chat,["presence_diff",{"channel":"r","joins":[{"userId":"u","connectionId":"c1","data":{}},"#,
            r#"{"userId":null,"connectionId":"c1","data":{}}],"leaves":[]}]"#
        )]
    );
}
