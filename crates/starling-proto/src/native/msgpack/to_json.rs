//! MessagePack values to JSON text.

use super::read::{Head, Reader};
use crate::native::MAX_DEPTH;
use crate::native::json::write_text;

/// The JSON text of one value, or why it has none, in words that follow a field's name.
pub(super) fn transcode(mut value: Reader<'_>) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(value.bytes.len() + value.bytes.len() / 4 + 8);
    write(&mut value, &mut out, 0)?;
    Ok(out)
}

fn write(reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), &'static str> {
    match reader.head().ok_or("is incomplete")? {
        Head::Nil => out.extend_from_slice(b"null"),
        Head::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Head::Unsigned(number) => serialize(out, &number),
        Head::Signed(number) => serialize(out, &number),
        Head::Float(number) if number.is_finite() => serialize(out, &number),
        Head::Float(_) => return Err("holds a number that is not finite"),
        Head::Text(len) => write_string(reader, len, out)?,
        Head::Bytes(_) => return Err("holds bytes inside of a structure"),
        Head::Extension(_) => return Err("holds an extension type"),
        Head::Array(_) | Head::Map(_) if depth == MAX_DEPTH => return Err("is nested too deeply"),
        Head::Array(len) => {
            out.push(b'[');
            for index in 0..len {
                if index > 0 {
                    out.push(b',');
                }
                write(reader, out, depth + 1)?;
            }
            out.push(b']');
        }
        Head::Map(len) => {
            out.push(b'{');
            for index in 0..len {
                if index > 0 {
                    out.push(b',');
                }
                let Some(Head::Text(len)) = reader.head() else { return Err("holds a map key that is not a string") };
                write_string(reader, len, out)?;
                out.push(b':');
                write(reader, out, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(reader: &mut Reader<'_>, len: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let bytes = reader.take(len).ok_or("is incomplete")?;
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| "holds a string that is not UTF-8")?;
    write_text(out, text);
    Ok(())
}

fn serialize(out: &mut Vec<u8>, number: &impl serde::Serialize) {
    serde_json::to_writer(out, number).expect("a finite number has a JSON text");
}
