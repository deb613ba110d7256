//! JSON text to fields. Every value stays a slice of the text.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use starling_core::{Payload, RawJson};

use crate::json_text::is_too_deep;
use crate::native::MAX_DEPTH;
use crate::native::fields::{Fields, Malformed, Name, Value};

/// Splits one object into its fields, and checks all of the text.
///
/// The parser does not recurse into values, so that no nesting can exhaust the stack.
pub(in crate::native) fn fields(text: &str) -> Result<Fields<JsonValue<'_>>, Malformed> {
    let is_object = text.trim_ascii_start().starts_with('{');
    if !is_object {
        return Err(match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Malformed::NotAnObject,
            Err(_) => Malformed::Syntax,
        });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Names and raw values of any kind are taken, so whatever fails is the text itself.
    let fields = deserializer.deserialize_map(ObjectVisitor).map_err(|_| Malformed::Syntax)?;
    deserializer.end().map_err(|_| Malformed::Syntax)?;
    Ok(fields)
}

struct ObjectVisitor;

impl<'a> Visitor<'a> for ObjectVisitor {
    type Value = Fields<JsonValue<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::new();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            match name {
                Some(name) => fields.put(name, JsonValue(map.next_value::<&RawValue>()?.get())),
                None => {
                    map.next_value::<&RawValue>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// Reads a member's name without copying it.
struct NameSeed;

impl<'a> DeserializeSeed<'a> for NameSeed {
    type Value = Option<Name>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<Name>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Name::of(text))
    }
}

/// The text of one well-formed value, without white space around it.
#[derive(Debug, Clone, Copy)]
pub(in crate::native) struct JsonValue<'a>(&'a str);

impl<'a> Value<'a> for JsonValue<'a> {
    fn is_null(self) -> bool {
        self.0 == "null"
    }

    fn text(self) -> Option<Cow<'a, str>> {
        let content = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if content.as_bytes().contains(&b'\\') {
            // Refuses escapes that stand for half a character.
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(content))
    }

    fn unsigned(self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn boolean(self) -> Option<bool> {
        self.0.parse().ok()
    }

    fn reference(self) -> Option<(&'a [u8], usize)> {
        let written = self.0.as_bytes();
        match written.first()? {
            b'"' => Some((written, written.len() - 2)),
            b'-' | b'0'..=b'9' => Some((written, written.len())),
            _ => None,
        }
    }

    fn members(self) -> Option<Fields<Self>> {
        fields(self.0).ok()
    }

    fn json(self) -> Result<RawJson, &'static str> {
        if is_too_deep(self.0.as_bytes(), MAX_DEPTH) {
            return Err("is nested too deeply");
        }
        Ok(RawJson::from_valid(Bytes::copy_from_slice(self.0.as_bytes())))
    }

    fn payload(self) -> Result<Payload, &'static str> {
        self.json().map(Payload::Json)
    }
}
