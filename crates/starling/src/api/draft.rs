//! What a backend wants to publish: from JSON to messages that only wait to be sent.
//!
//! Decisions where the contract is silent: unknown fields are ignored; `null` in an optional field means that it is
//! left out, except for `payload`; a channel that stands twice in `channels` is refused, because it can only be a
//! mistake; a payload nested deeper than the native protocol lets its clients nest theirs is refused as well.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use starling_core::{ChannelName, ConnectionId, DEFAULT_EVENT, MessageId, Payload, Publish, RawJson};
use starling_proto::native::{MAX_DEPTH, MAX_NAME_BYTES};
use utoipa::ToSchema;

use super::answer::Failure;
use super::path;
use crate::mailbox::connection_named;

/// Messages in one batch.
pub(super) const MAX_BATCH: usize = 1000;
/// Channels of one message.
pub(super) const MAX_CHANNELS: usize = 100;

/// Padding may be left out, as native clients may.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What to publish, as it is sent.
#[derive(serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Publish)]
pub(super) struct PublishBody<'a> {
    /// Where to: a channel name of 1 to 255 bytes. Either this or `channels`.
    #[schema(example = "room:1")]
    channel: Option<String>,
    /// Where to, when it is several places: each named once.
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 100)]
    channels: Option<Bounded<String, MAX_CHANNELS>>,
    /// What happened: 1 to 255 bytes, no control characters. Default: `message`.
    event: Option<String>,
    /// Any JSON value, passed on as it is written; or base64, with `encoding`.
    #[serde(borrow, default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value, required)]
    payload: Option<&'a RawValue>,
    /// The message's id, 1 to 255 bytes. The same one again on the same channel within the recovery window is answered
    /// the same and not delivered again. Default: one that the server chooses.
    message_id: Option<String>,
    /// What the message is the latest state of, at most 255 bytes.
    key: Option<String>,
    /// The id of a connection that shall not get it.
    exclude: Option<String>,
    /// `base64`: the payload is a string that stands for bytes.
    #[schema(value_type = Option<Encoding>)]
    encoding: Option<String>,
}

/// How bytes are written in JSON.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described, in the OpenAPI document")]
enum Encoding {
    Base64,
}

/// Messages to publish, in this order.
#[derive(serde::Deserialize, ToSchema)]
#[schema(as = Batch)]
pub(super) struct BatchBody<'a> {
    /// All are checked before the first is published.
    #[serde(borrow)]
    #[schema(value_type = Vec<PublishBody<'a>>, max_items = 1000)]
    pub messages: Bounded<&'a RawValue, MAX_BATCH>,
}

/// One message that only waits to be sent: the same to each of its channels.
#[derive(Debug)]
pub(super) struct Draft {
    pub channels: Vec<ChannelName>,
    pub exclude: Option<ConnectionId>,
    event: Arc<str>,
    payload: Payload,
    message_id: Option<MessageId>,
    key: Option<Arc<str>>,
}

impl Draft {
    /// Reads a message that names its channels.
    pub fn parse(json: &[u8], max_payload: usize) -> Result<Self, Failure> {
        let body: PublishBody<'_> = parse(json)?;
        let channels = channels(body.channel.as_deref(), body.channels.as_ref())?;
        Self::to(channels, &body, max_payload)
    }

    /// Reads a message whose channel is known.
    pub fn parse_for(channel: ChannelName, json: &[u8], max_payload: usize) -> Result<Self, Failure> {
        let body: PublishBody<'_> = parse(json)?;
        if body.channel.is_some() || body.channels.is_some() {
            return Err(Failure::invalid("the path says where to: no `channel` and no `channels` here"));
        }
        Self::to(vec![channel], &body, max_payload)
    }

    fn to(channels: Vec<ChannelName>, body: &PublishBody<'_>, max_payload: usize) -> Result<Self, Failure> {
        let event = name("event", body.event.as_deref(), 1)?.unwrap_or(DEFAULT_EVENT);
        if event.chars().any(char::is_control) {
            return Err(Failure::invalid("`event` has control characters"));
        }
        let payload = payload(body.payload, body.encoding.as_deref())?;
        if payload.len() > max_payload {
            return Err(Failure::too_large("`payload`", max_payload));
        }
        Ok(Self {
            channels,
            exclude: name("exclude", body.exclude.as_deref(), 1)?.map(connection_named),
            event: event.into(),
            payload,
            message_id: name("messageId", body.message_id.as_deref(), 1)?.map(MessageId::new),
            key: name("key", body.key.as_deref(), 0)?.map(Arc::from),
        })
    }

    /// The message for one of its channels.
    pub fn publish(&self, channel: ChannelName) -> Publish {
        Publish {
            channel,
            event: self.event.clone(),
            payload: self.payload.clone(),
            message_id: self.message_id.clone(),
            key: self.key.clone(),
            echo: true,
            vouched: false,
        }
    }
}

/// Reads a JSON object; whatever is wrong with it is the caller's fault.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Failure> {
    // Derived structs would take an array of their fields as well.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::invalid("the body must be a JSON object"));
    }
    serde_json::from_slice(json).map_err(|error| Failure::invalid(error.to_string()))
}

fn channels(one: Option<&str>, several: Option<&Bounded<String, MAX_CHANNELS>>) -> Result<Vec<ChannelName>, Failure> {
    let names = match (one, several) {
        (Some(one), None) => return Ok(vec![path::channel(one)?]),
        (None, Some(several)) => &several.0,
        (None, None) => return Err(Failure::invalid("`channel` or `channels` is missing")),
        (Some(_), Some(_)) => return Err(Failure::invalid("either `channel` or `channels`, not both")),
    };
    if names.is_empty() {
        return Err(Failure::invalid("`channels` is empty"));
    }
    let mut channels: Vec<ChannelName> = Vec::with_capacity(names.len());
    for name in names {
        let channel = path::channel(name)?;
        if channels.contains(&channel) {
            return Err(Failure::invalid("a channel stands twice in `channels`"));
        }
        channels.push(channel);
    }
    Ok(channels)
}

fn payload(payload: Option<&RawValue>, encoding: Option<&str>) -> Result<Payload, Failure> {
    let json = payload.ok_or_else(|| Failure::invalid("`payload` is missing"))?.get();
    match encoding {
        // Copied: a slice would keep the whole body in memory for as long as the channel keeps the message.
        None if depth(json.as_bytes()) <= MAX_DEPTH => {
            Ok(Payload::Json(RawJson::from_valid(Bytes::copy_from_slice(json.as_bytes()))))
        }
        None => Err(Failure::invalid("`payload` is nested too deeply")),
        Some("base64") => {
            let text: Option<String> = serde_json::from_str(json).ok();
            let bytes = text.and_then(|text| BASE64.decode(text).ok());
            let bytes = bytes.ok_or_else(|| Failure::invalid("`payload` must be base64"))?;
            Ok(Payload::Binary(bytes.into()))
        }
        Some(_) => Err(Failure::invalid("`encoding` must be \"base64\"")),
    }
}

fn name<'a>(field: &str, name: Option<&'a str>, shortest: usize) -> Result<Option<&'a str>, Failure> {
    match name {
        Some(name) if !(shortest..=MAX_NAME_BYTES).contains(&name.len()) => {
            Err(Failure::invalid(format!("`{field}` is empty or has more than {MAX_NAME_BYTES} bytes")))
        }
        name => Ok(name),
    }
}

/// How deep arrays and objects are nested in well-formed JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A value that is there even if it is `null`.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// An array of at most `MOST` elements. What is beyond them is not even read into memory.
pub(super) struct Bounded<T, const MOST: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MOST} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = array.next_element()? {
                    if elements.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    elements.push(element);
                }
                Ok(elements)
            }
        }

        deserializer.deserialize_seq(Elements::<T, MOST>(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn code(json: &str) -> Option<(u16, String)> {
        let failure = Draft::parse(json.as_bytes(), MAX).err()?;
        Some((failure.status.as_u16(), failure.refusal.code.into_owned()))
    }

    #[test]
    fn everything_that_a_message_has_is_taken_over() {
        let json = r#"{"channel":"room:1","event":"e","payload": {"b":1.50,"a":18446744073709551616} ,"messageId":"m","key":"k",
            "exclude":"c","unknown":[]}"#;
        let draft = Draft::parse(json.as_bytes(), MAX).unwrap();
        let publish = draft.publish(draft.channels[0].clone());
        assert_eq!(publish.channel.as_str(), "room:1");
        assert_eq!(&*publish.event, "e");
        assert_eq!(publish.payload, Payload::Json(RawJson::parse(r#"{"b":1.50,"a":18446744073709551616}"#).unwrap()));
        assert_eq!(publish.message_id, Some(MessageId::from("m")));
        assert_eq!(publish.key.as_deref(), Some("k"));
        assert_eq!(draft.exclude, Some(ConnectionId::from("c")));
    }

    #[test]
    fn null_is_a_payload_and_nothing_elsewhere() {
        let json = br#"{"channel":"c","channels":null,"payload":null,"event":null,"messageId":null,"encoding":null}"#;
        let draft = Draft::parse(json, MAX).unwrap();
        let publish = draft.publish(draft.channels[0].clone());
        assert_eq!(publish.payload, Payload::Json(RawJson::null()));
        assert_eq!((&*publish.event, publish.message_id), (DEFAULT_EVENT, None));
    }

    #[test]
    fn base64_stands_for_bytes() {
        for (text, expected) in [("AAE=", &[0_u8, 1][..]), ("AAE", &[0, 1]), ("", &[]), (r"\u0041AE=", &[0, 1])] {
            let json = format!(r#"{{"channel":"c","payload":"{text}","encoding":"base64"}}"#);
            let draft = Draft::parse(json.as_bytes(), MAX).unwrap();
            assert_eq!(draft.payload, Payload::Binary(Bytes::copy_from_slice(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_its_form_is_refused() {
        let (invalid, channel) = (Some((400, "INVALID_MESSAGE".to_owned())), Some((400, "INVALID_CHANNEL".to_owned())));
        let long = "x".repeat(256);
        for (json, expected) in [
            ("", &invalid),
            ("[]", &invalid),
            (r#""x""#, &invalid),
            (r#"["c",null,null,1]"#, &invalid),
            (r#"{"payload":1}"#, &invalid),
            (r#"{"channel":"c"}"#, &invalid),
            (r#"{"channel":"c","payload":1,}"#, &invalid),
            (r#"{"channel":"c","payload":1} x"#, &invalid),
            (r#"{"channel":"c","channel":"c","payload":1}"#, &invalid),
            (r#"{"channel":5,"payload":1}"#, &invalid),
            (r#"{"channel":"c","channels":["d"],"payload":1}"#, &invalid),
            (r#"{"channels":[],"payload":1}"#, &invalid),
            (r#"{"channels":"c","payload":1}"#, &invalid),
            (r#"{"channels":[1],"payload":1}"#, &invalid),
            (r#"{"channels":["c","d","c"],"payload":1}"#, &invalid),
            (r#"{"channel":"","payload":1}"#, &channel),
            (r#"{"channel":"a\u0001","payload":1}"#, &channel),
            (r##"{"channel":"#x","payload":1}"##, &channel),
            (r#"{"channels":["a","","b"],"payload":1}"#, &channel),
            (r#"{"channel":"c","payload":1,"event":""}"#, &invalid),
            (r#"{"channel":"c","payload":1,"event":"a\nb"}"#, &invalid),
            (r#"{"channel":"c","payload":1,"messageId":""}"#, &invalid),
            (r#"{"channel":"c","payload":1,"messageId":{}}"#, &invalid),
            (r#"{"channel":"c","payload":1,"key":5}"#, &invalid),
            (r#"{"channel":"c","payload":1,"exclude":""}"#, &invalid),
            (r#"{"channel":"c","payload":1,"exclude":[]}"#, &invalid),
            (r#"{"channel":"c","payload":"","encoding":"hex"}"#, &invalid),
            (r#"{"channel":"c","payload":"***","encoding":"base64"}"#, &invalid),
            (r#"{"channel":"c","payload":{},"encoding":"base64"}"#, &invalid),
            (&*format!(r#"{{"channel":"{long}","payload":1}}"#), &channel),
            (&*format!(r#"{{"channel":"c","payload":1,"event":"{long}"}}"#), &invalid),
            (&*format!(r#"{{"channel":"c","payload":1,"messageId":"{long}"}}"#), &invalid),
            (&*format!(r#"{{"channel":"c","payload":1,"key":"{long}"}}"#), &invalid),
        ] {
            assert_eq!(&code(json), expected, "{json}");
        }
    }

    #[test]
    fn limits_hold_at_their_boundaries() {
        let payload = |length: usize| format!(r#"{{"channel":"c","payload":"{}"}}"#, "x".repeat(length - 2));
        assert_eq!(code(&payload(MAX)), None);
        assert_eq!(code(&payload(MAX + 1)), Some((413, "PAYLOAD_TOO_LARGE".to_owned())));

        let channels = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("\"c{n}\"")).collect();
            format!(r#"{{"channels":[{}],"payload":1}}"#, names.join(","))
        };
        assert_eq!(code(&channels(MAX_CHANNELS)), None);
        assert_eq!(code(&channels(MAX_CHANNELS + 1)).map(|(status, _)| status), Some(400));

        let nested =
            |depth: usize| format!(r#"{{"channel":"c","payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(code(&nested(MAX_DEPTH)), None);
        assert_eq!(code(&nested(MAX_DEPTH + 1)).map(|(status, _)| status), Some(400));
        assert_eq!(code(r#"{"channel":"c","payload":"[[[\\\"[[["}"#), None);

        let name = "x".repeat(255);
        let json = format!(
            r#"{{"channel":"{name}","payload":1,"event":"{name}","messageId":"{name}","key":"{name}","exclude":"{name}"}}"#
        );
        assert_eq!(code(&json), None);
    }

    #[test]
    fn a_batch_is_bounded_before_it_is_in_memory() {
        let batch = |count: usize| format!(r#"{{"messages":[{}]}}"#, vec!["0"; count].join(","));
        assert!(parse::<BatchBody<'_>>(batch(MAX_BATCH).as_bytes()).is_ok());
        assert!(parse::<BatchBody<'_>>(batch(MAX_BATCH + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_user_message_has_no_channel_of_its_own() {
        let channel = ChannelName::of_user(&starling_core::UserId::from("7"));
        assert!(Draft::parse_for(channel.clone(), br#"{"payload":1}"#, MAX).is_ok());
        assert!(Draft::parse_for(channel, br#"{"payload":1,"channel":"c"}"#, MAX).is_err());
    }
}
