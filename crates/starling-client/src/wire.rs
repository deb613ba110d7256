//! The native protocol's JSON, as a client writes and reads it (section 5 of the contract).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use starling_core::{Epoch, Payload, Position, RawJson, Refusal};

use crate::client::Publish;
use crate::subscription::Message;

/// What the server says.
#[derive(Debug)]
pub(crate) enum Incoming {
    AuthAck {
        connection_id: String,
        user_id: Option<String>,
        /// Unix milliseconds.
        expires_at: Option<u64>,
    },
    Ack(u64, Answer),
    /// With the request that it answers, if it answers one.
    Error(Option<u64>, Refusal),
    Message(Message),
    Gap {
        channel: String,
        missed: u64,
    },
    Unsubscribed {
        channel: String,
        refusal: Refusal,
    },
    /// Milliseconds after which to connect again.
    Drain(u64),
    /// A type that this client does not know, or does not need.
    Other,
}

/// The fields of an `ack`.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) message_id: Option<String>,
    pub(crate) position: Option<Position>,
    pub(crate) recovered: Option<bool>,
}

/// Every field of every type: which ones there are depends on `type`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    /// A number of ours in an answer, a string in a message.
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    channel: Option<String>,
    event: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    encoding: Option<String>,
    ts: Option<u64>,
    user_id: Option<String>,
    offset: Option<u64>,
    epoch: Option<String>,
    recovered: Option<bool>,
    message_id: Option<String>,
    connection_id: Option<String>,
    expires_at: Option<u64>,
    missed: Option<u64>,
    reconnect_in: Option<u64>,
    code: Option<String>,
    message: Option<String>,
}

impl Incoming {
    /// Reads one text message.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the connection cannot be trusted any more.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let missing = |name: &str| format!("{} without {name}", fields.kind);
        let channel = || fields.channel.clone().ok_or_else(|| missing("channel"));
        Ok(match &*fields.kind {
            "auth_ack" => Self::AuthAck {
                connection_id: fields.connection_id.clone().ok_or_else(|| missing("connectionId"))?,
                user_id: fields.user_id,
                expires_at: fields.expires_at,
            },
            "ack" => Self::Ack(
                fields.request().ok_or_else(|| missing("the id of a request"))?,
                Answer { position: fields.position(), message_id: fields.message_id, recovered: fields.recovered },
            ),
            "error" => Self::Error(fields.request(), fields.refusal()),
            "message" => Self::Message(fields.into_message()?),
            "gap" => Self::Gap { channel: channel()?, missed: fields.missed.ok_or_else(|| missing("missed"))? },
            "unsubscribed" => Self::Unsubscribed { channel: channel()?, refusal: fields.refusal() },
            "drain" => Self::Drain(fields.reconnect_in.unwrap_or_default()),
            _ => Self::Other,
        })
    }
}

impl Fields<'_> {
    fn request(&self) -> Option<u64> {
        self.id?.get().parse().ok()
    }

    fn position(&self) -> Option<Position> {
        let epoch = Epoch::new(self.epoch.as_deref()?);
        Some(Position { epoch, offset: self.offset? })
    }

    fn refusal(&self) -> Refusal {
        let code = self.code.clone().unwrap_or_else(|| "INTERNAL".into());
        Refusal::custom(code, self.message.clone().unwrap_or_default())
    }

    fn into_message(self) -> Result<Message, String> {
        let missing = |name: &str| format!("message without {name}");
        let position = self.position();
        let payload = self.payload.map_or("null", RawValue::get);
        let payload = match self.encoding.as_deref() {
            None => Payload::Json(RawJson::from_valid(payload.to_owned())),
            Some("base64") => {
                let text: Cow<'_, str> = serde_json::from_str(payload).map_err(|error| error.to_string())?;
                let bytes = STANDARD.decode(&*text).map_err(|error| format!("payload: {error}"))?;
                Payload::Binary(bytes.into())
            }
            Some(other) => return Err(format!("payload encoded as {other:?}")),
        };
        let id = self.id.ok_or_else(|| missing("id"))?;
        Ok(Message {
            id: serde_json::from_str(id.get()).map_err(|_| missing("id"))?,
            channel: self.channel.ok_or_else(|| missing("channel"))?,
            event: self.event.ok_or_else(|| missing("event"))?,
            payload,
            ts: self.ts.ok_or_else(|| missing("ts"))?,
            user_id: self.user_id,
            position,
        })
    }
}

/// What the client says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type")]
pub(crate) enum Outgoing<'a> {
    Auth {
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<&'a str>,
    },
    Subscribe {
        id: u64,
        channel: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        recover: Option<Recover<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rewind: Option<u32>,
    },
    Unsubscribe {
        id: u64,
        channel: &'a str,
    },
}

#[derive(Serialize)]
pub(crate) struct Recover<'a> {
    pub(crate) epoch: &'a str,
    pub(crate) offset: u64,
}

impl<'a> From<&'a Position> for Recover<'a> {
    fn from(position: &'a Position) -> Self {
        Self { epoch: position.epoch.as_str(), offset: position.offset }
    }
}

impl Outgoing<'_> {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are always JSON")
    }
}

/// Writes a publish. The payload is copied as it is: no digit of it changes.
pub(crate) fn write_publish(id: u64, publish: &Publish, message_id: &str) -> String {
    // Internally tagged enums cannot carry raw JSON, so that this is a struct of its own.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        r#type: &'static str,
        id: u64,
        channel: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        payload: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<&'static str>,
        message_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        echo: Option<bool>,
    }
    let (payload, encoding) = match &publish.payload {
        Payload::Json(json) => (json.as_str().to_owned(), None),
        Payload::Binary(bytes) => (format!("\"{}\"", STANDARD.encode(bytes)), Some("base64")),
    };
    let payload = RawValue::from_string(payload).expect("RawJson is JSON by construction");
    let fields = Fields {
        r#type: "publish",
        id,
        channel: &publish.channel,
        event: publish.event.as_deref(),
        payload: &payload,
        encoding,
        message_id,
        key: publish.key.as_deref(),
        echo: (!publish.echo).then_some(false),
    };
    serde_json::to_string(&fields).expect("strings, numbers and raw JSON are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_fields_of_the_contract() {
        let position = Position { epoch: "e".into(), offset: 7 };
        for (outgoing, expected) in [
            (Outgoing::Auth { token: None }, r#"{"type":"auth"}"#),
            (Outgoing::Auth { token: Some("t") }, r#"{"type":"auth","token":"t"}"#),
            (
                Outgoing::Subscribe { id: 1, channel: "a\"b", recover: Some((&position).into()), rewind: Some(3) },
                r#"{"type":"subscribe","id":1,"channel":"a\"b","recover":{"epoch":"e","offset":7},"rewind":3}"#,
            ),
            (Outgoing::Unsubscribe { id: 2, channel: "a" }, r#"{"type":"unsubscribe","id":2,"channel":"a"}"#),
        ] {
            assert_eq!(outgoing.to_json(), expected);
        }
    }

    #[test]
    fn payloads_are_copied_byte_by_byte() {
        let json = RawJson::parse(r#"{"n": 12345678901234567890.10, "b":1,"a":2}"#).unwrap();
        let publish = Publish::new("c", Payload::Json(json)).event("e").key("k").echo(false);
        let expected = r#"{"type":"publish","id":1,"channel":"c","event":"e","payload":{"n": 12345678901234567890.10, "b":1,"a":2},"messageId":"m","key":"k","echo":false}"#;
        assert_eq!(write_publish(1, &publish, "m"), expected);
        let publish = Publish::new("c", Payload::Binary(vec![0, 255].into()));
        let expected =
            r#"{"type":"publish","id":1,"channel":"c","payload":"AP8=","encoding":"base64","messageId":"m"}"#;
        assert_eq!(write_publish(1, &publish, "m"), expected);
    }

    #[test]
    fn messages_are_read() {
        let text = r#"{"type":"message","channel":"c","event":"e","payload":{"n": 1.00},"id":"i","ts":5,"userId":"u","offset":3,"epoch":"x","new":[]}"#;
        let Ok(Incoming::Message(message)) = Incoming::parse(text) else { panic!("a message") };
        assert_eq!(message.payload, Payload::Json(RawJson::parse(r#"{"n": 1.00}"#).unwrap()));
        assert_eq!(message.position, Some(Position { epoch: "x".into(), offset: 3 }));
        let text =
            r#"{"type":"message","channel":"c","event":"e","payload":"AP8=","encoding":"base64","id":"i","ts":5}"#;
        let Ok(Incoming::Message(message)) = Incoming::parse(text) else { panic!("a message") };
        assert_eq!((message.payload, message.user_id), (Payload::Binary(vec![0, 255].into()), None));
        let text = r#"{"type":"message","channel":"c","event":"e","payload":null,"id":"i","ts":5}"#;
        let Ok(Incoming::Message(message)) = Incoming::parse(text) else { panic!("a message") };
        assert_eq!(message.payload, Payload::Json(RawJson::null()));
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        for text in [
            "",
            "5",
            "{}",
            "{\"type\":5}",
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","id":"other"}"#,
            r#"{"type":"message","channel":"c","event":"e","payload":1,"ts":5}"#,
            r#"{"type":"message","channel":"c","event":"e","payload":"?","encoding":"base64","id":"i","ts":5}"#,
            r#"{"type":"gap","channel":"c"}"#,
            r#"{"type":"auth_ack"}"#,
        ] {
            assert!(Incoming::parse(text).is_err(), "{text}");
        }
        assert!(matches!(Incoming::parse(r#"{"type":"tomorrow","x":1}"#), Ok(Incoming::Other)));
    }
}
