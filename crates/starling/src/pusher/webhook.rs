//! Webhooks in Pusher's format: `{"time_ms","events":[{"name",…}]}`. Key and signature travel in headers.

use std::sync::Arc;

use starling_core::{Payload, PresenceEntry};
use starling_proto::json_text::{write_base64, write_number, write_text};
use starling_proto::pusher::PRESENCE_PREFIX;

use crate::hooks::webhooks::{Event, What};

/// The body of a delivery. Events that Pusher does not have are left out.
pub(crate) fn body(time_ms: u64, events: &[Arc<Event>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + events.iter().map(|event| event.size()).sum::<usize>());
    out.extend_from_slice(br#"{"time_ms":"#);
    write_number(&mut out, time_ms);
    out.extend_from_slice(br#","events":["#);
    let start = out.len();
    for event in events {
        describe(&event.what, start, &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

fn describe(what: &What, start: usize, out: &mut Vec<u8>) {
    match what {
        What::ChannelOccupied(channel) => begin("channel_occupied", channel.as_str(), start, out),
        What::ChannelVacated(channel) => begin("channel_vacated", channel.as_str(), start, out),
        What::CacheMiss(channel) => begin("cache_miss", channel.as_str(), start, out),
        What::MemberAdded(channel, entry) => {
            begin("member_added", channel.as_str(), start, out);
            member("user_id", user_id(entry), out);
        }
        What::MemberRemoved(channel, entry) => {
            begin("member_removed", channel.as_str(), start, out);
            member("user_id", user_id(entry), out);
        }
        What::ClientEvent { caller, publish } => {
            begin("client_event", publish.channel.as_str(), start, out);
            member("event", &publish.event, out);
            let data = match &publish.payload {
                Payload::Json(json) => json.as_str().to_owned(),
                Payload::Binary(bytes) => {
                    let mut text = Vec::new();
                    write_base64(&mut text, bytes);
                    String::from_utf8(text).unwrap_or_default()
                }
            };
            member("data", &data, out);
            member("socket_id", caller.connection.as_str(), out);
            // As in the event itself: only members of a presence channel are named.
            let has_members = publish.channel.as_str().starts_with(PRESENCE_PREFIX);
            if let Some(user) = caller.user.as_ref().filter(|_| has_members) {
                member("user_id", user.as_str(), out);
            }
        }
        What::SubscriptionCount { channel, count } => {
            begin("subscription_count", channel.as_str(), start, out);
            out.extend_from_slice(br#","subscription_count":"#);
            write_number(out, *count);
        }
        What::Connected(_) | What::Disconnected { .. } => return,
    }
    out.push(b'}');
}

fn begin(name: &str, channel: &str, start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
    out.extend_from_slice(br#"{"name":"#);
    write_text(out, name);
    member("channel", channel, out);
}

fn member(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    write_text(out, name);
    out.push(b':');
    write_text(out, value);
}

/// Whoever is present anonymously goes by the id of its connection.
fn user_id(entry: &PresenceEntry) -> &str {
    entry.user.as_ref().map_or(entry.connection.as_str(), starling_core::UserId::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use starling_core::{AppId, Caller, ChannelName, ConnectionId, Protocol, Publish, RawJson, UserId};

    use super::*;

    #[test]
    fn the_sender_of_a_client_event_is_named_in_presence_channels_only() {
        let caller = Caller {
            app: AppId::from("1"),
            connection: ConnectionId::from("1.2"),
            user: Some(UserId::from("ann")),
            info: None,
            protocol: Protocol("pusher"),
            query: None,
        };
        for (name, user) in [("presence-a", json!("ann")), ("private-a", Value::Null)] {
            let payload = Payload::Json(RawJson::from_valid("{}".to_owned()));
            let publish = Publish::new(ChannelName::parse(name).unwrap(), "client-x", payload);
            let event = Event { ts: 1, what: What::ClientEvent { caller: caller.clone(), publish } };
            let body: Value = serde_json::from_slice(&body(7, &[Arc::new(event)])).unwrap();
            assert_eq!((&body["time_ms"], &body["events"][0]["user_id"]), (&json!(7), &user), "{name}: {body}");
            assert_eq!(body["events"][0]["socket_id"], "1.2");
        }
    }
}
