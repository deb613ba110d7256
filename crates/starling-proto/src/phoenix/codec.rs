//! What clients send: five fields, as an array (2.0.0), as an object (1.0.0) or behind a binary header (2.0.0).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use starling_core::{Payload, RawJson};
use thiserror::Error;

use super::{CONTROL_TOPIC, MAX_DEPTH, MAX_REF_BYTES, Serializer};
use crate::json_text::{is_too_deep, write_text};
use crate::session::Packet;

/// The kind of binary message that clients send.
const PUSH: u8 = 0;

/// One message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Which join of the topic it belongs to: JSON text of a string, a number or null.
    pub join_ref: Cow<'a, str>,
    /// What its reply will carry: JSON text of a string, a number or null.
    pub reference: Cow<'a, str>,
    /// Where.
    pub topic: Cow<'a, str>,
    /// What.
    pub event: Cow<'a, str>,
    /// With what.
    pub payload: Carried<'a>,
    /// What is wrong with it, if something is: it is answered by an error. The fields that are wrong are null, empty,
    /// or the protocol's own topic.
    pub fault: Option<&'static str>,
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried<'a> {
    /// Any JSON value.
    Json(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Carried<'_> {
    /// A copy that can be kept.
    pub fn to_payload(self) -> Payload {
        match self {
            Self::Json(text) => Payload::Json(RawJson::from_valid(Bytes::copy_from_slice(text.as_bytes()))),
            Self::Binary(bytes) => Payload::Binary(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// Not a message at all. A real server's connection crashes on it, which clients see as close code 1011.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Neither JSON nor of the serializer's shape.
    #[error("not a message of the serializer")]
    Shape,
    /// A binary message of another kind than push.
    #[error("binary message of kind {0}")]
    Kind(u8),
    /// The lengths in a binary header do not fit the message.
    #[error("binary header of {0} bytes does not fit")]
    Header(usize),
    /// Names of a binary message that are not UTF-8.
    #[error("names are not UTF-8")]
    Text,
}

/// Reads one message.
///
/// # Errors
/// When it is none.
pub fn decode<'a>(serializer: Serializer, packet: Packet<'a>) -> Result<Incoming<'a>, Malformed> {
    match (serializer, packet) {
        (Serializer::V1, Packet::Text(text)) => object(text),
        // The 1.0.0 serializer looks at the bytes alone.
        (Serializer::V1, Packet::Binary(bytes)) => object(std::str::from_utf8(bytes).map_err(|_| Malformed::Text)?),
        (_, Packet::Text(text)) => {
            let Five(fields) = serde_json::from_str(text).map_err(|_| Malformed::Shape)?;
            Ok(incoming(fields))
        }
        (_, Packet::Binary(bytes)) => binary(bytes),
    }
}

fn object(text: &str) -> Result<Incoming<'_>, Malformed> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed::Shape);
    }
    let Named { join_ref, reference, topic, event, payload } =
        serde_json::from_str(text).map_err(|_| Malformed::Shape)?;
    match (reference, topic, event, payload) {
        (Some(reference), Some(topic), Some(event), Some(payload)) => {
            Ok(incoming([join_ref.unwrap_or("null"), reference, topic, event, payload]))
        }
        _ => Err(Malformed::Shape),
    }
}

fn incoming<'a>([join_ref, reference, topic, event, payload]: [&'a str; 5]) -> Incoming<'a> {
    let mut fault = None;
    let mut checked = |value: Option<Cow<'a, str>>, otherwise: &'static str, what: &'static str| {
        value.unwrap_or_else(|| {
            fault.get_or_insert(what);
            Cow::Borrowed(otherwise)
        })
    };
    let join_ref = checked(reference_text(join_ref), "null", "a join_ref is a string of at most 255 bytes");
    let reference = checked(reference_text(reference), "null", "a ref is a string of at most 255 bytes");
    let topic = checked(string(topic), CONTROL_TOPIC, "a topic is a string");
    let event = checked(string(event), "", "an event is a string");
    if is_too_deep(payload.as_bytes(), MAX_DEPTH) {
        fault.get_or_insert("the payload is nested too deeply");
    }
    Incoming { join_ref, reference, topic, event, payload: Carried::Json(payload), fault }
}

fn reference_text(written: &str) -> Option<Cow<'_, str>> {
    let is_reference = written == "null" || written.starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'));
    (is_reference && written.len() <= MAX_REF_BYTES + 2).then_some(Cow::Borrowed(written))
}

/// The content of a JSON string.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    let content = json.strip_prefix('"')?.strip_suffix('"')?;
    if content.contains('\\') {
        // Refuses escapes that stand for half a character.
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(content))
}

/// ```text
/// kind 0 | len join_ref | len ref | len topic | len event | join_ref | ref | topic | event | payload
///   u8         u8           u8        u8          u8
/// ```
fn binary(bytes: &[u8]) -> Result<Incoming<'_>, Malformed> {
    let Some(&[kind, join_ref, reference, topic, event]) = bytes.first_chunk() else {
        return Err(Malformed::Header(bytes.len()));
    };
    if kind != PUSH {
        return Err(Malformed::Kind(kind));
    }
    let mut rest = &bytes[5..];
    let mut name = |len: u8| {
        let (name, behind) = rest.split_at_checked(usize::from(len)).ok_or(Malformed::Header(bytes.len()))?;
        rest = behind;
        std::str::from_utf8(name).map_err(|_| Malformed::Text)
    };
    let join_ref = name(join_ref)?;
    let reference = name(reference)?;
    let topic = name(topic)?;
    let event = name(event)?;
    Ok(Incoming {
        join_ref: reference_of(join_ref),
        reference: reference_of(reference),
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed(event),
        payload: Carried::Binary(rest),
        fault: None,
    })
}

/// A reference as the array serializer would have it.
fn reference_of(text: &str) -> Cow<'static, str> {
    if text.is_empty() {
        return Cow::Borrowed("null");
    }
    let mut json = Vec::with_capacity(text.len() + 2);
    write_text(&mut json, text);
    Cow::Owned(String::from_utf8(json).expect("escaped text is UTF-8"))
}

/// The first five elements of an array; what follows them is ignored, as Phoenix does.
struct Five<'a>([&'a str; 5]);

impl<'de> Deserialize<'de> for Five<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FiveVisitor)
    }
}

struct FiveVisitor;

impl<'de> Visitor<'de> for FiveVisitor {
    type Value = Five<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of five elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut five = [""; 5];
        for (at, place) in five.iter_mut().enumerate() {
            *place = elements.next_element::<&RawValue>()?.ok_or_else(|| A::Error::invalid_length(at, &self))?.get();
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Five(five))
    }
}

/// The known members of an object, as they were written; of several with one name the last.
#[derive(Default)]
struct Named<'a> {
    join_ref: Option<&'a str>,
    reference: Option<&'a str>,
    topic: Option<&'a str>,
    event: Option<&'a str>,
    payload: Option<&'a str>,
}

impl<'de> Deserialize<'de> for Named<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor)
    }
}

struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = Named<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut named = Named::default();
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            let place = match &*name {
                "join_ref" => &mut named.join_ref,
                "ref" => &mut named.reference,
                "topic" => &mut named.topic,
                "event" => &mut named.event,
                "payload" => &mut named.payload,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = Some(members.next_value::<&RawValue>()?.get());
        }
        Ok(named)
    }
}
