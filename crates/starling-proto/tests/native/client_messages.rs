//! Client messages in JSON: what each is understood as, and what is refused.

use starling_core::{Payload, Request};
use starling_proto::native::{Command, json};

use crate::understood;

/// One row for each message of the contract's table, and one for each of its optional fields.
#[test]
fn messages_are_understood() {
    for (text, expected) in [
        (r#"{"type":"ping"}"#, "Ping"),
        (r#" { "type" : "ping" } "#, "Ping"),
        (r#"{"type":"auth","token":"abc"}"#, r#"Authenticate { token: Some("abc") }"#),
        (r#"{"type":"auth"}"#, "Authenticate { token: None }"),
        (r#"{"type":"auth","token":null}"#, "Authenticate { token: None }"),
        (
            r#"{"type":"subscribe","channel":"room:1"}"#,
            r#"Subscribe(Subscribe { channel: "room:1", start: Live, presence: false, enter: None, more: None })"#,
        ),
        (
            r#"{"type":"subscribe","channel":"a","recover":{"epoch":"e","offset":18446744073709551615}}"#,
            r#"Subscribe(Subscribe { channel: "a", start: Recover(Position { epoch: "e", offset: 18446744073709551615 }), presence: false, enter: None, more: None })"#,
        ),
        (
            r#"{"type":"subscribe","channel":"a","rewind":4294967295,"presence":true,"data":{"b":1,"a":1.10}}"#,
            r#"Subscribe(Subscribe { channel: "a", start: Rewind(4294967295), presence: true, enter: Some({"b":1,"a":1.10}), more: None })"#,
        ),
        (
            r#"{"type":"subscribe","channel":"a","rewind":0,"recover":null,"data":null,"presence":null}"#,
            r#"Subscribe(Subscribe { channel: "a", start: Live, presence: false, enter: None, more: None })"#,
        ),
        (
            r#"{"type":"subscribe","channel":"a","rewind":5,"recover":{"epoch":"e","offset":0}}"#,
            r#"Subscribe(Subscribe { channel: "a", start: RecoverOrRewind(Position { epoch: "e", offset: 0 }, 5), presence: false, enter: None, more: None })"#,
        ),
        (r##"{"type":"unsubscribe","channel":"#user:7"}"##, r##"Unsubscribe { channel: "#user:7" }"##),
        (
            r#"{"type":"publish","channel":"a","payload":null}"#,
            r#"Publish(Publish { channel: "a", event: "message", payload: Json(null), message_id: None, key: None, echo: true, vouched: false })"#,
        ),
        (
            r#"{"type":"publish","channel":"a","event":"e","payload":[1, 2],"messageId":"m","key":"","echo":false}"#,
            r#"Publish(Publish { channel: "a", event: "e", payload: Json([1, 2]), message_id: Some("m"), key: Some(""), echo: false, vouched: false })"#,
        ),
        (
            r#"{"type":"publish","channel":"a","payload":"AAH/","encoding":"base64"}"#,
            r#"Publish(Publish { channel: "a", event: "message", payload: Binary(b"\0\x01\xff"), message_id: None, key: None, echo: true, vouched: false })"#,
        ),
        (
            r#"{"type":"publish","channel":"a","payload":"AA","encoding":"base64"}"#,
            r#"Publish(Publish { channel: "a", event: "message", payload: Binary(b"\0"), message_id: None, key: None, echo: true, vouched: false })"#,
        ),
        (
            r#"{"type":"history","channel":"a"}"#,
            r#"History { channel: "a", range: HistoryRange { limit: 100, before: None, after: None } }"#,
        ),
        (
            r#"{"type":"history","channel":"a","limit":1,"before":9,"after":0}"#,
            r#"History { channel: "a", range: HistoryRange { limit: 1, before: Some(9), after: Some(0) } }"#,
        ),
        (
            r#"{"type":"history","channel":"a","limit":18446744073709551615}"#,
            r#"History { channel: "a", range: HistoryRange { limit: 1000, before: None, after: None } }"#,
        ),
        (r#"{"type":"presence","channel":"a","action":"get"}"#, r#"Presence { channel: "a", action: Get }"#),
        (r#"{"type":"presence","channel":"a","action":"enter"}"#, r#"Presence { channel: "a", action: Enter(None) }"#),
        (
            r#"{"type":"presence","channel":"a","action":"enter","data":{}}"#,
            r#"Presence { channel: "a", action: Enter(Some({})) }"#,
        ),
        (
            r#"{"type":"presence","channel":"a","action":"update","data":{"x":1}}"#,
            r#"Presence { channel: "a", action: Update({"x":1}) }"#,
        ),
        (r#"{"type":"presence","channel":"a","action":"leave"}"#, r#"Presence { channel: "a", action: Leave }"#),
        (
            r#"{"type":"event","event":"chat.send","payload":{}}"#,
            r#"Event { channel: None, event: "chat.send", payload: Json({}), fallback: None }"#,
        ),
        (
            r#"{"type":"event","event":"e","payload":"AA==","encoding":"base64","channel":"a"}"#,
            r#"Event { channel: Some("a"), event: "e", payload: Binary(b"\0"), fallback: None }"#,
        ),
        // Unknown fields are ignored, also when they repeat; escapes are read wherever they stand.
        (r#"{"x":{"type":1},"x":[],"type":"ping"}"#, "Ping"),
        (r#"{"\u0074ype":"p\u0069ng"}"#, "Ping"),
    ] {
        assert_eq!(understood(text), expected, "{text}");
    }
}

#[test]
fn the_wrong_shape_is_refused() {
    let event = |event: &str| format!(r#"{{"type":"event","event":"{event}","payload":1}}"#);
    let publish = |fields: &str| format!(r#"{{"type":"publish","channel":"a",{fields}}}"#);
    let subscribe = |fields: &str| format!(r#"{{"type":"subscribe","channel":"a",{fields}}}"#);
    let history = |fields: &str| format!(r#"{{"type":"history","channel":"a",{fields}}}"#);
    let channel = |channel: &str| format!(r#"{{"type":"unsubscribe","channel":{channel}}}"#);
    let long = "x".repeat(256);
    let deep = "[".repeat(129) + &"]".repeat(129);
    for (text, code) in [
        ("[]".into(), "malformed: a message is an object"),
        ("1".into(), "malformed: a message is an object"),
        ("\"ping\"".into(), "malformed: a message is an object"),
        ("null".into(), "malformed: a message is an object"),
        ("{}".to_owned(), "MISSING_TYPE"),
        (r#"{"Type":"ping"}"#.into(), "MISSING_TYPE"),
        (r#"{"type":null}"#.into(), "INVALID_MESSAGE: `type` must be a string"),
        (r#"{"type":1}"#.into(), "INVALID_MESSAGE: `type` must be a string"),
        (r#"{"type":"\ud800"}"#.into(), "INVALID_MESSAGE: `type` must be a string"),
        (r#"{"type":""}"#.into(), "UNKNOWN_TYPE"),
        (r#"{"type":"PING"}"#.into(), "UNKNOWN_TYPE"),
        (r#"{"type":"message","channel":"a"}"#.into(), "UNKNOWN_TYPE"),
        (r#"{"type":"ping","type":"ping"}"#.into(), "INVALID_MESSAGE: `type` stands there twice"),
        (r#"{"type":"unsubscribe"}"#.into(), "INVALID_MESSAGE: `channel` is missing"),
        (channel("null"), "INVALID_MESSAGE: `channel` is missing"),
        (channel("7"), "INVALID_MESSAGE: `channel` must be a string"),
        (channel("\"\""), "INVALID_CHANNEL: a channel name has 1 to 255 bytes, not 0"),
        (channel(&format!("\"{long}\"")), "INVALID_CHANNEL: a channel name has 1 to 255 bytes, not 256"),
        (channel(r#""a\nb""#), "INVALID_CHANNEL: a channel name has no control characters"),
        (channel("\"#x\""), "INVALID_CHANNEL: channel names that start with '#' are reserved"),
        (r#"{"type":"publish","channel":"a"}"#.into(), "INVALID_MESSAGE: `payload` is missing"),
        (publish(r#""payload":1,"payload":2"#), "INVALID_MESSAGE: `payload` stands there twice"),
        (publish(&format!(r#""payload":{deep}"#)), "INVALID_MESSAGE: `payload` is nested too deeply"),
        (publish(r#""payload":1,"echo":1"#), "INVALID_MESSAGE: `echo` must be true or false"),
        (publish(r#""payload":1,"echo":"false""#), "INVALID_MESSAGE: `echo` must be true or false"),
        (publish(r#""payload":1,"event":1"#), "INVALID_MESSAGE: `event` must be a string"),
        (publish(r#""payload":1,"event":"""#), "INVALID_MESSAGE: `event` is empty or has more than 255 bytes"),
        (publish(r#""payload":1,"messageId":"""#), "INVALID_MESSAGE: `messageId` is empty or has more than 255 bytes"),
        (publish(r#""payload":1,"messageId":1"#), "INVALID_MESSAGE: `messageId` must be a string"),
        (
            publish(&format!(r#""payload":1,"key":"{long}""#)),
            "INVALID_MESSAGE: `key` is empty or has more than 255 bytes",
        ),
        (publish(r#""payload":"*","encoding":"base64""#), "INVALID_MESSAGE: `payload` must be base64"),
        (publish(r#""payload":1,"encoding":"base64""#), "INVALID_MESSAGE: `payload` must be base64"),
        (publish(r#""payload":"","encoding":"hex""#), "INVALID_MESSAGE: `encoding` must be \"base64\""),
        (event(""), "INVALID_MESSAGE: `event` is empty or has more than 255 bytes"),
        (event(r"\u0085"), "INVALID_MESSAGE: `event` has control characters"),
        (r#"{"type":"event","payload":1}"#.into(), "INVALID_MESSAGE: `event` is missing"),
        (r#"{"type":"event","event":"e"}"#.into(), "INVALID_MESSAGE: `payload` is missing"),
        (r#"{"type":"event","event":"e","payload":1,"channel":""}"#.into(), "INVALID_CHANNEL"),
        (subscribe(r#""rewind":4294967296"#), "INVALID_MESSAGE: `rewind` is too large"),
        (subscribe(r#""rewind":-1"#), "INVALID_MESSAGE: `rewind` must be a whole number from 0"),
        (subscribe(r#""rewind":"1""#), "INVALID_MESSAGE: `rewind` must be a whole number from 0"),
        (subscribe(r#""presence":"yes""#), "INVALID_MESSAGE: `presence` must be true or false"),
        (subscribe(r#""data":[]"#), "INVALID_MESSAGE: `data` must be an object"),
        (subscribe(r#""recover":"e:1""#), "INVALID_MESSAGE: `recover` must be an object"),
        (subscribe(r#""recover":{}"#), "INVALID_MESSAGE: `epoch` is missing"),
        (subscribe(r#""recover":{"epoch":"e"}"#), "INVALID_MESSAGE: `offset` is missing"),
        (subscribe(r#""recover":{"epoch":1,"offset":1}"#), "INVALID_MESSAGE: `epoch` must be a string"),
        (subscribe(r#""recover":{"epoch":"","epoch":"","offset":1}"#), "INVALID_MESSAGE: `epoch` stands there twice"),
        (history(r#""limit":0"#), "INVALID_MESSAGE: `limit` must be at least 1"),
        (history(r#""limit":1.0"#), "INVALID_MESSAGE: `limit` must be a whole number from 0"),
        (history(r#""limit":1e2"#), "INVALID_MESSAGE: `limit` must be a whole number from 0"),
        (history(r#""before":-0"#), "INVALID_MESSAGE: `before` must be a whole number from 0"),
        (history(r#""after":18446744073709551616"#), "INVALID_MESSAGE: `after` must be a whole number from 0"),
        (r#"{"type":"presence","channel":"a"}"#.into(), "INVALID_MESSAGE: `action` is missing"),
        (r#"{"type":"presence","channel":"a","action":"join"}"#.into(), "INVALID_MESSAGE: `action` must be get,"),
        (r#"{"type":"presence","channel":"a","action":"update"}"#.into(), "INVALID_MESSAGE: `data` is missing"),
        (r#"{"type":"auth","token":7}"#.into(), "INVALID_MESSAGE: `token` must be a string"),
    ] {
        let understood = understood(&text);
        assert!(understood.starts_with(code), "{text}: {understood}");
    }
}

#[test]
fn text_that_is_not_json_is_malformed() {
    for text in [
        "",
        " ",
        "{",
        "[1",
        "nul",
        r#"{"type":"ping"}{}"#,
        r#"{"type":"ping",}"#,
        r#"{"type":01}"#,
        r#"{"type":"ping","x":[1,]}"#,
        r#"{type:"ping"}"#,
        r#"{"type":'ping'}"#,
        "{\"type\":\"a\nb\"}",
        "\u{feff}{}",
        "\u{c}{}",
    ] {
        assert_eq!(understood(text), "malformed: not one well-formed value", "{text:?}");
    }
}

#[test]
fn names_are_accepted_up_to_their_longest() {
    let longest = "x".repeat(255);
    let text = format!(
        r#"{{"type":"publish","channel":"{longest}","event":"{longest}","messageId":"{longest}","key":"{longest}","payload":1}}"#
    );
    assert!(understood(&text).starts_with("Publish("), "{text}");
}

#[test]
fn ids_are_kept_as_they_were_written() {
    let longest = format!("\"{}\"", "x".repeat(256));
    for id in ["1", "-0", "1.50", "1e400", "12345678901234567890123", "\"\"", r#""a\u0062\"""#, longest.as_str()] {
        let interpreted = json::parse(&format!(r#"{{"id": {id} ,"type":"ping"}}"#)).unwrap();
        assert!(interpreted.outcome.is_ok(), "{id}");
        assert_eq!(interpreted.tag.0, id.as_bytes());
    }
    let too_long = format!("\"{}\"", "x".repeat(257));
    let too_many_digits = "1".repeat(257);
    for id in ["null", "true", "[]", "{}", too_long.as_str(), too_many_digits.as_str()] {
        let interpreted = json::parse(&format!(r#"{{"id":{id},"type":"ping"}}"#)).unwrap();
        assert!(interpreted.outcome.unwrap_err().to_string().starts_with("INVALID_MESSAGE: `id`"), "{id}");
        assert!(interpreted.tag.0.is_empty(), "{id}");
    }
}

#[test]
fn an_error_still_has_the_id() {
    for text in [
        r#"{"type":"nothing","id":7}"#,
        r#"{"id":7}"#,
        r#"{"type":"publish","type":1,"id":7}"#,
        r#"{"type":"ping","id":7,"id":8}"#,
    ] {
        assert_eq!(&json::parse(text).unwrap().tag.0[..], b"7", "{text}");
    }
}

#[test]
fn json_payloads_are_kept_byte_by_byte() {
    let deepest = "[".repeat(128) + &"]".repeat(128);
    // Brackets in strings are no nesting.
    let brackets = format!("[\"{}\\\"{}\"]", "[".repeat(500), "{".repeat(500));
    for payload in [
        "12345678901234567890123",
        "1.10",
        "-0",
        "1E+400",
        r#"{"b":1,"a":2,"b ":3}"#,
        "{ \"a\" :\n1 }",
        r#""\ud800\u0041\/""#,
        deepest.as_str(),
        brackets.as_str(),
    ] {
        let interpreted = json::parse(&format!(r#"{{"type":"publish","channel":"a","payload": {payload} }}"#)).unwrap();
        let Ok(Command::Request(Request::Publish(publish))) = interpreted.outcome else { panic!("{payload}") };
        let Payload::Json(json) = publish.payload else { panic!("{payload}") };
        assert_eq!(json.as_str(), payload);
    }
}

#[test]
fn nesting_does_not_exhaust_the_stack() {
    let open = "[".repeat(1_000_000);
    let nested = format!("{open}{}", "]".repeat(1_000_000));
    assert_eq!(understood(&open), "malformed: not one well-formed value");
    assert_eq!(understood(&nested), "malformed: a message is an object");
    assert_eq!(understood(&format!(r#"{{"type":"ping","x":{nested}}}"#)), "Ping");
    let objects = format!("{}1{}", r#"{"a":"#.repeat(1_000_000), "}".repeat(1_000_000));
    assert_eq!(
        understood(&format!(r#"{{"type":"subscribe","channel":"a","data":{objects}}}"#)),
        "INVALID_MESSAGE: `data` is nested too deeply"
    );
}
