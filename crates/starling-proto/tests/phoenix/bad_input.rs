//! What is not a message, or not one that can be carried out.

use starling_core::{ErrorCode, Refusal};
use starling_proto::phoenix::{MAX_DEPTH, Serializer};
use starling_proto::{Packet, Session};

use crate::{Talk, written};

#[test]
fn what_is_no_message_closes_as_a_crash_does() {
    let crash = ["close 1011"];
    for text in [
        "",
        "hello",
        "5",
        "null",
        "{}",
        "[]",
        r#"["1","1","a","b"]"#,
        r#"["1","1","a","phx_join",{}"#,
        r#"[1,,"a","b",{}]"#,
        r#"{"topic":"a","event":"phx_join","payload":{},"ref":"1"}"#,
    ] {
        assert_eq!(Talk::new(Serializer::V2).hears_text(text), crash, "{text}");
    }
    for text in ["[]", "{}", r#"{"topic":"a","event":"phx_join","payload":{}}"#, r#"["1","1","a","phx_join",{}]"#] {
        assert_eq!(Talk::new(Serializer::V1).hears_text(text), crash, "{text}");
    }
}

#[test]
fn binary_headers_that_lie_close() {
    for bytes in [
        &b""[..],
        b"\x00",
        b"\x00\x01\x01\x01",
        b"\x00\x01\x01\x01\x01",
        b"\x00\x01\x01\x01\x01abc",
        b"\x00\xff\xff\xff\xffabcd",
        b"\x01\x00\x00\x01\x01ab",
        b"\x02\x01\x01ab",
        b"\x00\x00\x00\x01\x01\xff\xfe",
    ] {
        assert_eq!(Talk::new(Serializer::V2).hears(Packet::Binary(bytes)), ["close 1011"], "{}", bytes.escape_ascii());
    }
    assert_eq!(Talk::new(Serializer::V1).hears(Packet::Binary(b"\xff")), ["close 1011"]);
}

#[test]
fn fields_of_the_wrong_kind_are_answered() {
    let deep = format!(r#"["1","1","room:a","e",{}{}]"#, "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    let huge = format!(r#"["1","{}","room:a","e",{{}}]"#, "x".repeat(256));
    for (text, start) in [
        (r#"["1",{},"room:a","phx_join",{}]"#, r#"send ["1",null,"room:a","phx_reply",{"#),
        (r#"[["1"],"1","room:a","phx_join",{}]"#, r#"send [null,"1","room:a","phx_reply",{"#),
        (r#"["1","1",5,"phx_join",{}]"#, r#"send ["1","1","phoenix","phx_reply",{"#),
        (r#"["1","1","room:a",null,{}]"#, r#"send ["1","1","room:a","phx_reply",{"#),
        (r#"["1","1","room:a","\ud800",{}]"#, r#"send ["1","1","room:a","phx_reply",{"#),
        (r#"["1","1","","phx_join",{}]"#, r#"send ["1","1","","phx_reply",{"#),
        (r##"["1","1","#a","phx_join",{}]"##, r##"send ["1","1","#a","phx_reply",{"##),
        (r#"["1","1","room:a","phx_join",{"rewind":-1}]"#, r#"send ["1","1","room:a","phx_reply",{"#),
        (&huge, r#"send ["1",null,"room:a","phx_reply",{"#),
        (&deep, r#"send ["1","1","room:a","phx_reply",{"#),
    ] {
        let said = Talk::new(Serializer::V2).hears_text(text);
        assert!(said.len() == 1 && said[0].starts_with(start), "{text}: {said:?}");
        assert!(said[0].ends_with(r#","status":"error"}]"#), "{said:?}");
    }
}

#[test]
fn references_are_strings_or_numbers_or_nothing() {
    for reference in ["null", "5", "-1.5e3", r#""""#, r#""\u0031""#, &format!(r#""{}""#, "x".repeat(255))] {
        let said = Talk::new(Serializer::V2).hears_text(&format!(r#"[null,{reference},"phoenix","heartbeat",{{}}]"#));
        assert_eq!(
            said,
            [format!(r#"send [null,{reference},"phoenix","phx_reply",{{"response":{{}},"status":"ok"}}]"#)]
        );
    }
}

#[test]
fn events_of_the_protocol_cannot_be_pushed() {
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    for event in ["phx_close", "phx_error", "phx_reply", "", "a\\nb", &"e".repeat(256)] {
        let said = talk.hears_text(&format!(r#"["1","2","room:a","{event}",{{}}]"#));
        assert!(said.len() == 1 && said[0].contains("INVALID_MESSAGE"), "{event}: {said:?}");
    }
}

#[test]
fn what_is_refused_for_coming_too_fast_is_answered() {
    let mut talk = Talk::new(Serializer::V2);
    let refusal = Refusal::new(ErrorCode::RateLimited, "slow down");
    let mut refused = |packet| {
        let mut out = Vec::new();
        talk.session.refuse(packet, &refusal, &mut out);
        match out.pop() {
            Some(starling_proto::Action::Send(packet)) => written(&packet),
            other => panic!("{other:?}"),
        }
    };
    let response = r#"{"response":{"reason":"slow down","code":"RATE_LIMITED"},"status":"error"}"#;
    assert_eq!(
        refused(Packet::Text(r#"["1","2","room:a","e",{}]"#)),
        format!(r#"["1","2","room:a","phx_reply",{response}]"#)
    );
    assert_eq!(refused(Packet::Text("hello")), format!(r#"[null,null,"phoenix","phx_reply",{response}]"#));
}
