//! Triggering events: one on up to 100 channels, or up to 10 of them.
//!
//! Everything is checked before anything is published.

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{ChannelName, ConnectionId, Payload, Publish};
use starling_proto::pusher::{self, InvalidData, MAX_EVENT_NAME};

use super::api::{Answer, Call, Failure};
use super::look::{self, Info};
use crate::flight::publish_all;

/// Channels of one event.
const MAX_CHANNELS: usize = 100;
/// Events of one batch.
pub(super) const MAX_BATCH: usize = 10;

#[derive(Deserialize)]
struct EventBody<'a> {
    name: Option<String>,
    channel: Option<String>,
    channels: Option<Vec<String>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    socket_id: Option<String>,
    info: Option<String>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    batch: Vec<EventBody<'a>>,
}

/// An event that was checked.
struct Event {
    name: String,
    channels: Vec<(String, ChannelName)>,
    payload: Payload,
    exclude: Option<ConnectionId>,
    info: Info,
}

/// `POST /apps/{id}/events`
pub(super) async fn trigger(call: &Call) -> Answer {
    let event = Event::check(call, parse(&call.body)?)?;
    take_budget(call, event.channels.len())?;
    publish(call, std::slice::from_ref(&event)).await?;
    if event.info.is_empty() {
        return Ok(b"{}".to_vec());
    }
    let mut channels = serde_json::Map::new();
    for (name, channel) in &event.channels {
        channels.insert(name.clone(), look::attributes(call, channel, event.info).await?.into());
    }
    Ok(serde_json::json!({ "channels": channels }).to_string().into_bytes())
}

/// `POST /apps/{id}/batch_events`
pub(super) async fn trigger_batch(call: &Call) -> Answer {
    let BatchBody { batch } = parse(&call.body)?;
    if batch.len() > MAX_BATCH {
        return Err(Failure::invalid(format!("Batch too large ({} > {MAX_BATCH})", batch.len())));
    }
    let events = batch.into_iter().enumerate().map(|(index, body)| {
        let checked = Event::check(call, body);
        checked.map_err(|failure| Failure { message: format!("batch[{index}]: {}", failure.message), ..failure })
    });
    let events = events.collect::<Result<Vec<_>, _>>()?;
    take_budget(call, events.iter().map(|event| event.channels.len()).sum())?;
    publish(call, &events).await?;
    if events.iter().all(|event| event.info.is_empty()) {
        return Ok(b"{}".to_vec());
    }
    let mut batch = Vec::with_capacity(events.len());
    for event in &events {
        let mut attributes = serde_json::Map::new();
        if let Some((_, channel)) = event.channels.first() {
            attributes = look::attributes(call, channel, event.info).await?;
        }
        batch.push(attributes);
    }
    Ok(serde_json::json!({ "batch": batch }).to_string().into_bytes())
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::invalid(format!("Invalid JSON body: {error}")))
}

fn take_budget(call: &Call, events: usize) -> Result<(), Failure> {
    if call.shared.pusher.take_events(&call.keys, events, call.shared.clock.now()) {
        return Ok(());
    }
    Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, "Too many events in too little time"))
}

impl Event {
    fn check(call: &Call, body: EventBody<'_>) -> Result<Self, Failure> {
        let missing = |name: &str| Failure::invalid(format!("Missing required parameter: {name}"));
        let name = body.name.ok_or_else(|| missing("name"))?;
        if name.is_empty() || name.len() > MAX_EVENT_NAME {
            return Err(Failure::invalid(format!("Event names have 1 to {MAX_EVENT_NAME} characters")));
        }
        if pusher::is_reserved_event(&name) {
            return Err(Failure::invalid("Event names that start with pusher: or pusher_internal: are reserved"));
        }
        let names = match (body.channels, body.channel) {
            (Some(channels), _) => channels,
            (None, Some(channel)) => vec![channel],
            (None, None) => return Err(missing("channels")),
        };
        if names.is_empty() {
            return Err(missing("channels"));
        }
        if names.len() > MAX_CHANNELS {
            return Err(Failure::invalid(format!("Too many channels ({} > {MAX_CHANNELS})", names.len())));
        }
        let channels = names.into_iter().map(|name| Ok((name.clone(), check_channel(call, &name)?)));
        let channels = channels.collect::<Result<Vec<_>, Failure>>()?;
        let data = body.data.ok_or_else(|| missing("data"))?;
        let payload = pusher::payload(Some(data), call.app.settings.max_payload).map_err(|error| {
            let status = match error {
                InvalidData::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                InvalidData::TooDeep => StatusCode::BAD_REQUEST,
            };
            Failure::new(status, error.to_string())
        })?;
        let exclude = match body.socket_id.filter(|id| !id.is_empty()) {
            Some(id) if pusher::is_socket_id(&id) => Some(ConnectionId::new(id)),
            Some(_) => return Err(Failure::invalid("Invalid socket_id")),
            None => None,
        };
        let info = Info::parse(body.info.as_deref().unwrap_or_default())?;
        Ok(Self { name, channels, payload, exclude, info })
    }
}

async fn publish(call: &Call, events: &[Event]) -> Result<(), Failure> {
    let mut messages = Vec::with_capacity(events.len());
    for event in events {
        for (_, channel) in &event.channels {
            let publish = Publish::new(channel.clone(), event.name.as_str(), event.payload.clone());
            messages.push((publish, event.exclude.clone()));
        }
    }
    publish_all(&call.shared.hub, &call.id, messages).await?;
    Ok(())
}

fn check_channel(call: &Call, name: &str) -> Result<ChannelName, Failure> {
    let channel = look::channel_name(call, name)?;
    if channel.user().is_none() && call.shared.hub.rule(&call.id, &channel).is_none() {
        return Err(Failure::new(StatusCode::FORBIDDEN, format!("No channel rule allows {name}")));
    }
    Ok(channel)
}
