//! MessagePack, byte by byte. That it says the same as JSON is shown in `random` and `server_messages`.

use starling_core::{Outgoing, Payload, Request};
use starling_proto::native::{Command, msgpack};

use crate::{json_payload, message, understood_msgpack};

/// `{"type":"publish","channel":"a","payload":…}`
pub fn publish(payload: &[u8]) -> Vec<u8> {
    [b"\x83\xa4type\xa7publish\xa7channel\xa1a\xa7payload", payload].concat()
}

/// What a payload is understood as.
pub fn payload(bytes: &[u8]) -> Result<Payload, String> {
    match msgpack::parse(&publish(bytes)).map(|interpreted| interpreted.outcome) {
        Ok(Ok(Command::Request(Request::Publish(publish)))) => Ok(publish.payload),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn messages_are_understood() {
    for (bytes, expected) in [
        (&b"\x81\xa4type\xa4ping"[..], "Ping"),
        // A map of 16 bits, strings of 8 and 16 bits, an unknown field with a deep value.
        (b"\xde\x00\x02\xd9\x04type\xda\x00\x04ping\xa1x\x91\x91\x91\xc0", "Ping"),
        (
            b"\x83\xa4type\xa9subscribe\xa7channel\xa1a\xa7recover\x82\xa5epoch\xa1e\xa6offset\xd0\x05",
            r#"Subscribe(Subscribe { channel: "a", start: Recover(Position { epoch: "e", offset: 5 }), presence: false, enter: None, more: None })"#,
        ),
        (
            b"\x84\xa4type\xa9subscribe\xa7channel\xa1a\xa8presence\xc3\xa4data\x81\xa1x\xff",
            r#"Subscribe(Subscribe { channel: "a", start: Live, presence: true, enter: Some({"x":-1}), more: None })"#,
        ),
        (b"\x82\xa4type\xa4auth\xa5token\xc0", "Authenticate { token: None }"),
        (b"\x80", "MISSING_TYPE: a message has a `type`"),
        (b"\x81\xa4type\x01", "INVALID_MESSAGE: `type` must be a string"),
        (b"\x81\xa4type\xa2\xff\xff", "INVALID_MESSAGE: `type` must be a string"),
        (b"\x82\xa4type\xa4ping\xa4type\xa4ping", "INVALID_MESSAGE: `type` stands there twice"),
        (
            b"\x83\xa4type\xa7history\xa7channel\xa1a\xa5limit\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
            "INVALID_MESSAGE: `limit` must be a whole number from 0",
        ),
        (
            b"\x83\xa4type\xa7history\xa7channel\xa1a\xa5limit\xff",
            "INVALID_MESSAGE: `limit` must be a whole number from 0",
        ),
        (b"\x83\xa4type\xa9subscribe\xa7channel\xa1a\xa4data\x90", "INVALID_MESSAGE: `data` must be an object"),
        (
            b"\x83\xa4type\xa9subscribe\xa7channel\xa1a\xa7recover\x81\x01\x01",
            "INVALID_MESSAGE: `recover` must be an object",
        ),
        (b"\x90", "malformed: a message is an object"),
        (b"\x81\x01\x01", "malformed: a message is an object"),
        (b"\x01", "malformed: a message is an object"),
        (b"", "malformed: not one well-formed value"),
        (b"\xc1", "malformed: not one well-formed value"),
        (b"\x80\x80", "malformed: not one well-formed value"),
        (b"\x81\xa4type", "malformed: not one well-formed value"),
        (b"\x81\xa4type\xa4pin", "malformed: not one well-formed value"),
        (b"\xdf\xff\xff\xff\xff\xa1a\x01", "malformed: not one well-formed value"),
        (b"\xdd\xff\xff\xff\xff\x01", "malformed: not one well-formed value"),
        (b"\xc6\xff\xff\xff\xff\x01", "malformed: not one well-formed value"),
        (b"\xc9\xff\xff\xff\xff\x01", "malformed: not one well-formed value"),
    ] {
        assert_eq!(understood_msgpack(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn ids_are_kept_as_they_were_written() {
    for id in [&b"\x07"[..], b"\xd1\xff\xff", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xa2ab", b"\xd9\x02ab"] {
        let bytes = [b"\x82\xa2id", id, b"\xa4type\xa4ping"].concat();
        let interpreted = msgpack::parse(&bytes).unwrap();
        assert!(interpreted.outcome.is_ok());
        assert_eq!(interpreted.tag.0, id);
    }
    let too_long = [&b"\xda\x01\x01"[..], &[b'x'; 257]].concat();
    for id in [&b"\xc0"[..], b"\xc3", b"\x90", b"\x80", b"\xc4\x01a", b"\xa1\xff", &too_long] {
        let bytes = [b"\x82\xa2id", id, b"\xa4type\xa4ping"].concat();
        let interpreted = msgpack::parse(&bytes).unwrap();
        assert!(interpreted.outcome.unwrap_err().to_string().starts_with("INVALID_MESSAGE: `id`"));
        assert!(interpreted.tag.0.is_empty());
    }
}

#[test]
fn payloads_become_json() {
    for (bytes, json) in [
        (&b"\xc0"[..], "null"),
        (b"\xc2", "false"),
        (b"\x7f", "127"),
        (b"\xe0", "-32"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
        (b"\xca\x3f\xc0\x00\x00", "1.5"),
        (b"\xa3a\"\n", r#""a\"\n""#),
        (b"\x93\x01\xa0\x90", r#"[1,"",[]]"#),
        (b"\x82\xa1b\x01\xa1a\x81\xa0\xc3", r#"{"b":1,"a":{"":true}}"#),
    ] {
        assert_eq!(payload(bytes), Ok(json_payload(json)), "{}", bytes.escape_ascii());
    }
    assert_eq!(payload(b"\xc4\x02\x00\xff"), Ok(Payload::Binary(b"\x00\xff"[..].into())));
    assert_eq!(payload(b"\xc4\x00"), Ok(Payload::Binary(b""[..].into())));
}

#[test]
fn payloads_that_json_cannot_say_are_refused() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    assert!(payload(&nested(128)).is_ok());
    for (bytes, why) in [
        (&b"\x91\xc4\x01a"[..], "holds bytes inside of a structure"),
        (b"\xd4\xff\x00", "holds an extension type"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "holds a number that is not finite"),
        (b"\xca\xff\x80\x00\x00", "holds a number that is not finite"),
        (b"\x81\x01\x01", "holds a map key that is not a string"),
        (b"\x91\xa1\xff", "holds a string that is not UTF-8"),
        (b"\x81\xa1\xff\x01", "holds a string that is not UTF-8"),
        (&nested(129), "is nested too deeply"),
        (&nested(1_000_000), "is nested too deeply"),
    ] {
        assert_eq!(payload(bytes), Err(format!("INVALID_MESSAGE: `payload` {why}")));
    }
}

#[test]
fn json_payloads_become_msgpack() {
    let sixteen = format!("[{}]", ["1"; 16].join(" , "));
    let members = format!("{{{}}}", (0..16).map(|n| format!("\"{n:x}\":[]")).collect::<Vec<_>>().join(","));
    let sixteen_members: Vec<u8> = (0..16).flat_map(|n| [0xa1, format!("{n:x}").as_bytes()[0], 0x90]).collect();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let deep_msgpack = [vec![0x91; 99_999], vec![0x90]].concat();
    for (json, expected) in [
        ("null", &b"\xc0"[..]),
        ("true", b"\xc3"),
        ("0", b"\x00"),
        ("127", b"\x7f"),
        ("128", b"\xcc\x80"),
        ("-1", b"\xff"),
        ("-33", b"\xd0\xdf"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        // What 64 bits do not hold, and what is not written as an integer, is a float.
        ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
        ("-9223372036854775809", b"\xcb\xc3\xe0\x00\x00\x00\x00\x00\x00"),
        ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("1e0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("-0", b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("1e999", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"),
        (r#""""#, b"\xa0"),
        (r#""a\"\\\/\n\r\t\b\f\u00e9""#, b"\xaba\"\\/\n\r\t\x08\x0c\xc3\xa9"),
        (r#""\ud83d\ude00""#, b"\xa4\xf0\x9f\x98\x80"),
        (r#""\ud83d\ud83d\ude00\ude00x""#, b"\xab\xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbdx"),
        ("[]", b"\x90"),
        ("[ ]", b"\x90"),
        ("{}", b"\x80"),
        (r#"[[],{},[1],"",null]"#, b"\x95\x90\x80\x91\x01\xa0\xc0"),
        ("{ \"b\" : [ 1 , { } ] ,\n\"a,:]\" : \"\\\"}\" }", b"\x82\xa1b\x92\x01\x80\xa4a,:]\xa2\"}"),
        (&sixteen, &[&b"\xdc\x00\x10"[..], &[1; 16]].concat()),
        (&members, &[&b"\xde\x00\x10"[..], &sixteen_members].concat()),
        (&deep, &deep_msgpack),
    ] {
        let packet = msgpack::encode(&Outgoing::Message(&message(json_payload(json))));
        let bytes = packet.bytes();
        let start = b"\x86\xa4type\xa7message\xa7channel\xa6room:1\xa5event\xa7message\xa7payload";
        let end = b"\xa2id\xa2m1\xa2ts\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x00";
        let payload = bytes.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        let shown = &json[..json.len().min(80)];
        assert_eq!(
            payload.map(|payload| payload == expected),
            Some(true),
            "{shown}: {}",
            bytes[..bytes.len().min(200)].escape_ascii()
        );
    }
}

#[test]
fn binary_payloads_are_bin() {
    let packet = msgpack::encode(&Outgoing::Message(&message(Payload::Binary(b"\x00\xff"[..].into()))));
    assert_eq!(
        &packet.bytes()[..],
        b"\x86\xa4type\xa7message\xa7channel\xa6room:1\xa5event\xa7message\xa7payload\xc4\x02\x00\xff\xa2id\xa2m1\xa2ts\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x00"
    );
}
