//! Arguments of events and acks, and the bytes among them.
//!
//! A payload is one value. An event of one argument carries it as it is; a *list of arguments* is a JSON array whose text
//! begins with a space: everyone else sees an array, and here it is as many arguments again.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{Payload, RawJson};

/// What bytes inside of JSON begin with; base64 and `"}` follow.
const BYTES_BEGIN: &str = r#"{"_placeholder":true,"data":""#;
const BYTES_END: &str = r#""}"#;
/// What an attachment is mentioned by.
const MARK: &str = r#""_placeholder""#;

/// A list of arguments as a payload: each is JSON text.
pub fn list<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Payload {
    let mut text = String::from(" [");
    for (index, argument) in arguments.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(argument);
    }
    text.push(']');
    Payload::Json(RawJson::from_valid(text))
}

/// The elements of an array, each as it was written; none if the text is no array.
pub(super) fn split(array: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(array).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// An attachment was named that did not come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoSuchAttachment;

/// One argument as a payload.
pub(super) fn payload(argument: &str, attachments: &[Bytes]) -> Result<Payload, NoSuchAttachment> {
    if attachments.is_empty() {
        return Ok(Payload::Json(RawJson::from_valid(argument.to_owned())));
    }
    if argument.starts_with('{')
        && let Some(found) = placeholder(argument, attachments)
    {
        return found.map(|(bytes, _)| Payload::Binary(bytes.clone()));
    }
    Ok(Payload::Json(RawJson::from_valid(with_bytes(argument, attachments)?.into_owned())))
}

/// JSON text in which the bytes stand where attachments are mentioned.
pub(super) fn with_bytes<'a>(json: &'a str, attachments: &[Bytes]) -> Result<Cow<'a, str>, NoSuchAttachment> {
    if attachments.is_empty() {
        return Ok(Cow::Borrowed(json));
    }
    let mut out = String::new();
    let mut copied = 0;
    for at in objects(json) {
        if at < copied {
            continue;
        }
        let Some(found) = placeholder(&json[at..], attachments) else { continue };
        let (bytes, len) = found?;
        out.push_str(&json[copied..at]);
        out.push_str(BYTES_BEGIN);
        STANDARD.encode_string(bytes, &mut out);
        out.push_str(BYTES_END);
        copied = at + len;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(json));
    }
    out.push_str(&json[copied..]);
    Ok(Cow::Owned(out))
}

/// Where objects begin in JSON text.
fn objects(json: &str) -> impl Iterator<Item = usize> {
    let (mut in_string, mut escaped) = (false, false);
    json.bytes().enumerate().filter_map(move |(at, byte)| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => return Some(at),
            _ => {}
        }
        None
    })
}

/// An object with the members of a placeholder.
#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(rename = "_placeholder", borrow, default)]
    mark: Option<&'a RawValue>,
    #[serde(borrow, default)]
    num: Option<&'a RawValue>,
}

/// The attachment that an object at the beginning of the text stands for, and the object's length; none if it stands for
/// itself. As the official parser has it: what is marked is one, whatever else it says, and must have a number.
fn placeholder<'b>(text: &str, attachments: &'b [Bytes]) -> Option<Result<(&'b Bytes, usize), NoSuchAttachment>> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Candidate<'_>>();
    let candidate = objects.next()?.ok().filter(|candidate| candidate.mark.is_some_and(|mark| mark.get() == "true"))?;
    let number = candidate.num.and_then(|number| number.get().parse::<f64>().ok());
    let number = number.filter(|number| number.fract() == 0.0 && *number >= 0.0);
    let attachment = number.and_then(|number| attachments.get(number as usize));
    Some(attachment.map(|bytes| (bytes, objects.byte_offset())).ok_or(NoSuchAttachment))
}

/// A payload as arguments of a packet: their text without brackets, and the bytes that go beside it.
pub(super) enum Written<'a> {
    /// Nothing beside it.
    Text(&'a [u8]),
    /// With attachments, numbered from 0.
    Attached(Vec<u8>, Vec<Bytes>),
}

impl Written<'_> {
    pub fn text(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Attached(text, _) => text,
        }
    }

    pub fn attachments(&self) -> &[Bytes] {
        match self {
            Self::Text(_) => &[],
            Self::Attached(_, attachments) => attachments,
        }
    }
}

/// A payload as it is emitted; `spread`: a list of arguments as that many.
pub(super) fn written(payload: &Payload, spread: bool) -> Written<'_> {
    let json = match payload {
        Payload::Binary(bytes) => {
            return Written::Attached(br#"{"_placeholder":true,"num":0}"#.to_vec(), vec![bytes.clone()]);
        }
        Payload::Json(json) => json.as_str(),
    };
    let json = match json.strip_prefix(' ') {
        Some(list) if spread => list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(list),
        Some(list) => list,
        None => json,
    };
    match attached(json) {
        Some((text, attachments)) => Written::Attached(text, attachments),
        None => Written::Text(json.as_bytes()),
    }
}

/// Takes bytes out of JSON text. None where there are none, or where the text also has what clients would take for the
/// mention of an attachment: then all of it stays text, since a client closes over an attachment that does not come.
fn attached(json: &str) -> Option<(Vec<u8>, Vec<Bytes>)> {
    // Almost no payload has any.
    if !json.contains(BYTES_BEGIN) || hides_letters(json) {
        return None;
    }
    let mut text = Vec::with_capacity(json.len());
    let mut attachments = Vec::new();
    let mut copied = 0;
    for at in objects(json) {
        if at < copied {
            continue;
        }
        let Some(rest) = json[at..].strip_prefix(BYTES_BEGIN) else { continue };
        let (encoded, _) = rest.split_once(BYTES_END)?;
        let bytes = STANDARD.decode(encoded).ok()?;
        text.extend_from_slice(&json.as_bytes()[copied..at]);
        text.extend_from_slice(format!(r#"{{"_placeholder":true,"num":{}}}"#, attachments.len()).as_bytes());
        attachments.push(bytes.into());
        copied = at + BYTES_BEGIN.len() + encoded.len() + BYTES_END.len();
    }
    text.extend_from_slice(&json.as_bytes()[copied..]);
    let mentions = json.matches(MARK).count();
    (!attachments.is_empty() && mentions == attachments.len()).then_some((text, attachments))
}

/// Whether letters, which nobody needs to escape, are written as escapes: a name could be hidden so.
fn hides_letters(json: &str) -> bool {
    json.match_indices(r"\u00").any(|(at, _)| matches!(json.as_bytes().get(at + 4), Some(b'5'..=b'7')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(list: &[&'static [u8]]) -> Vec<Bytes> {
        list.iter().map(|bytes| Bytes::from_static(bytes)).collect()
    }

    #[test]
    fn attachments_come_in_and_go_out() {
        for (argument, inside) in [
            (
                r#"{"a":[{"_placeholder":true,"num":1}],"b":{"_placeholder":true,"num":0}}"#,
                r#"{"a":[{"_placeholder":true,"data":"BAU="}],"b":{"_placeholder":true,"data":"AQID"}}"#,
            ),
            (r#"[{ "num": 0 , "_placeholder": true }]"#, r#"[{"_placeholder":true,"data":"AQID"}]"#),
            (
                r#"{"t":"{\"_placeholder\":true,\"num\":0}","u":"{"}"#,
                r#"{"t":"{\"_placeholder\":true,\"num\":0}","u":"{"}"#,
            ),
            (r#"{"a":{"num":0}}"#, r#"{"a":{"num":0}}"#),
        ] {
            let attachments = bytes(&[&[1, 2, 3], &[4, 5]]);
            assert_eq!(with_bytes(argument, &attachments).as_deref(), Ok(inside));
        }
        let payload = Payload::Json(
            RawJson::parse(r#"{"b":{"_placeholder":true,"data":"AQID"},"c":[{"_placeholder":true,"data":""}]}"#)
                .unwrap(),
        );
        let out = written(&payload, true);
        assert_eq!(out.text(), br#"{"b":{"_placeholder":true,"num":0},"c":[{"_placeholder":true,"num":1}]}"#);
        assert_eq!(out.attachments(), bytes(&[&[1, 2, 3], &[]]));
    }

    #[test]
    fn a_whole_argument_of_bytes_is_a_binary_payload() {
        let one = bytes(&[&[9]]);
        assert_eq!(payload(r#"{"_placeholder":true,"num":0}"#, &one), Ok(Payload::Binary(one[0].clone())));
        assert_eq!(payload(r#"{"_placeholder":true,"num":1}"#, &one), Err(NoSuchAttachment));
        assert_eq!(payload(r#"[{"_placeholder":true,"num":7}]"#, &one), Err(NoSuchAttachment));
        for number in ["-1", "0.5", "1e300", "\"0\"", "null", "[0]"] {
            let text = format!(r#"{{"_placeholder":true,"num":{number}}}"#);
            assert_eq!(payload(&text, &one), Err(NoSuchAttachment), "{number}");
            assert_eq!(with_bytes(&format!("[{text}]"), &one), Err(NoSuchAttachment), "{number}");
        }
        assert_eq!(payload(r#"{"_placeholder":true}"#, &one), Err(NoSuchAttachment));
        let more = r#"{"x":[{}],"_placeholder":true,"num":0.0}"#;
        assert_eq!(payload(more, &one), Ok(Payload::Binary(one[0].clone())));
        let unmarked = r#"{"_placeholder":1,"num":7}"#;
        assert_eq!(with_bytes(unmarked, &one).as_deref(), Ok(unmarked));
    }

    #[test]
    fn what_could_be_taken_for_an_attachment_keeps_the_rest_text() {
        for text in [
            r#"[{"_placeholder":true,"data":"AQID"},{"_placeholder":true,"num":7}]"#,
            r#"[{"_placeholder":true,"data":"AQID"},{"\u005fplaceholder":true,"num":7}]"#,
            r#"[{"_placeholder":true,"data":"no base64!"}]"#,
            r#"["{\"_placeholder\":true,\"data\":\"AQID\"}"]"#,
            r#"{"_placeholder":true,"num":0}"#,
        ] {
            let payload = Payload::Json(RawJson::parse(text).unwrap());
            assert_eq!(written(&payload, true).attachments(), bytes(&[]), "{text}");
            assert_eq!(written(&payload, true).text(), text.as_bytes());
        }
    }

    #[test]
    fn lists_of_arguments_are_spread() {
        let arguments = list(["1", r#""2""#, "[3]"]);
        assert_eq!(written(&arguments, true).text(), br#"1,"2",[3]"#);
        assert_eq!(written(&arguments, false).text(), br#"[1,"2",[3]]"#);
        assert_eq!(written(&list([]), true).text(), b"");
        let array = Payload::Json(RawJson::parse("[1,2]").unwrap());
        assert_eq!(written(&array, true).text(), b"[1,2]", "one argument, which is an array");
    }
}
