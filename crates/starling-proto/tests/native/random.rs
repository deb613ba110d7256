//! Random input: nothing panics, and both encodings say the same.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;
use starling_core::{Outgoing, Payload};
use starling_proto::native::{Encoding, NativeSession, msgpack as codec};
use starling_proto::{Packet, Session};

use crate::{json_payload, message, msgpack};

/// Any JSON value whose numbers both encodings hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Value::from(String::from_utf8_lossy(&bytes))),
    ];
    leaf.prop_recursive(6, 64, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..20).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text that looks like a client message.
fn nearly_json() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\"",
            "\\",
            "1",
            "-",
            "1.5e3",
            "null",
            "true",
            "\"type\":",
            "\"id\":",
            "\"publish\"",
            "\"subscribe\"",
            "\"channel\":\"a\"",
            "\"payload\":",
            "\"recover\":",
            "\"\\u00",
            "\u{1}",
        ])
        .prop_map(str::to_owned),
        ".".prop_map(|character| character),
    ];
    vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// The payload of a MessagePack message, cut out of it.
fn payload_of(packet: &[u8]) -> &[u8] {
    let rest = packet.strip_prefix(b"\x86\xa4type\xa7message\xa7channel\xa6room:1\xa5event\xa7message\xa7payload");
    rest.and_then(|rest| rest.strip_suffix(b"\xa2id\xa2m1\xa2ts\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x00"))
        .expect("a message")
}

fn receive(encoding: Encoding, packet: Packet<'_>) {
    let (mut session, mut out) = (NativeSession::new(encoding), Vec::new());
    session.receive(packet, &mut out);
    assert!((1..=2).contains(&out.len()) || out.is_empty());
    session.refuse(packet, &starling_core::Refusal::custom("X", ""), &mut out);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_survives_msgpack(value in value()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let packet = codec::encode(&Outgoing::Message(&message(json_payload(&text))));
            let Ok(Payload::Json(json)) = msgpack::payload(payload_of(packet.bytes())) else { panic!("{text}") };
            // Parsed on both sides, because serde_json's reading of floats is off by a bit at times.
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            prop_assert_eq!(parse(json.as_str()), parse(&text));
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), nearly in nearly_json(), json in value()) {
        for text in [text, nearly, json.to_string()] {
            receive(Encoding::Json, Packet::Text(&text));
            receive(Encoding::Msgpack, Packet::Text(&text));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200), json in value(), at in any::<prop::sample::Index>(), to: u8) {
        receive(Encoding::Msgpack, Packet::Binary(&bytes));
        receive(Encoding::Msgpack, Packet::Binary(&msgpack::publish(&bytes)));
        receive(Encoding::Json, Packet::Binary(&bytes));
        // A good message with one wrong byte, or cut short.
        let packet = codec::encode(&Outgoing::Message(&message(json_payload(&json.to_string()))));
        let mut bytes = msgpack::publish(payload_of(packet.bytes()));
        let index = at.index(bytes.len());
        receive(Encoding::Msgpack, Packet::Binary(&bytes[..index]));
        bytes[index] = to;
        receive(Encoding::Msgpack, Packet::Binary(&bytes));
    }
}
