//! What the answer to a posted message means.

use std::io;

use serde::Deserialize;

use super::ReadError;
use super::order::Sent;
use super::requests::Answer;
use crate::error::ConnectError;
use crate::refusal::said;

/// The words of an answer that matter here.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    id: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    channel: Option<String>,
}

/// The message that answers what was sent; `None` where nobody waits for one.
///
/// # Errors
///
/// Why the session cannot go on.
pub(super) fn read(sent: &Sent, answer: &Answer) -> Result<Option<String>, ReadError> {
    // Whoever is not let in any more is not let in for the next message either.
    if answer.status == 401 {
        return Err(ReadError::Http(answer.refusal()));
    }
    let Ok(text) = std::str::from_utf8(&answer.body) else { return Err(unintelligible()) };
    match serde_json::from_str::<Said>(text) {
        Ok(said) if is_about_session(sent, &said) => Err(gone()),
        // The server did not read what was posted, and does not know its id.
        Ok(Said { kind, id: None, code: Some(code), message, .. }) if kind == "error" && sent.id.is_some() => {
            Ok(error(sent, &code, &message.unwrap_or_default()))
        }
        // Nobody asked for it.
        Ok(said) if sent.id.is_none() && said.kind == "ack" => Ok(None),
        Ok(_) => Ok(Some(text.to_owned())),
        Err(_) => without_message(sent, answer, text),
    }
}

/// Whether the server does not know the session any more. Refusals of what concerns a channel name it; where one does
/// not, these codes are about the session.
fn is_about_session(sent: &Sent, said: &Said) -> bool {
    let is_refusal = said.kind == "error" && matches!(said.code.as_deref(), Some("FORBIDDEN" | "INTERNAL"));
    is_refusal && said.channel.is_none() && sent.channel.is_some() && sent.kind != "event"
}

/// The meaning of an answer that is no message.
fn without_message(sent: &Sent, answer: &Answer, text: &str) -> Result<Option<String>, ReadError> {
    let (code, message) = match (answer.status, said(text)) {
        (200..300, _) => return Err(unintelligible()),
        // What the node says that was to carry the message to the session's node.
        (403, Some(_)) => return Err(gone()),
        // What was posted is at fault, and would be again.
        (400, Some((code, message))) => (code, message),
        (413, said) => said.unwrap_or_else(|| ("PAYLOAD_TOO_LARGE".into(), "HTTP 413".into())),
        _ => return Err(ReadError::Http(answer.refusal())),
    };
    Ok(error(sent, &code, &message))
}

/// The error that answers what was sent, if it waits for an answer.
fn error(sent: &Sent, code: &str, message: &str) -> Option<String> {
    let id = sent.id.as_ref()?;
    Some(serde_json::json!({ "type": "error", "id": id, "code": code, "message": message }).to_string())
}

fn unintelligible() -> ReadError {
    ReadError::Http(ConnectError::Protocol("the answer to a message is none".into()).into())
}

fn gone() -> ReadError {
    ReadError::Io(io::Error::other("the server does not know the session any more"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::error::Error;

    const PUBLISH: &[u8] = br#"{"type":"publish","id":7,"channel":"a","payload":1}"#;

    fn answer(sent: &[u8], status: u16, body: &'static str) -> Result<Option<String>, ReadError> {
        read(&Sent::read(sent), &Answer { status, retry_after: None, body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn messages_are_passed_on() {
        for (status, body) in [
            (200, r#"{"type":"ack","id":7}"#),
            (403, r#"{"type":"error","id":7,"code":"FORBIDDEN","message":"no","channel":"a"}"#),
            (503, r#"{"type":"error","id":7,"code":"ENGINE_UNAVAILABLE","message":"no"}"#),
            (429, r#"{"type":"error","id":7,"code":"RATE_LIMITED","message":"no"}"#),
        ] {
            assert_eq!(answer(PUBLISH, status, body).unwrap().as_deref(), Some(body));
        }
        let reply = br#"{"type":"reply","ack":3,"payload":1}"#;
        assert_eq!(answer(reply, 200, r#"{"type":"ack"}"#).unwrap(), None);
        assert!(answer(reply, 400, r#"{"type":"error","code":"INVALID_MESSAGE","message":"no"}"#).unwrap().is_some());
    }

    #[test]
    fn what_is_too_large_for_the_way_is_refused_to_who_asked() {
        for (body, code) in [
            ("<html>", "PAYLOAD_TOO_LARGE"),
            (r#"{"error":{"code":"PAYLOAD_TOO_LARGE","message":"more than 64 KiB"}}"#, "PAYLOAD_TOO_LARGE"),
            (r#"{"type":"error","code":"PAYLOAD_TOO_LARGE","message":"more than 64 KiB"}"#, "PAYLOAD_TOO_LARGE"),
        ] {
            let text = answer(PUBLISH, 413, body).unwrap().unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((value["id"].as_u64(), value["code"].as_str()), (Some(7), Some(code)));
        }
    }

    #[test]
    fn the_session_ends_with_what_is_about_it() {
        let gone = r#"{"type":"error","id":7,"code":"FORBIDDEN","message":"there is no such session"}"#;
        assert!(matches!(answer(PUBLISH, 403, gone), Err(ReadError::Io(_))));
        let relayed = r#"{"error":{"code":"FORBIDDEN","message":"there is no such session"}}"#;
        assert!(matches!(answer(PUBLISH, 403, relayed), Err(ReadError::Io(_))));
        for (status, body) in [(401, "{}"), (502, "<html>"), (404, ""), (200, "garbage"), (200, "[1]")] {
            let Err(ReadError::Http(failure)) = answer(PUBLISH, status, body) else { panic!("{status} {body}") };
            assert!(matches!(failure.error, Error::Connect(_)), "{status} {body}");
        }
    }
}
