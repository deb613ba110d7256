//! What the server says, and what is wrong with it if it is none of the protocol's words.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{Epoch, Payload, Position, RawJson, Refusal};

use crate::presence::{Member, PresenceChange};
use crate::subscription::Message;

/// A message of the server.
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
    Members {
        channel: String,
        members: Vec<Member>,
    },
    Presence {
        channel: String,
        change: PresenceChange,
    },
    Event {
        channel: Option<String>,
        event: String,
        payload: Payload,
        /// What an answer is to name.
        ack: Option<u64>,
    },
    Gap {
        channel: String,
        missed: u64,
    },
    Subscribed {
        channel: String,
        position: Option<Position>,
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
    pub(crate) payload: Option<Payload>,
    pub(crate) messages: Vec<Message>,
    pub(crate) members: Vec<Member>,
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
    /// `null` is a payload, too.
    #[serde(borrow, default, deserialize_with = "present")]
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
    ack: Option<u64>,
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    members: Option<Vec<Present>>,
    joins: Option<Vec<Present>>,
    leaves: Option<Vec<Present>>,
}

/// An entry of a presence set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Present {
    user_id: Option<String>,
    connection_id: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Incoming {
    /// Reads one message.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the connection cannot be trusted any more.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut fields: Fields<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(match &*fields.kind {
            "message" => Self::Message(fields.into_message()?),
            "ack" => {
                let id = fields.request().ok_or_else(|| fields.missing("the id of a request"))?;
                Self::Ack(id, fields.into_answer()?)
            }
            "error" => Self::Error(fields.request(), fields.refusal()),
            "auth_ack" => Self::AuthAck {
                connection_id: fields.connection_id.take().ok_or_else(|| fields.missing("connectionId"))?,
                user_id: fields.user_id,
                expires_at: fields.expires_at,
            },
            "presence_state" => {
                let members = fields.members.take().ok_or_else(|| fields.missing("members"))?;
                Self::Members { channel: fields.channel()?, members: list(members) }
            }
            "presence_diff" => {
                let joins = list(fields.joins.take().ok_or_else(|| fields.missing("joins"))?);
                let leaves = list(fields.leaves.take().ok_or_else(|| fields.missing("leaves"))?);
                Self::Presence { channel: fields.channel()?, change: PresenceChange { joins, leaves } }
            }
            "event" => Self::Event {
                event: fields.event.take().ok_or_else(|| fields.missing("event"))?,
                payload: fields.payload()?.ok_or_else(|| fields.missing("payload"))?,
                channel: fields.channel,
                ack: fields.ack,
            },
            "gap" => {
                let missed = fields.missed.ok_or_else(|| fields.missing("missed"))?;
                Self::Gap { channel: fields.channel()?, missed }
            }
            "subscribed" => Self::Subscribed { position: fields.position(), channel: fields.channel()? },
            "unsubscribed" => Self::Unsubscribed { refusal: fields.refusal(), channel: fields.channel()? },
            "drain" => Self::Drain(fields.reconnect_in.unwrap_or_default()),
            _ => Self::Other,
        })
    }
}

impl Fields<'_> {
    fn missing(&self, name: &str) -> String {
        format!("{} without {name}", self.kind)
    }

    fn channel(&mut self) -> Result<String, String> {
        self.channel.take().ok_or_else(|| self.missing("channel"))
    }

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

    fn payload(&self) -> Result<Option<Payload>, String> {
        let Some(payload) = self.payload.map(RawValue::get) else { return Ok(None) };
        Ok(Some(match self.encoding.as_deref() {
            None => Payload::Json(RawJson::from_valid(payload.to_owned())),
            Some("base64") => {
                let text: Cow<'_, str> = serde_json::from_str(payload).map_err(|error| error.to_string())?;
                let bytes = STANDARD.decode(&*text).map_err(|error| format!("payload: {error}"))?;
                Payload::Binary(bytes.into())
            }
            Some(other) => return Err(format!("payload encoded as {other:?}")),
        }))
    }

    fn into_answer(self) -> Result<Answer, String> {
        let messages = self.messages.iter().flatten().map(|message| {
            let fields: Fields<'_> = serde_json::from_str(message.get()).map_err(|error| error.to_string())?;
            fields.into_message()
        });
        Ok(Answer {
            messages: messages.collect::<Result<_, String>>()?,
            payload: self.payload()?,
            position: self.position(),
            message_id: self.message_id,
            recovered: self.recovered,
            members: list(self.members.unwrap_or_default()),
        })
    }

    fn into_message(mut self) -> Result<Message, String> {
        let id = self.id.ok_or_else(|| self.missing("id"))?;
        Ok(Message {
            id: serde_json::from_str(id.get()).map_err(|_| self.missing("id"))?,
            payload: self.payload()?.unwrap_or_else(|| Payload::Json(RawJson::null())),
            position: self.position(),
            channel: self.channel()?,
            event: self.event.take().ok_or_else(|| self.missing("event"))?,
            ts: self.ts.ok_or_else(|| self.missing("ts"))?,
            user_id: self.user_id,
        })
    }
}

fn list(members: Vec<Present>) -> Vec<Member> {
    let member = |Present { user_id, connection_id, data }| {
        let data = data.map_or_else(RawJson::null, |data| RawJson::from_valid(String::from(Box::<str>::from(data))));
        Member { user_id, connection_id, data }
    };
    members.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn answers_have_what_was_asked_for() {
        let text = r#"{"type":"ack","id":4,"payload":null,"members":[{"userId":null,"connectionId":"c","data":{"a": 1}}],
            "messages":[{"type":"message","channel":"c","event":"e","payload":1,"id":"i","ts":5}],"epoch":"x","offset":9}"#;
        let Ok(Incoming::Ack(4, answer)) = Incoming::parse(text) else { panic!("an ack") };
        assert_eq!(answer.payload, Some(Payload::Json(RawJson::null())));
        assert_eq!((answer.messages.len(), answer.members[0].data.as_str()), (1, r#"{"a": 1}"#));
        assert_eq!(answer.position.map(|position| position.offset), Some(9));
        let Ok(Incoming::Ack(_, answer)) = Incoming::parse(r#"{"type":"ack","id":4}"#) else { panic!("an ack") };
        assert_eq!(answer.payload, None);
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
            r#"{"type":"ack","id":1,"messages":[5]}"#,
            r#"{"type":"message","channel":"c","event":"e","payload":1,"ts":5}"#,
            r#"{"type":"message","channel":"c","event":"e","payload":"?","encoding":"base64","id":"i","ts":5}"#,
            r#"{"type":"presence_state","channel":"c","members":[{}]}"#,
            r#"{"type":"presence_diff","channel":"c","joins":[]}"#,
            r#"{"type":"event","event":"e"}"#,
            r#"{"type":"gap","channel":"c"}"#,
            r#"{"type":"auth_ack"}"#,
        ] {
            assert!(Incoming::parse(text).is_err(), "{text}");
        }
        assert!(matches!(Incoming::parse(r#"{"type":"tomorrow","x":1}"#), Ok(Incoming::Other)));
    }
}
