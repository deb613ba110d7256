//! What all members of a topic get alike, in each serializer.

use starling_core::{Epoch, Outgoing, Payload, Position};
use starling_proto::phoenix::{Serializer, encode};

use crate::{json, message, written};

fn encoded(serializer: Serializer, message: &starling_core::Message) -> String {
    let mut out = Vec::new();
    encode(serializer, &Outgoing::Message(message), &mut out);
    assert_eq!(out.len(), 1);
    written(&out[0])
}

#[test]
fn a_broadcast_has_no_references() {
    let mut message = message("room:a", "shout", json(r#"{"x":12345678901234567890.0}"#));
    message.position = Some(Position { epoch: Epoch::from("e"), offset: 7 });
    for (serializer, expected) in [
        (Serializer::V2, r#"[null,null,"room:a","shout",{"x":12345678901234567890.0}]"#),
        (Serializer::V2Text, r#"[null,null,"room:a","shout",{"x":12345678901234567890.0}]"#),
        (Serializer::V1, r#"{"topic":"room:a","event":"shout","ref":null,"payload":{"x":12345678901234567890.0}}"#),
        (
            Serializer::V2Meta,
            concat!(
                r#"[null,null,"room:a","shout",{"x":12345678901234567890.0},"#,
                r#"{"id":"m1","ts":1700000000000,"userId":"bob","offset":7,"epoch":"e"}]"#
            ),
        ),
    ] {
        assert_eq!(encoded(serializer, &message), expected, "{serializer:?}");
    }
}

#[test]
fn bytes_are_binary_where_the_serializer_has_it() {
    let message = message("room:a", "bin", Payload::Binary((&b"\x01\x02"[..]).into()));
    for (serializer, expected) in [
        (Serializer::V2, "bin 020603726f6f6d3a6162696e0102"),
        (Serializer::V2Text, r#"[null,null,"room:a","bin",{"data":"AQI=","encoding":"base64"}]"#),
        (
            Serializer::V1,
            r#"{"topic":"room:a","event":"bin","ref":null,"payload":{"data":"AQI=","encoding":"base64"}}"#,
        ),
    ] {
        assert_eq!(encoded(serializer, &message), expected, "{serializer:?}");
    }
}

#[test]
fn an_event_too_long_for_a_binary_header_travels_as_text() {
    let bytes = Payload::Binary((&b"\x01"[..]).into());
    let fits = message("a", &"e".repeat(255), bytes.clone());
    assert!(encoded(Serializer::V2, &fits).starts_with("bin 0201ff61"));
    let too_long = message("a", &"e".repeat(256), bytes);
    assert!(encoded(Serializer::V2, &too_long).ends_with(r#"{"data":"AQ==","encoding":"base64"}]"#));
}

#[test]
fn nobody_can_publish_what_clients_take_for_the_protocols_own() {
    for event in ["phx_close", "phx_error", "phx_reply", "presence_state", "presence_diff"] {
        let written = encoded(Serializer::V2, &message("room:a", event, json("{}")));
        assert_eq!(written, format!(r#"[null,null,"room:a","event:{event}",{{}}]"#));
    }
}
