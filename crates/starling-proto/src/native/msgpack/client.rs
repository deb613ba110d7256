//! The client's side: what it says is composed as JSON, and what it hears is understood as JSON.
//!
//! Nowhere but as the `payload` of a message or an answer does the protocol have bytes, so that a `bin` and a base64
//! string beside `"encoding":"base64"` say the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmp::encode;

use super::from_json;
use super::read::{Head, Reader};
use super::write::INFALLIBLE;
use crate::json_text::write_text;
use crate::native::MAX_DEPTH;

/// The most members that a map with a header of one byte has.
const FIXMAP: u8 = 15;

/// A client message: the members of a JSON object, and with `bytes` the member `payload` behind them.
///
/// # Panics
///
/// When `object` is no JSON object of at most 14 members; no message of the protocol has more.
pub fn request(object: &str, bytes: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + bytes.map_or(0, |bytes| bytes.len() + 16));
    from_json::transcode(&mut out, object);
    assert!((0x80..0x80 | FIXMAP).contains(&out[0]), "a client message is an object of few members");
    if let Some(bytes) = bytes {
        out[0] += 1;
        encode::write_str(&mut out, "payload").expect(INFALLIBLE);
        encode::write_bin(&mut out, bytes).expect(INFALLIBLE);
    }
    out
}

/// A message of the server as JSON text, in which bytes are base64 beside `"encoding":"base64"`.
///
/// # Errors
///
/// Why it cannot be: it is incomplete, too deep, or holds what the protocol has no word for.
pub fn to_json(bytes: &[u8]) -> Result<String, &'static str> {
    let mut reader = Reader { bytes };
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4 + 8);
    // The message, a list in it, a message of that list, and then its payload.
    write(&mut reader, &mut out, MAX_DEPTH + 3)?;
    if !reader.bytes.is_empty() {
        return Err("more follows the message");
    }
    String::from_utf8(out).map_err(|_| "a string is not UTF-8")
}

fn write(reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), &'static str> {
    let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
    match reader.head().ok_or("incomplete")? {
        Head::Nil => out.extend_from_slice(b"null"),
        Head::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Head::Unsigned(number) => serialize(out, &number),
        Head::Signed(number) => serialize(out, &number),
        Head::Float(number) if number.is_finite() => serialize(out, &number),
        // A number of JSON that was beyond the range of a float became one of these.
        Head::Float(_) => out.extend_from_slice(b"null"),
        Head::Text(len) => write_string(reader, len, out)?,
        Head::Bytes(len) => {
            let bytes = reader.take(len).ok_or("incomplete")?;
            write_text(out, &STANDARD.encode(bytes));
            out.extend_from_slice(br#","encoding":"base64""#);
        }
        Head::Extension(_) => return Err("an extension type"),
        Head::Array(len) => {
            out.push(b'[');
            for index in 0..len {
                if index > 0 {
                    out.push(b',');
                }
                // Bytes have a name, beside which the encoding stands.
                if matches!(reader.clone().head(), Some(Head::Bytes(_))) {
                    return Err("bytes in a list");
                }
                write(reader, out, depth)?;
            }
            out.push(b']');
        }
        Head::Map(len) => {
            out.push(b'{');
            for index in 0..len {
                if index > 0 {
                    out.push(b',');
                }
                let Some(Head::Text(len)) = reader.head() else { return Err("a map key that is not a string") };
                write_string(reader, len, out)?;
                out.push(b':');
                write(reader, out, depth)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(reader: &mut Reader<'_>, len: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let bytes = reader.take(len).ok_or("incomplete")?;
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| "a string is not UTF-8")?;
    write_text(out, text);
    Ok(())
}

fn serialize(out: &mut Vec<u8>, number: &impl serde::Serialize) {
    serde_json::to_writer(out, number).expect("a finite number has a JSON text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_what_the_server_reads() {
        let written = request(r#"{"type":"ping","id":7}"#, None);
        assert_eq!(written, b"\x82\xa4type\xa4ping\xa2id\x07");
        let written = request(r#"{"type":"publish"}"#, Some(&[0, 255]));
        assert_eq!(written, b"\x82\xa4type\xa7publish\xa7payload\xc4\x02\x00\xff");
    }

    #[test]
    fn what_the_server_says_is_read_as_json() {
        for (bytes, json) in [
            (&b"\x82\xa4type\xa4pong\xa2id\x07"[..], r#"{"type":"pong","id":7}"#),
            (b"\x81\xa7payload\xc4\x02\x00\xff", r#"{"payload":"AP8=","encoding":"base64"}"#),
            (b"\x81\xa1m\x91\x81\xa7payload\xc4\x00", r#"{"m":[{"payload":"","encoding":"base64"}]}"#),
            (b"\x93\xc0\xc3\xd0\x80", "[null,true,-128]"),
        ] {
            assert_eq!(to_json(bytes).as_deref(), Ok(json));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let deep = [0x91; 200];
        for bytes in
            [&b""[..], b"\xc1", b"\x81\xa1", b"\x81\x01\x01", b"\x90\x90", b"\x91\xc4\x00", b"\xd4\x01\x01", &deep]
        {
            assert!(to_json(bytes).is_err(), "{bytes:?}");
        }
    }
}
