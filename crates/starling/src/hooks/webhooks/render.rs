//! Bodies in Starling's own format (section 9 of the contract).

use std::sync::Arc;

use starling_core::{AppId, Caller, PresenceEntry};

use super::{Event, What};
use crate::hooks::WebhookEvent;
use crate::hooks::question::Object;

/// `{"id","ts","app","events":[…]}`.
pub(super) fn body(id: &str, ts: u64, app: &AppId, events: &[Arc<Event>]) -> Vec<u8> {
    let mut object = Object::with_capacity(128 + events.iter().map(|event| event.size()).sum::<usize>());
    object.text("id", id);
    object.number("ts", ts);
    object.text("app", app.as_str());
    object.objects("events", events.iter().map(|event| |entry: &mut Object| describe(event, entry)));
    object.finish()
}

fn describe(event: &Event, object: &mut Object) {
    let kind = |object: &mut Object, kind: WebhookEvent| {
        object.text("type", kind.as_str());
        object.number("ts", event.ts);
    };
    match &event.what {
        What::ChannelOccupied(channel) => {
            kind(object, WebhookEvent::ChannelOccupied);
            object.text("channel", channel.as_str());
        }
        What::ChannelVacated(channel) => {
            kind(object, WebhookEvent::ChannelVacated);
            object.text("channel", channel.as_str());
        }
        What::MemberAdded(channel, entry) => {
            kind(object, WebhookEvent::MemberAdded);
            object.text("channel", channel.as_str());
            member(object, entry);
        }
        What::MemberRemoved(channel, entry) => {
            kind(object, WebhookEvent::MemberRemoved);
            object.text("channel", channel.as_str());
            member(object, entry);
        }
        What::ClientEvent { caller, publish } => {
            kind(object, WebhookEvent::ClientEvent);
            who(object, caller);
            object.text("channel", publish.channel.as_str());
            object.text("event", &publish.event);
            object.payload(&publish.payload);
            if let Some(id) = &publish.message_id {
                object.text("messageId", id.as_str());
            }
        }
        What::Connected(caller) => {
            kind(object, WebhookEvent::Connected);
            who(object, caller);
            if let Some(info) = &caller.info {
                object.json("info", info);
            }
        }
        What::Disconnected { caller, reason, lasted } => {
            kind(object, WebhookEvent::Disconnected);
            who(object, caller);
            object.text("reason", reason.as_str());
            object.number("duration", lasted.as_millis() as u64);
        }
        What::CacheMiss(channel) => {
            kind(object, WebhookEvent::CacheMiss);
            object.text("channel", channel.as_str());
        }
        What::SubscriptionCount { channel, count } => {
            kind(object, WebhookEvent::SubscriptionCount);
            object.text("channel", channel.as_str());
            object.number("count", *count);
        }
    }
}

fn who(object: &mut Object, caller: &Caller) {
    object.text("connectionId", caller.connection.as_str());
    if let Some(user) = &caller.user {
        object.text("userId", user.as_str());
    }
    object.text("protocol", caller.protocol.0);
}

fn member(object: &mut Object, entry: &PresenceEntry) {
    if let Some(user) = &entry.user {
        object.text("userId", user.as_str());
    }
    object.text("connectionId", entry.connection.as_str());
    object.json("data", &entry.data);
}
