//! What the client says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use starling_core::{Payload, Position, RawJson};
use starling_proto::native::{Encoding, msgpack};

/// Every field of every type; which ones there are depends on `type`. What is `None` is left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fields<'a> {
    pub(crate) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recover: Option<Recover<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewind: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) echo: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Recover<'a> {
    epoch: &'a str,
    offset: u64,
}

impl<'a> From<&'a Position> for Recover<'a> {
    fn from(position: &'a Position) -> Self {
        Self { epoch: position.epoch.as_str(), offset: position.offset }
    }
}

impl<'a> Fields<'a> {
    /// A message of this type, with no other field yet.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { r#type: kind, ..Self::default() }
    }

    /// What is shown of this connection in the presence of a channel.
    pub(crate) fn data(mut self, data: Option<&RawJson>) -> Self {
        self.data = data.map(raw);
        self
    }

    /// Writes a message without payload.
    pub(crate) fn write(&self, encoding: Encoding) -> Bytes {
        let json = serde_json::to_string(self).expect("strings, numbers and raw JSON are always JSON");
        match encoding {
            Encoding::Json => json.into(),
            Encoding::Msgpack => msgpack::client::request(&json, None).into(),
        }
    }

    /// Writes a message with this payload. JSON is copied into JSON as it is: no digit of it changes.
    pub(crate) fn write_with(mut self, payload: &Payload, encoding: Encoding) -> Bytes {
        match (payload, encoding) {
            (Payload::Json(json), _) => self.payload = Some(raw(json)),
            (Payload::Binary(bytes), Encoding::Json) => {
                let text = format!("\"{}\"", STANDARD.encode(bytes));
                self.payload = Some(RawValue::from_string(text).expect("base64 needs no escapes"));
                self.encoding = Some("base64");
            }
            (Payload::Binary(bytes), Encoding::Msgpack) => {
                let json = serde_json::to_string(&self).expect("strings, numbers and raw JSON are always JSON");
                return msgpack::client::request(&json, Some(bytes)).into();
            }
        }
        self.write(encoding)
    }
}

fn raw(json: &RawJson) -> Box<RawValue> {
    RawValue::from_string(json.as_str().to_owned()).expect("RawJson is JSON by construction")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn requests_have_the_fields_of_the_contract() {
        let position = Position { epoch: "e".into(), offset: 7 };
        let data = RawJson::parse(r#"{"n": 1.0}"#).unwrap();
        for (fields, expected) in [
            (Fields::new("auth"), r#"{"type":"auth"}"#),
            (Fields { token: Some("t"), ..Fields::new("auth") }, r#"{"type":"auth","token":"t"}"#),
            (
                Fields {
                    id: Some(1),
                    channel: Some("a\"b"),
                    recover: Some((&position).into()),
                    rewind: Some(3),
                    presence: Some(true),
                    ..Fields::new("subscribe").data(Some(&data))
                },
                r#"{"type":"subscribe","id":1,"channel":"a\"b","recover":{"epoch":"e","offset":7},"rewind":3,"presence":true,"data":{"n": 1.0}}"#,
            ),
            (
                Fields { id: Some(2), channel: Some("a"), ..Fields::new("unsubscribe") },
                r#"{"type":"unsubscribe","id":2,"channel":"a"}"#,
            ),
            (
                Fields { id: Some(3), channel: Some("a"), limit: Some(5), after: Some(2), ..Fields::new("history") },
                r#"{"type":"history","id":3,"channel":"a","limit":5,"after":2}"#,
            ),
        ] {
            assert_eq!(text(&fields.write(Encoding::Json)), expected);
        }
    }

    #[test]
    fn payloads_are_copied_byte_by_byte() {
        let publish = || Fields { id: Some(1), channel: Some("c"), message_id: Some("m"), ..Fields::new("publish") };
        let json = Payload::Json(RawJson::parse(r#"{"n": 12345678901234567890.10, "b":1,"a":2}"#).unwrap());
        let expected = r#"{"type":"publish","id":1,"channel":"c","payload":{"n": 12345678901234567890.10, "b":1,"a":2},"messageId":"m"}"#;
        assert_eq!(text(&publish().write_with(&json, Encoding::Json)), expected);
        let bytes = Payload::Binary(vec![0, 255].into());
        let expected =
            r#"{"type":"publish","id":1,"channel":"c","payload":"AP8=","encoding":"base64","messageId":"m"}"#;
        assert_eq!(text(&publish().write_with(&bytes, Encoding::Json)), expected);
        let packed = publish().write_with(&bytes, Encoding::Msgpack);
        let expected =
            r#"{"type":"publish","id":1,"channel":"c","messageId":"m","payload":"AP8=","encoding":"base64"}"#;
        assert_eq!(msgpack::client::to_json(&packed).unwrap(), expected);
    }
}
