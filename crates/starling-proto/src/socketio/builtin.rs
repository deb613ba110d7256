//! The events that the server understands itself: `subscribe`, `unsubscribe`, `publish`; and all others, which are the
//! application's.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{
    ChannelName, Epoch, ErrorCode, MessageId, Payload, Position, Publish, RawJson, Refusal, Request, Start, Subscribe,
};

use super::arguments::{self, NoSuchAttachment};
use super::{MAX_DEPTH, MAX_NAME_BYTES, RESERVED_EVENTS};
use crate::json_text::is_too_deep;

/// Why an event is not carried out.
#[derive(Debug)]
pub(super) enum NotAnEvent {
    /// It is none of the protocol: the connection is closed.
    Malformed,
    /// It is one, and refused.
    Refused(Refusal),
}

impl From<NoSuchAttachment> for NotAnEvent {
    fn from(_: NoSuchAttachment) -> Self {
        Self::Malformed
    }
}

impl From<Refusal> for NotAnEvent {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[derive(Default, Deserialize)]
struct SubscribeOptions<'a> {
    #[serde(borrow)]
    recover: Option<Recover<'a>>,
    rewind: Option<u32>,
    #[serde(default)]
    presence: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Recover<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublishOptions<'a> {
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    echo: Option<bool>,
}

/// What an event of a namespace asks for.
pub(super) fn request(scope: Option<&ChannelName>, data: &str, attachments: &[Bytes]) -> Result<Request, NotAnEvent> {
    let elements = arguments::split(data).ok_or(NotAnEvent::Malformed)?;
    let (event, arguments) = elements.split_first().ok_or(NotAnEvent::Malformed)?;
    let event = event_name(event)?;
    if is_too_deep(data.as_bytes(), MAX_DEPTH) {
        return Err(invalid("an argument is nested too deeply").into());
    }
    Ok(match &*event {
        "subscribe" => Request::Subscribe(subscribe(scope, arguments, attachments)?),
        "unsubscribe" => match arguments {
            [channel] => Request::Unsubscribe { channel: channel_of(scope, channel)? },
            _ => return Err(invalid("unsubscribe(channel, ack)").into()),
        },
        "publish" => Request::Publish(publish(scope, arguments, attachments)?),
        _ => Request::Event {
            channel: scope.cloned(),
            payload: payload_of(arguments, attachments)?,
            event: checked_name(event)?.into(),
            fallback: None,
        },
    })
}

/// The arguments of an event or an ack as a payload.
pub(super) fn payload_of(arguments: &[&str], attachments: &[Bytes]) -> Result<Payload, NoSuchAttachment> {
    if let [only] = arguments {
        return arguments::payload(only, attachments);
    }
    let arguments: Result<Vec<Cow<'_, str>>, NoSuchAttachment> =
        arguments.iter().map(|argument| arguments::with_bytes(argument, attachments)).collect();
    Ok(arguments::list(arguments?.iter().map(|argument| &**argument)))
}

fn subscribe(scope: Option<&ChannelName>, arguments: &[&str], attachments: &[Bytes]) -> Result<Subscribe, NotAnEvent> {
    let (channel, options) = match arguments {
        [channel] => (channel, None),
        [channel, options] => (channel, Some(arguments::with_bytes(options, attachments)?)),
        _ => return Err(invalid("subscribe(channel, [options], ack)").into()),
    };
    let options: SubscribeOptions<'_> = read_options(options.as_deref())?;
    let position = options.recover.map(|recover| {
        Ok::<_, Refusal>(Position { epoch: Epoch::new(checked_name(recover.epoch)?), offset: recover.offset })
    });
    let start = Start::asked(position.transpose()?, options.rewind.unwrap_or(0));
    let enter = options.data.map(|data| RawJson::from_valid(data.get().to_owned()));
    if enter.as_ref().is_some_and(|data| !data.is_object()) {
        return Err(invalid("`data` must be an object").into());
    }
    let presence = options.presence.unwrap_or(false);
    Ok(Subscribe { channel: channel_of(scope, channel)?, start, presence, enter, more: None })
}

fn publish(scope: Option<&ChannelName>, arguments: &[&str], attachments: &[Bytes]) -> Result<Publish, NotAnEvent> {
    let (channel, event, payload, options) = match arguments {
        [channel, event, payload] => (channel, event, payload, None),
        [channel, event, payload, options] => (channel, event, payload, Some(*options)),
        _ => return Err(invalid("publish(channel, event, payload, [options], ack)").into()),
    };
    let options: PublishOptions<'_> = read_options(options)?;
    let event: Cow<'_, str> = serde_json::from_str(event).map_err(|_| invalid("`event` must be a string"))?;
    Ok(Publish {
        channel: channel_of(scope, channel)?,
        event: Arc::from(checked_name(event)?),
        payload: arguments::payload(payload, attachments)?,
        message_id: options.message_id.map(checked_name).transpose()?.map(MessageId::new),
        key: options.key.map(checked_name).transpose()?.map(Arc::from),
        echo: options.echo.unwrap_or(true),
        vouched: false,
    })
}

fn read_options<'a, T: Default + Deserialize<'a>>(options: Option<&'a str>) -> Result<T, Refusal> {
    match options {
        None | Some("null") => Ok(T::default()),
        Some(options) if options.starts_with('{') => {
            serde_json::from_str(options).map_err(|_| invalid("an option has the wrong type"))
        }
        Some(_) => Err(invalid("options must be an object")),
    }
}

/// The channel that a room of a namespace is.
fn channel_of(scope: Option<&ChannelName>, room: &str) -> Result<ChannelName, Refusal> {
    let room: Cow<'_, str> = serde_json::from_str(room).map_err(|_| invalid("`channel` must be a string"))?;
    let channel = match scope {
        None => ChannelName::parse(&room),
        Some(scope) if !room.is_empty() => ChannelName::parse(&format!("{scope}{room}")),
        Some(_) => ChannelName::parse(""),
    };
    let channel = channel.map_err(|error| Refusal::new(ErrorCode::InvalidChannel, error.to_string()))?;
    if scope.is_none() && channel.scope().is_some() {
        return Err(Refusal::new(ErrorCode::InvalidChannel, "this channel is a room of another namespace"));
    }
    Ok(channel)
}

fn event_name(json: &str) -> Result<Cow<'_, str>, NotAnEvent> {
    // The protocol allows numbers as well.
    if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(Cow::Borrowed(json));
    }
    let name: String = serde_json::from_str(json).map_err(|_| NotAnEvent::Malformed)?;
    if RESERVED_EVENTS.contains(&&*name) {
        return Err(NotAnEvent::Malformed);
    }
    Ok(Cow::Owned(name))
}

fn checked_name(name: Cow<'_, str>) -> Result<String, Refusal> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(invalid("a name has 1 to 255 bytes and no control characters"));
    }
    Ok(name.into_owned())
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, why)
}
