//! Looking at channels: which are occupied, and who is there.

use serde_json::{Map, Value, json};
use starling_core::{ChannelName, ErrorCode, HistoryRange, Payload, PresenceEntry, Query};
use starling_proto::json_text::write_base64;
use starling_proto::pusher::{self, PRESENCE_PREFIX};

use super::api::{Answer, Call, Failure};
use crate::api::census::{self, Census};
use crate::shared::unix_ms;

/// Which attributes of a channel are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub user_count: bool,
    pub subscription_count: bool,
    pub cache: bool,
}

impl Info {
    /// Reads a list with commas.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut info = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                _ => {
                    let message = "info takes user_count, subscription_count and cache";
                    return Err(Failure::invalid(format!("Invalid attribute {name:?}: {message}")));
                }
            }
        }
        Ok(info)
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The channel of this name, if it is one.
pub(super) fn channel_name(call: &Call, name: &str) -> Result<ChannelName, Failure> {
    let longest = call.app.settings.max_channel_name;
    pusher::channel(name, longest).map_err(|error| Failure::invalid(format!("Invalid channel name {name:?}: {error}")))
}

/// `GET /apps/{id}/channels`
pub(super) async fn channels(call: &Call) -> Answer {
    let prefix = call.parameters.get("filter_by_prefix").unwrap_or_default();
    let info = Info::parse(call.parameters.get("info").unwrap_or_default())?;
    if info.user_count && !prefix.starts_with(PRESENCE_PREFIX) {
        return Err(Failure::invalid("user_count needs filter_by_prefix=presence-"));
    }
    let query = Query::Channels { prefix: prefix.to_owned() };
    let census = Census::of(census::ask(&call.shared, &call.id, &query).await?);
    let mut channels = Map::new();
    for counted in census.page(None, usize::MAX).0 {
        let mut attributes = Map::new();
        if info.user_count {
            attributes.insert("user_count".into(), members(call, &counted.channel).await?.len().into());
        }
        if info.subscription_count {
            attributes.insert("subscription_count".into(), counted.members.into());
        }
        channels.insert(counted.channel.to_string(), attributes.into());
    }
    Ok(json!({ "channels": channels }).to_string().into_bytes())
}

/// `GET /apps/{id}/channels/{channel}`
pub(super) async fn channel(call: &Call, name: &str) -> Answer {
    let channel = channel_name(call, name)?;
    let info = Info::parse(call.parameters.get("info").unwrap_or_default())?;
    if info.user_count && !name.starts_with(PRESENCE_PREFIX) {
        return Err(Failure::invalid("Cannot retrieve the user count unless the channel is a presence channel"));
    }
    if info.cache && !pusher::is_cache(name) {
        return Err(Failure::invalid("Cannot retrieve the cache unless the channel is a cache channel"));
    }
    let occupied = headcount(call, &channel).await? > 0;
    let mut answer = attributes(call, &channel, info).await?;
    answer.insert("occupied".into(), occupied.into());
    Ok(Value::from(answer).to_string().into_bytes())
}

/// `GET /apps/{id}/channels/{channel}/users`
pub(super) async fn users(call: &Call, name: &str) -> Answer {
    let channel = channel_name(call, name)?;
    if !name.starts_with(PRESENCE_PREFIX) {
        return Err(Failure::invalid("Users can only be retrieved for presence channels"));
    }
    let users: Vec<Value> = members(call, &channel).await?.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(json!({ "users": users }).to_string().into_bytes())
}

/// What is asked for of one channel. An attribute that channels of its kind do not have is left out.
pub(super) async fn attributes(call: &Call, channel: &ChannelName, info: Info) -> Result<Map<String, Value>, Failure> {
    let mut attributes = Map::new();
    if info.user_count && channel.as_str().starts_with(PRESENCE_PREFIX) {
        attributes.insert("user_count".into(), members(call, channel).await?.len().into());
    }
    if info.subscription_count {
        attributes.insert("subscription_count".into(), headcount(call, channel).await?.into());
    }
    if info.cache && pusher::is_cache(channel.as_str()) {
        attributes.insert("cache".into(), cached(call, channel).await?);
    }
    Ok(attributes)
}

async fn headcount(call: &Call, channel: &ChannelName) -> Result<u64, Failure> {
    let query = Query::Channel { channel: channel.clone() };
    Ok(Census::of(census::ask(&call.shared, &call.id, &query).await?).channel(channel).members)
}

/// The users of a presence channel, those who came first before the others.
async fn members(call: &Call, channel: &ChannelName) -> Result<Vec<String>, Failure> {
    let snapshot = match call.shared.hub.members(&call.id, channel).wait().await {
        Ok(snapshot) => snapshot,
        // Without a rule nobody can be there.
        Err(refusal) if refusal.is(ErrorCode::NoPresence) => return Ok(Vec::new()),
        Err(refusal) => return Err(refusal.into()),
    };
    let mut entries: Vec<&PresenceEntry> = snapshot.members.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.revision);
    let mut seen = hashbrown::HashSet::with_capacity(entries.len());
    let name = |entry: &PresenceEntry| entry.user.as_ref().map_or(entry.connection.to_string(), ToString::to_string);
    Ok(entries.into_iter().map(name).filter(|name| seen.insert(name.clone())).collect())
}

/// The last event of a channel that keeps it: `{"data","ttl"}`, the latter in seconds; or null.
async fn cached(call: &Call, channel: &ChannelName) -> Result<Value, Failure> {
    let Some(policy) = call.shared.hub.rule(&call.id, channel).and_then(|rule| rule.history) else {
        return Ok(Value::Null);
    };
    let now = unix_ms();
    let last = HistoryRange { limit: 1, before: None, after: None };
    let page = call.shared.hub.history(&call.id, channel, last, now).wait().await?;
    let Some(message) = page.messages.last() else { return Ok(Value::Null) };
    let age = std::time::Duration::from_millis(now.saturating_sub(message.ts));
    let data = match &message.payload {
        Payload::Json(json) => json.as_str().to_owned(),
        Payload::Binary(bytes) => {
            let mut text = Vec::new();
            write_base64(&mut text, bytes);
            String::from_utf8(text).unwrap_or_default()
        }
    };
    Ok(json!({ "data": data, "ttl": policy.ttl.saturating_sub(age).as_secs() }))
}
