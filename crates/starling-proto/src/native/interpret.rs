//! From the fields of a client message to what the client wants, or why it cannot be understood.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use starling_core::{
    ChannelName, DEFAULT_EVENT, Epoch, ErrorCode, HistoryRange, MessageId, Payload, Position, PresenceAction, Publish,
    RawJson, Refusal, Request, Start, Subscribe, Tag,
};

use super::fields::{Fields, Name, Value};
use super::{DEFAULT_HISTORY_LIMIT, MAX_HISTORY_LIMIT, MAX_ID_BYTES, MAX_NAME_BYTES};

/// Padding may be left out, because browsers' and URL-minded encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a client wants.
#[derive(Debug)]
pub enum Command {
    /// A sign of life, to be answered with `pong`.
    Ping,
    /// Something for the hub.
    Request(Request),
}

/// A client message that was understood, or not.
#[derive(Debug)]
pub struct Interpreted {
    /// The client's `id` as it was written; empty when there is none, or none that can be used.
    pub tag: Tag,
    /// What it wants, or why it is refused.
    pub outcome: Result<Command, Refusal>,
    /// Where it is refused: the channel that it named. Without an id, a client has nothing else to tell by.
    pub channel: Option<ChannelName>,
}

pub(super) fn interpret<'a, V: Value<'a>>(fields: &Fields<V>) -> Interpreted {
    let id = id(fields);
    let tag = Tag(id.as_ref().map_or_else(|_| Bytes::new(), |id| Bytes::copy_from_slice(id)));
    let outcome = id.and_then(|_| command(fields));
    let channel = if outcome.is_err() { channel(fields).ok() } else { None };
    Interpreted { tag, outcome, channel }
}

/// The client's reference as it was written; empty if it gave none.
pub(super) fn id<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<&'a [u8], Refusal> {
    let Some(value) = fields.value(Name::Id) else { return Ok(&[]) };
    match value.reference() {
        Some((written, content)) if content <= MAX_ID_BYTES => Ok(written),
        Some(_) => Err(invalid(Name::Id, "has more than 256 bytes")),
        None => Err(invalid(Name::Id, "must be a string or a number")),
    }
}

fn command<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Command, Refusal> {
    if let Some(name) = fields.repeated() {
        return Err(invalid(name, "stands there twice"));
    }
    let Some(kind) = fields.value(Name::Type) else {
        return Err(Refusal::new(ErrorCode::MissingType, "a message has a `type`"));
    };
    let kind = kind.text().ok_or_else(|| invalid(Name::Type, "must be a string"))?;
    let request = match &*kind {
        "publish" => Request::Publish(publish(fields)?),
        "ping" => return Ok(Command::Ping),
        "subscribe" => Request::Subscribe(subscribe(fields)?),
        "unsubscribe" => Request::Unsubscribe { channel: channel(fields)? },
        "event" => Request::Event {
            channel: given(fields, Name::Channel).map(|_| channel(fields)).transpose()?,
            event: event(fields)?.ok_or_else(|| missing(Name::Event))?.into(),
            payload: payload(fields)?,
            fallback: None,
        },
        "reply" => Request::Acknowledge {
            ack: whole(fields, Name::Ack)?.ok_or_else(|| missing(Name::Ack))?,
            payload: payload(fields)?,
        },
        "presence" => Request::Presence { channel: channel(fields)?, action: presence_action(fields)? },
        "history" => Request::History { channel: channel(fields)?, range: history_range(fields)? },
        "auth" => Request::Authenticate { token: text(fields, Name::Token)?.map(Into::into) },
        _ => return Err(Refusal::new(ErrorCode::UnknownType, "unknown `type`")),
    };
    Ok(Command::Request(request))
}

fn publish<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Publish, Refusal> {
    Ok(Publish {
        channel: channel(fields)?,
        event: event(fields)?.map_or_else(|| Arc::from(DEFAULT_EVENT), Arc::from),
        message_id: name(fields, Name::MessageId, 1)?.map(|id| MessageId::new(&*id)),
        key: name(fields, Name::Key, 0)?.map(Arc::from),
        echo: flag(fields, Name::Echo)?.unwrap_or(true),
        payload: payload(fields)?,
        vouched: false,
    })
}

fn subscribe<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Subscribe, Refusal> {
    let channel = channel(fields)?;
    let rewind = whole(fields, Name::Rewind)?
        .map(|count| u32::try_from(count).map_err(|_| invalid(Name::Rewind, "is too large")))
        .transpose()?;
    let start = Start::asked(recover(fields)?, rewind.unwrap_or(0));
    let presence = flag(fields, Name::Presence)?.unwrap_or(false);
    Ok(Subscribe { channel, start, presence, enter: data(fields)?, more: None })
}

fn recover<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Option<Position>, Refusal> {
    let Some(value) = given(fields, Name::Recover) else { return Ok(None) };
    let members = value.members().ok_or_else(|| invalid(Name::Recover, "must be an object"))?;
    if let Some(name) = members.repeated() {
        return Err(invalid(name, "stands there twice"));
    }
    let epoch = name(&members, Name::Epoch, 0)?.ok_or_else(|| missing(Name::Epoch))?;
    let offset = whole(&members, Name::Offset)?.ok_or_else(|| missing(Name::Offset))?;
    Ok(Some(Position { epoch: Epoch::new(&*epoch), offset }))
}

fn history_range<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<HistoryRange, Refusal> {
    let limit = match whole(fields, Name::Limit)? {
        None => DEFAULT_HISTORY_LIMIT,
        Some(0) => return Err(invalid(Name::Limit, "must be at least 1")),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_HISTORY_LIMIT),
    };
    Ok(HistoryRange { limit, before: whole(fields, Name::Before)?, after: whole(fields, Name::After)? })
}

fn presence_action<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<PresenceAction, Refusal> {
    let action = text(fields, Name::Action)?.ok_or_else(|| missing(Name::Action))?;
    Ok(match &*action {
        "get" => PresenceAction::Get,
        "enter" => PresenceAction::Enter(data(fields)?),
        "update" => PresenceAction::Update(data(fields)?.ok_or_else(|| missing(Name::Data))?),
        "leave" => PresenceAction::Leave,
        _ => return Err(invalid(Name::Action, "must be get, enter, update or leave")),
    })
}

fn channel<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<ChannelName, Refusal> {
    let name = text(fields, Name::Channel)?.ok_or_else(|| missing(Name::Channel))?;
    ChannelName::parse(&name).map_err(|error| Refusal::new(ErrorCode::InvalidChannel, error.to_string()))
}

fn event<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let event = name(fields, Name::Event, 1)?;
    if event.as_deref().is_some_and(|event| event.chars().any(char::is_control)) {
        return Err(invalid(Name::Event, "has control characters"));
    }
    Ok(event)
}

/// The payload, which must be there; null is one.
fn payload<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Payload, Refusal> {
    let value = fields.value(Name::Payload).ok_or_else(|| missing(Name::Payload))?;
    match text(fields, Name::Encoding)?.as_deref() {
        None => value.payload().map_err(|why| invalid(Name::Payload, why)),
        Some("base64") => value
            .text()
            .and_then(|text| BASE64.decode(text.as_bytes()).ok())
            .map(|bytes| Payload::Binary(bytes.into()))
            .ok_or_else(|| invalid(Name::Payload, "must be base64")),
        Some(_) => Err(invalid(Name::Encoding, "must be \"base64\"")),
    }
}

fn data<'a, V: Value<'a>>(fields: &Fields<V>) -> Result<Option<RawJson>, Refusal> {
    let Some(value) = given(fields, Name::Data) else { return Ok(None) };
    let json = value.json().map_err(|why| invalid(Name::Data, why))?;
    if !json.is_object() {
        return Err(invalid(Name::Data, "must be an object"));
    }
    Ok(Some(json))
}

fn name<'a, V: Value<'a>>(fields: &Fields<V>, field: Name, shortest: usize) -> Result<Option<Cow<'a, str>>, Refusal> {
    let name = text(fields, field)?;
    if name.as_deref().is_some_and(|name| !(shortest..=MAX_NAME_BYTES).contains(&name.len())) {
        return Err(invalid(field, "is empty or has more than 255 bytes"));
    }
    Ok(name)
}

fn text<'a, V: Value<'a>>(fields: &Fields<V>, name: Name) -> Result<Option<Cow<'a, str>>, Refusal> {
    read(fields, name, V::text, "must be a string")
}

fn whole<'a, V: Value<'a>>(fields: &Fields<V>, name: Name) -> Result<Option<u64>, Refusal> {
    read(fields, name, V::unsigned, "must be a whole number from 0")
}

fn flag<'a, V: Value<'a>>(fields: &Fields<V>, name: Name) -> Result<Option<bool>, Refusal> {
    read(fields, name, V::boolean, "must be true or false")
}

fn read<'a, V: Value<'a>, T>(
    fields: &Fields<V>,
    name: Name,
    as_type: impl FnOnce(V) -> Option<T>,
    otherwise: &'static str,
) -> Result<Option<T>, Refusal> {
    let Some(value) = given(fields, name) else { return Ok(None) };
    as_type(value).map(Some).ok_or_else(|| invalid(name, otherwise))
}

/// The value of an optional field; null is none.
fn given<'a, V: Value<'a>>(fields: &Fields<V>, name: Name) -> Option<V> {
    fields.value(name).filter(|value| !value.is_null())
}

fn missing(name: Name) -> Refusal {
    invalid(name, "is missing")
}

fn invalid(name: Name, why: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, format!("`{}` {why}", name.as_str()))
}
