//! Looking at channels: which are occupied, who is there, what was said.

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use starling_core::{ErrorCode, HistoryPage, HistoryRange, PresenceEntry, Query, Refusal};
use starling_proto::native::{DEFAULT_HISTORY_LIMIT, MAX_HISTORY_LIMIT, json::write_message, json::write_text};
use utoipa::ToSchema;

use super::answer::{Answer, Failure, done, json, json_text};
use super::census::{self, Census, Headcount};
use super::openapi::Refused;
use super::routes::Call;
use crate::shared::unix_ms;

/// Channels in a listing without `limit`.
const DEFAULT_LIMIT: usize = 100;
/// Channels in a listing at most; a larger `limit` counts as this.
const MAX_LIMIT: usize = 1000;

/// Occupied channels.
#[derive(Serialize, ToSchema)]
struct ChannelList {
    /// In the order of their names (by code points).
    channels: Vec<ChannelEntry>,
    /// Where there are more: what to pass as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One channel.
#[derive(Serialize, ToSchema)]
struct ChannelEntry {
    channel: String,
    /// Connections that are subscribed.
    members: u64,
    /// Their distinct users; anonymous connections have none.
    users: u64,
    /// Which log, where the channel keeps history.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    /// Of the newest message, where the channel keeps history; 0: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

impl From<Headcount> for ChannelEntry {
    fn from(Headcount { channel, members, users }: Headcount) -> Self {
        Self { channel: channel.to_string(), members, users, epoch: None, offset: None }
    }
}

/// List occupied channels
///
/// Those of all nodes that have a member, user channels left out.
#[utoipa::path(
    get, path = "/api/channels", tag = "channels",
    params(
        ("prefix" = Option<String>, Query, description = "Only names that start with this"),
        ("limit" = Option<u32>, Query, minimum = 1, description = "Default 100; more than 1000 counts as that"),
        ("after" = Option<String>, Query, description = "Only names after this one: `next` of the page before"),
    ),
    responses((status = 200, description = "A page of them", body = ChannelList), Refused),
)]
pub(super) async fn list_channels(call: Call) -> Answer {
    let limit = call.query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    let prefix = call.query.text("prefix")?.unwrap_or_default().to_owned();
    let after = call.query.text("after")?;
    let census = Census::of(census::ask(&call.shared, &call.app, &Query::Channels { prefix }).await?);
    let (page, has_more) = census.page(after, limit);
    let next = page.last().filter(|_| has_more).map(|last| last.channel.to_string());
    json(&ChannelList { channels: page.into_iter().map(ChannelEntry::from).collect(), next })
}

/// Look at one channel
///
/// One that nobody uses has no members; it is not an error to ask.
#[utoipa::path(
    get, path = "/api/channels/{channel}", tag = "channels",
    params(("channel" = String, Path, description = "Its name, percent-encoded")),
    responses((status = 200, description = "Who is there, and the head of its log", body = ChannelEntry), Refused),
)]
pub(super) async fn get_channel(call: Call) -> Answer {
    let channel = call.names.channel()?;
    let query = Query::Channel { channel: channel.clone() };
    let census = Census::of(census::ask(&call.shared, &call.app, &query).await?);
    let mut entry = ChannelEntry::from(census.channel(&channel));
    let head = HistoryRange { limit: 1, before: None, after: None };
    match call.shared.hub.history(&call.app, &channel, head, unix_ms()).wait().await {
        Ok(HistoryPage { head, .. }) => (entry.epoch, entry.offset) = (Some(head.epoch.to_string()), Some(head.offset)),
        Err(refusal) if refusal.is(ErrorCode::NoHistory) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    json(&entry)
}

/// Who is present.
#[derive(Serialize, ToSchema)]
struct Presence<'a> {
    members: Vec<PresentMember<'a>>,
}

/// One connection that is present.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PresentMember<'a> {
    /// Null for an anonymous connection.
    #[schema(required)]
    user_id: Option<&'a str>,
    connection_id: &'a str,
    /// What it tells about itself.
    #[schema(value_type = Object)]
    data: &'a RawValue,
}

/// See who is present
#[utoipa::path(
    get, path = "/api/channels/{channel}/presence", tag = "channels",
    params(("channel" = String, Path, description = "Its name, percent-encoded")),
    responses(
        (status = 200, description = "Everyone on all nodes, in no particular order", body = Presence<'_>),
        (status = 404, description = "NO_PRESENCE: the channel has none", body = super::answer::ErrorObject<'_>),
        Refused,
    ),
)]
pub(super) async fn get_presence(call: Call) -> Answer {
    let channel = call.names.channel()?;
    let snapshot = call.shared.hub.members(&call.app, &channel).wait().await?;
    let members = snapshot.members.iter().map(PresentMember::of).collect::<Result<_, _>>()?;
    json(&Presence { members })
}

impl<'a> PresentMember<'a> {
    fn of(entry: &'a PresenceEntry) -> Result<Self, Failure> {
        let data = serde_json::from_str(entry.data.as_str());
        let data = data.map_err(|_| Refusal::new(ErrorCode::Internal, "presence data is not JSON"))?;
        let user_id = entry.user.as_ref().map(starling_core::UserId::as_str);
        Ok(Self { user_id, connection_id: entry.connection.as_str(), data })
    }
}

/// A part of a channel's log.
#[derive(ToSchema)]
#[schema(as = History)]
#[expect(dead_code, reason = "only described: it is written by concatenation, so that payloads stay as they are")]
struct HistoryObject {
    /// The oldest first.
    messages: Vec<MessageObject>,
    /// Which log.
    epoch: String,
    /// Of the newest message in the log; 0: there was none.
    offset: u64,
}

/// A message, as native clients get it.
#[derive(ToSchema)]
#[schema(as = Message, rename_all = "camelCase")]
#[expect(dead_code, reason = "only described: `write_message` writes it")]
struct MessageObject {
    /// Always `message`.
    r#type: String,
    channel: String,
    event: String,
    /// As it was published; base64 if `encoding` says so.
    payload: serde_json::Value,
    /// `base64`: the payload is bytes.
    encoding: Option<String>,
    id: String,
    /// When it was accepted, in Unix milliseconds.
    ts: u64,
    /// Its sender, if that was a connection with a user.
    user_id: Option<String>,
    offset: u64,
    epoch: String,
}

/// Read what was published
///
/// Oldest first. `limit` without `after` means the newest.
#[utoipa::path(
    get, path = "/api/channels/{channel}/history", tag = "channels",
    params(
        ("channel" = String, Path, description = "Its name, percent-encoded"),
        ("limit" = Option<u32>, Query, minimum = 1, description = "Default 100; more than 1000 counts as that"),
        ("before" = Option<u64>, Query, description = "Only smaller offsets"),
        ("after" = Option<u64>, Query, description = "Only larger offsets"),
    ),
    responses(
        (status = 200, description = "A part of the log", body = HistoryObject),
        (status = 404, description = "NO_HISTORY: the channel keeps none", body = super::answer::ErrorObject<'_>),
        Refused,
    ),
)]
pub(super) async fn get_history(call: Call) -> Answer {
    let channel = call.names.channel()?;
    let range = HistoryRange {
        limit: call.query.limit(DEFAULT_HISTORY_LIMIT, MAX_HISTORY_LIMIT)?,
        before: call.query.whole("before")?,
        after: call.query.whole("after")?,
    };
    let page = call.shared.hub.history(&call.app, &channel, range, unix_ms()).wait().await?;
    Ok(json_text(StatusCode::OK, history_text(&page)))
}

fn history_text(page: &HistoryPage) -> Vec<u8> {
    let mut out = Vec::from(&br#"{"messages":["#[..]);
    for (index, message) in page.messages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_message(&mut out, message);
    }
    out.extend_from_slice(br#"],"epoch":"#);
    write_text(&mut out, page.head.epoch.as_str());
    out.extend_from_slice(format!(r#","offset":{}}}"#, page.head.offset).as_bytes());
    out
}

/// Forget what was published
///
/// A new epoch begins. Members go on; who comes back to a position of the old one is told that it did not recover.
#[utoipa::path(
    delete, path = "/api/channels/{channel}/history", tag = "channels",
    params(("channel" = String, Path, description = "Its name, percent-encoded")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 404, description = "NO_HISTORY: the channel keeps none", body = super::answer::ErrorObject<'_>),
        Refused,
    ),
)]
pub(super) async fn clear_history(call: Call) -> Answer {
    let channel = call.names.channel()?;
    let hub = &call.shared.hub;
    if hub.rule(&call.app, &channel).is_none_or(|rule| rule.history.is_none()) {
        return Err(Refusal::new(ErrorCode::NoHistory, "the channel keeps no history").into());
    }
    hub.engine().clear_history(&call.app, &channel).wait().await.map_err(Refusal::from)?;
    done()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use starling_core::{AppId, ChannelName, Epoch, Message, MessageId, Payload, Position, RawJson};

    use super::*;

    #[test]
    fn history_is_one_json_object_with_payloads_as_they_were() {
        let message = |offset: u64, payload: &str| {
            Arc::new(Message {
                app: AppId::from("1"),
                channel: ChannelName::parse("c").unwrap(),
                id: MessageId::from("m"),
                event: Arc::from("e"),
                payload: Payload::Json(RawJson::parse(payload).unwrap()),
                user: None,
                ts: 5,
                position: Some(Position { epoch: Epoch::from("x"), offset }),
                key: None,
                exclude: None,
            })
        };
        let head = Position { epoch: Epoch::from("x"), offset: 2 };
        let text = |messages| {
            let page = HistoryPage { messages, head: head.clone(), oldest: 1 };
            String::from_utf8(history_text(&page)).unwrap()
        };
        assert_eq!(text(vec![]), r#"{"messages":[],"epoch":"x","offset":2}"#);
        let both = text(vec![message(1, "1.50"), message(2, r#"{"b":18446744073709551616,"a":1}"#)]);
        let parsed: serde_json::Value = serde_json::from_str(&both).unwrap();
        assert_eq!(parsed["messages"].as_array().unwrap().len(), 2);
        assert!(both.contains(r#""payload":1.50"#) && both.contains(r#""payload":{"b":18446744073709551616,"a":1}"#));
    }
}
