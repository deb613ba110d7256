//! What members of a channel get alike.

use starling_core::{ChannelName, Message, Outgoing, Payload, PresenceDiff, PresenceEntry, UserId};

use super::names::{Kind, is_reserved_event};
use super::wire;
use crate::json_text::{base64_len, write_base64, write_text};
use crate::session::OwnedPacket;

/// Writes it; nothing where Pusher has no words for it, as for presence data that changed.
pub fn encode(outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    match *outgoing {
        Outgoing::Message(message) => out.extend(encode_message(message)),
        Outgoing::PresenceDiff(channel, diff) if channel.online_user().is_some() => {
            out.extend(wire::watchlist_events(&diff.users_in, &diff.users_out));
        }
        Outgoing::PresenceDiff(channel, diff) => encode_members(channel, diff, out),
    }
}

fn encode_message(message: &Message) -> Option<OwnedPacket> {
    if let Some(channel) = message.channel.counted() {
        return headcount(message, channel);
    }
    // Clients of Pusher take these for the server's own words.
    if is_reserved_event(&message.event) {
        return None;
    }
    let (len, text) = match &message.payload {
        Payload::Json(json) => (json.bytes().len(), Some(json.as_str())),
        Payload::Binary(bytes) => (base64_len(bytes.len()), None),
    };
    let mut out = wire::begin(&message.event, len + len / 8 + message.channel.as_str().len() + 64);
    match (&message.payload, text) {
        (Payload::Binary(bytes), _) => {
            let mut data = Vec::with_capacity(len + 2);
            write_base64(&mut data, bytes);
            wire::write_data(&mut out, &data);
        }
        (Payload::Json(_), text) => write_text(&mut out, text.unwrap_or("null")),
    }
    wire::write_channel(&mut out, &message.channel);
    if let Some(user) = message.user.as_ref().filter(|_| Kind::of(message.channel.as_str()) == Kind::Presence) {
        out.extend_from_slice(br#","user_id":"#);
        write_text(&mut out, user.as_str());
    }
    Some(wire::end(out))
}

/// The payload of a message on a channel of this kind is a number.
fn headcount(message: &Message, channel: &str) -> Option<OwnedPacket> {
    let Payload::Json(count) = &message.payload else { return None };
    let channel = ChannelName::parse(channel).ok()?;
    let data = format!(r#"{{"subscription_count":{}}}"#, count.as_str());
    Some(wire::event("pusher_internal:subscription_count", Some(&channel), data.as_bytes()))
}

/// A user is told of when its first connection comes and when its last one goes; who is anonymous, with each.
fn encode_members(channel: &ChannelName, diff: &PresenceDiff, out: &mut Vec<OwnedPacket>) {
    let is_anonymous = |entry: &&PresenceEntry| entry.user.is_none();
    for user in &diff.users_out {
        out.push(wire::member_removed(channel, user.as_str()));
    }
    for entry in diff.leaves.iter().filter(is_anonymous) {
        out.push(wire::member_removed(channel, entry.connection.as_str()));
    }
    let of = |user: &UserId| diff.joins.iter().find(|entry| entry.user.as_ref() == Some(user));
    for entry in diff.users_in.iter().filter_map(of) {
        out.push(wire::member_added(channel, entry));
    }
    let is_new = |entry: &&PresenceEntry| !diff.replaced.iter().any(|known| known.connection == entry.connection);
    for entry in diff.joins.iter().filter(is_anonymous).filter(is_new) {
        out.push(wire::member_added(channel, entry));
    }
}
