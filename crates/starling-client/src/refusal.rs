//! What an HTTP answer means that is no acceptance.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Blame, ConnectError, Failure};

/// The refusal that an answer with this status is. `body` is what there is of its body.
///
/// An error object of Starling comes from the server itself, and so does the word when to come back. Everything else may
/// come from anything on the way.
pub(crate) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body);
    let said = said(&text);
    let is_word = said.is_some() || (matches!(status, 429 | 503) && retry_after.is_some());
    let message = match said {
        Some((code, message)) => format!("{code}: {message}"),
        None => text.lines().next().unwrap_or_default().chars().take(200).collect(),
    };
    let blame = if is_word { Blame::Elsewhere } else { Blame::Path };
    Failure { error: ConnectError::Status { status, retry_after, message }.into(), blame }
}

/// Code and message of `{"error":{"code","message"}}`, or of an `error` message.
pub(crate) fn said(text: &str) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let error = match value.get("error") {
        Some(error) => error,
        None if value.get("type").and_then(Value::as_str) == Some("error") => &value,
        None => return None,
    };
    let field = |name| error.get(name).and_then(Value::as_str).map(str::to_owned);
    Some((field("code")?, field("message")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_told_by_the_words() {
        let soon = Some(Duration::from_secs(1));
        for (status, retry_after, body, message, blame) in [
            (403, None, r#"{"error":{"code":"FORBIDDEN","message":"no"}}"#, "FORBIDDEN: no", Blame::Elsewhere),
            (
                401,
                None,
                r#"{"type":"error","code":"TOKEN_INVALID","message":"no"}"#,
                "TOKEN_INVALID: no",
                Blame::Elsewhere,
            ),
            (503, soon, "full", "full", Blame::Elsewhere),
            (503, None, "<html>\nbad gateway", "<html>", Blame::Path),
            (403, soon, "no", "no", Blame::Path),
            (404, None, r#"{"error":"not found"}"#, r#"{"error":"not found"}"#, Blame::Path),
            (400, None, "", "", Blame::Path),
        ] {
            let failure = refusal(status, retry_after, body.as_bytes());
            assert_eq!(failure.blame, blame, "{body}");
            let crate::Error::Connect(ConnectError::Status { message: given, .. }) = failure.error else {
                panic!("a status")
            };
            assert_eq!(given, message);
        }
    }
}
