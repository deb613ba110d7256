//! What clients say.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{Payload, RawJson};
use thiserror::Error;

use crate::json_text::{is_too_deep, write_text};

/// How deep arrays and objects of `data` may be nested.
pub const MAX_DEPTH: usize = 128;

/// One packet of a client.
#[derive(Debug)]
pub(super) enum ClientPacket<'a> {
    Ping,
    Pong,
    Subscribe(SubscribeFields),
    Unsubscribe {
        channel: String,
    },
    SignIn {
        auth: String,
        user_data: String,
    },
    /// An event for the members of a channel.
    Client {
        event: Cow<'a, str>,
        channel: String,
        data: Option<&'a RawValue>,
    },
}

/// The `data` of `pusher:subscribe`.
#[derive(Debug, Deserialize)]
pub(super) struct SubscribeFields {
    pub channel: String,
    pub auth: Option<String>,
    pub channel_data: Option<String>,
}

/// A packet that is none of the protocol's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("Messages are JSON objects with an event")]
    NotAnEvent,
    #[error("Binary messages are not supported")]
    Binary,
    #[error("The data of {0} is not of its form")]
    Data(&'static str),
    #[error("Client events need a channel")]
    NoChannel,
    #[error("Unknown event {0:?}: client events begin with client-")]
    UnknownEvent(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UnsubscribeFields {
    channel: String,
}

#[derive(Deserialize)]
struct SignInFields {
    auth: String,
    user_data: String,
}

pub(super) fn parse(text: &str) -> Result<ClientPacket<'_>, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Malformed::NotAnEvent)?;
    let Envelope { event, channel, data } = envelope;
    match &*event {
        "pusher:ping" => Ok(ClientPacket::Ping),
        "pusher:pong" => Ok(ClientPacket::Pong),
        "pusher:subscribe" => fields(data, "pusher:subscribe").map(ClientPacket::Subscribe),
        "pusher:unsubscribe" => {
            let UnsubscribeFields { channel } = fields(data, "pusher:unsubscribe")?;
            Ok(ClientPacket::Unsubscribe { channel })
        }
        "pusher:signin" => {
            let SignInFields { auth, user_data } = fields(data, "pusher:signin")?;
            Ok(ClientPacket::SignIn { auth, user_data })
        }
        name if name.starts_with("client-") => {
            let channel = channel.ok_or(Malformed::NoChannel)?;
            Ok(ClientPacket::Client { event, channel, data })
        }
        name => Err(Malformed::UnknownEvent(name.chars().take(64).collect())),
    }
}

/// Some clients send `data` as an object, some as a string that holds one.
fn fields<T: for<'de> Deserialize<'de>>(data: Option<&RawValue>, of: &'static str) -> Result<T, Malformed> {
    let text = data.ok_or(Malformed::Data(of))?.get();
    let fields = match text.starts_with('"') {
        true => serde_json::from_str::<String>(text).and_then(|text| serde_json::from_str(&text)),
        false => serde_json::from_str(text),
    };
    fields.map_err(|_| Malformed::Data(of))
}

/// Why `data` is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidData {
    /// It has more bytes than the app allows.
    #[error("The data content of this event exceeds the allowed maximum ({0} bytes)")]
    TooLarge(usize),
    /// Arrays and objects are nested more than [`MAX_DEPTH`] deep.
    #[error("The data content of this event is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// The payload that `data` stands for: JSON text is a JSON value, other text is a string.
///
/// # Errors
/// When it has more than `most` bytes or is nested too deeply.
pub fn payload_of_text(data: &str, most: usize) -> Result<Payload, InvalidData> {
    if data.len() > most {
        return Err(InvalidData::TooLarge(most));
    }
    let json = RawJson::parse(data).unwrap_or_else(|_| {
        let mut out = Vec::with_capacity(data.len() + 2);
        write_text(&mut out, data);
        RawJson::from_valid(out)
    });
    shallow(json)
}

/// The payload that the value of `data` stands for; a string as in [`payload_of_text`].
///
/// # Errors
/// As there.
pub fn payload(data: Option<&RawValue>, most: usize) -> Result<Payload, InvalidData> {
    let Some(data) = data.map(RawValue::get) else { return Ok(Payload::Json(RawJson::null())) };
    if data.starts_with('"')
        && let Ok(text) = serde_json::from_str::<Cow<'_, str>>(data)
    {
        return payload_of_text(&text, most);
    }
    if data.len() > most {
        return Err(InvalidData::TooLarge(most));
    }
    shallow(RawJson::from_valid(data.to_owned()))
}

fn shallow(json: RawJson) -> Result<Payload, InvalidData> {
    if is_too_deep(json.bytes(), MAX_DEPTH) { Err(InvalidData::TooDeep) } else { Ok(Payload::Json(json)) }
}
