//! Packets for Pusher clients, written by concatenation.
//!
//! `data` is a string that holds JSON text, as the real service sends it; only that of errors is an object, which is
//! what its documentation and its clients say.

use starling_core::{ChannelName, PresenceEntry, RawJson, UserId};

use super::names::as_pusher;
use crate::json_text::{write_number, write_text};
use crate::session::OwnedPacket;

/// `{"event":…,"data":"…","channel":…}`, the data being JSON text.
pub(super) fn event(event: &str, channel: Option<&ChannelName>, data: &[u8]) -> OwnedPacket {
    let mut out = begin(event, data.len() + data.len() / 8 + 64);
    write_data(&mut out, data);
    if let Some(channel) = channel {
        write_channel(&mut out, channel);
    }
    end(out)
}

/// `{"event":…,"data":` with room for so much more.
pub(super) fn begin(event: &str, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.len() + room);
    out.extend_from_slice(br#"{"event":"#);
    write_text(&mut out, event);
    out.extend_from_slice(br#","data":"#);
    out
}

/// JSON text as a string.
pub(super) fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    // What is written here is JSON text, and so UTF-8.
    write_text(out, std::str::from_utf8(data).unwrap_or("null"));
}

pub(super) fn write_channel(out: &mut Vec<u8>, channel: &ChannelName) {
    let (prefix, rest) = as_pusher(channel);
    if prefix.is_empty() {
        return write_named_channel(out, rest);
    }
    write_named_channel(out, &format!("{prefix}{rest}"));
}

fn write_named_channel(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(br#","channel":"#);
    write_text(out, name);
}

pub(super) fn end(mut out: Vec<u8>) -> OwnedPacket {
    out.push(b'}');
    OwnedPacket::Text(out.into())
}

/// `pusher:error`. Without a code it tells of something that the client did, and that had no effect.
pub(super) fn error(code: Option<u16>, message: &str, channel: Option<&str>) -> OwnedPacket {
    let mut out = begin("pusher:error", message.len() + 64);
    out.extend_from_slice(br#"{"code":"#);
    match code {
        Some(code) => write_number(&mut out, u64::from(code)),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","message":"#);
    write_text(&mut out, message);
    out.push(b'}');
    if let Some(channel) = channel {
        write_named_channel(&mut out, channel);
    }
    end(out)
}

/// `pusher:subscription_error`, which the client hands to the channel that was subscribed to.
pub(super) fn subscription_error(channel: &str, kind: &str, message: &str, status: u16) -> OwnedPacket {
    let mut out = begin("pusher:subscription_error", channel.len() + message.len() + 96);
    out.extend_from_slice(br#"{"type":"#);
    write_text(&mut out, kind);
    out.extend_from_slice(br#","error":"#);
    write_text(&mut out, message);
    out.extend_from_slice(br#","status":"#);
    write_number(&mut out, u64::from(status));
    out.push(b'}');
    write_named_channel(&mut out, channel);
    end(out)
}

/// The first words to a client.
pub(super) fn established(socket_id: &str, activity_timeout: u32) -> OwnedPacket {
    let mut data = br#"{"socket_id":"#.to_vec();
    write_text(&mut data, socket_id);
    data.extend_from_slice(br#","activity_timeout":"#);
    write_number(&mut data, u64::from(activity_timeout));
    data.push(b'}');
    event("pusher:connection_established", None, &data)
}

/// `pusher_internal:subscription_succeeded`, with everyone who is present where the channel has presence.
pub(super) fn subscription_succeeded(channel: &ChannelName, members: Option<&[PresenceEntry]>) -> OwnedPacket {
    let data = members.map_or_else(|| b"{}".to_vec(), presence);
    event("pusher_internal:subscription_succeeded", Some(channel), &data)
}

/// `{"presence":{"count","ids","hash"}}`: each user once, with what its first connection told.
fn presence(members: &[PresenceEntry]) -> Vec<u8> {
    let mut users: Vec<(&str, &PresenceEntry)> = members.iter().map(|entry| (user_id(entry), entry)).collect();
    users.sort_unstable_by(|(user, entry), (other, another)| {
        user.cmp(other).then(entry.revision.cmp(&another.revision))
    });
    users.dedup_by_key(|(user, _)| *user);
    users.sort_unstable_by_key(|(_, entry)| entry.revision);
    let mut out = br#"{"presence":{"count":"#.to_vec();
    write_number(&mut out, users.len() as u64);
    out.extend_from_slice(br#","ids":["#);
    for (index, (user, _)) in users.iter().enumerate() {
        separate(&mut out, index);
        write_text(&mut out, user);
    }
    out.extend_from_slice(br#"],"hash":{"#);
    for (index, (user, entry)) in users.iter().enumerate() {
        separate(&mut out, index);
        write_text(&mut out, user);
        out.push(b':');
        out.extend_from_slice(user_info(&entry.data).as_bytes());
    }
    out.extend_from_slice(b"}}}");
    out
}

/// `pusher_internal:member_added`.
pub(super) fn member_added(channel: &ChannelName, entry: &PresenceEntry) -> OwnedPacket {
    let mut data = br#"{"user_id":"#.to_vec();
    write_text(&mut data, user_id(entry));
    data.extend_from_slice(br#","user_info":"#);
    data.extend_from_slice(user_info(&entry.data).as_bytes());
    data.push(b'}');
    event("pusher_internal:member_added", Some(channel), &data)
}

/// `pusher_internal:member_removed`.
pub(super) fn member_removed(channel: &ChannelName, user: &str) -> OwnedPacket {
    let mut data = br#"{"user_id":"#.to_vec();
    write_text(&mut data, user);
    data.push(b'}');
    event("pusher_internal:member_removed", Some(channel), &data)
}

/// `pusher_internal:watchlist_events`; none when nobody came or went.
pub(super) fn watchlist_events(online: &[UserId], offline: &[UserId]) -> Option<OwnedPacket> {
    if online.is_empty() && offline.is_empty() {
        return None;
    }
    let mut data = br#"{"events":["#.to_vec();
    let lists = [("online", online), ("offline", offline)].into_iter().filter(|(_, users)| !users.is_empty());
    for (nth, (name, users)) in lists.enumerate() {
        separate(&mut data, nth);
        data.extend_from_slice(format!(r#"{{"name":"{name}","user_ids":["#).as_bytes());
        for (index, user) in users.iter().enumerate() {
            separate(&mut data, index);
            write_text(&mut data, user.as_str());
        }
        data.extend_from_slice(b"]}");
    }
    data.extend_from_slice(b"]}");
    Some(event("pusher_internal:watchlist_events", None, &data))
}

/// A user's id; whoever is present anonymously goes by the id of its connection.
pub(super) fn user_id(entry: &PresenceEntry) -> &str {
    entry.user.as_ref().map_or(entry.connection.as_str(), UserId::as_str)
}

/// The start of presence data that holds a `user_info` which is no object.
const WRAPPED: &str = r#"{"user_info":"#;

/// Presence data is an object; a `user_info` of another kind is kept inside of one.
pub(super) fn presence_data(user_info: Option<&str>) -> RawJson {
    match user_info {
        None | Some("null") => RawJson::empty_object(),
        Some(info) if info.starts_with('{') => RawJson::from_valid(info.to_owned()),
        Some(info) => RawJson::from_valid(format!("{WRAPPED}{info}}}")),
    }
}

/// What [`presence_data`] was made of.
pub(super) fn user_info(data: &RawJson) -> &str {
    let text = data.as_str();
    let inner = text.strip_prefix(WRAPPED).and_then(|rest| rest.strip_suffix('}'));
    inner
        .filter(|info| serde_json::from_str::<serde::de::IgnoredAny>(info).is_ok() && !info.starts_with('{'))
        .unwrap_or(text)
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}
