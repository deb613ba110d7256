//! What the server says, composed once and written by either codec.

use starling_core::{
    ChannelName, ConnectionId, Message, Notice, Outgoing, Payload, Position, PresenceEntry, RawJson, Refusal, Reply,
    UserId,
};

/// Writes the values of one encoding.
///
/// The numbers of members and elements are said before them, because MessagePack wants them there.
pub(super) trait Writer {
    /// Begins an object of exactly so many members; each is a [`Writer::name`] and a value.
    fn begin_object(&mut self, members: usize);
    /// Ends it.
    fn end_object(&mut self);
    /// Begins an array of exactly so many elements.
    fn begin_array(&mut self, elements: usize);
    /// Ends it.
    fn end_array(&mut self);
    /// The name of a member: letters only.
    fn name(&mut self, name: &'static str);
    /// A string.
    fn text(&mut self, text: &str);
    /// A number.
    fn number(&mut self, number: u64);
    /// A truth value.
    fn boolean(&mut self, value: bool);
    /// Null.
    fn null(&mut self);
    /// Any JSON value.
    fn json(&mut self, json: &RawJson);
    /// A value that is written in this encoding already.
    fn written(&mut self, bytes: &[u8]);
    /// The member `payload`. An encoding that has no bytes may add a member that was not counted.
    fn payload(&mut self, payload: &Payload);
}

/// An object with a `type` and so many members besides.
fn begin<W: Writer + ?Sized>(w: &mut W, kind: &'static str, id: &[u8], others: usize) {
    w.begin_object(1 + usize::from(!id.is_empty()) + others);
    w.name("type");
    w.text(kind);
    if !id.is_empty() {
        w.name("id");
        w.written(id);
    }
}

fn text<W: Writer + ?Sized>(w: &mut W, name: &'static str, text: &str) {
    w.name(name);
    w.text(text);
}

fn number<W: Writer + ?Sized>(w: &mut W, name: &'static str, number: u64) {
    w.name(name);
    w.number(number);
}

pub(super) fn outgoing<W: Writer + ?Sized>(w: &mut W, outgoing: &Outgoing<'_>) {
    match outgoing {
        Outgoing::Message(published) => message(w, published),
        Outgoing::PresenceDiff(channel, diff) => {
            begin(w, "presence_diff", &[], 3);
            text(w, "channel", channel.as_str());
            entries(w, "joins", &diff.joins);
            entries(w, "leaves", &diff.leaves);
            w.end_object();
        }
    }
}

pub(super) fn message<W: Writer + ?Sized>(w: &mut W, message: &Message) {
    let optional = usize::from(message.user.is_some()) + 2 * usize::from(message.position.is_some());
    begin(w, "message", &[], 5 + optional);
    text(w, "channel", message.channel.as_str());
    text(w, "event", &message.event);
    w.payload(&message.payload);
    text(w, "id", message.id.as_str());
    number(w, "ts", message.ts);
    if let Some(user) = &message.user {
        text(w, "userId", user.as_str());
    }
    if let Some(position) = &message.position {
        number(w, "offset", position.offset);
        text(w, "epoch", position.epoch.as_str());
    }
    w.end_object();
}

pub(super) fn authenticated(
    w: &mut dyn Writer,
    id: &[u8],
    user: Option<&UserId>,
    connection: &ConnectionId,
    expires_at: Option<u64>,
) {
    begin(w, "auth_ack", id, 2 + usize::from(expires_at.is_some()));
    user_id(w, user);
    text(w, "connectionId", connection.as_str());
    if let Some(expires_at) = expires_at {
        number(w, "expiresAt", expires_at);
    }
    w.end_object();
}

pub(super) fn pong(w: &mut dyn Writer, id: &[u8]) {
    begin(w, "pong", id, 0);
    w.end_object();
}

pub(super) fn error(w: &mut dyn Writer, id: &[u8], refusal: &Refusal, channel: Option<&ChannelName>) {
    begin(w, "error", id, 2 + usize::from(channel.is_some()));
    text(w, "code", &refusal.code);
    text(w, "message", &refusal.message);
    if let Some(channel) = channel {
        text(w, "channel", channel.as_str());
    }
    w.end_object();
}

/// The answer to a request: an `ack`, an `auth_ack` or an `error`.
pub(super) fn reply(w: &mut dyn Writer, id: &[u8], reply: &Reply) {
    match reply {
        Reply::Authenticated { user, connection, expires_at } => {
            return authenticated(w, id, user.as_ref(), connection, *expires_at);
        }
        Reply::Refused { refusal, channel } => return error(w, id, refusal, channel.as_ref()),
        Reply::Subscribed { channel, position, recovered, response, follows: _ } => {
            let optional = 2 * usize::from(position.is_some())
                + usize::from(recovered.is_some())
                + usize::from(response.is_some());
            begin(w, "ack", id, 1 + optional);
            text(w, "channel", channel.as_str());
            place(w, position.as_ref());
            if let Some(recovered) = recovered {
                w.name("recovered");
                w.boolean(*recovered);
            }
            if let Some(response) = response {
                w.payload(response);
            }
        }
        Reply::Unsubscribed { channel } => {
            begin(w, "ack", id, 1);
            text(w, "channel", channel.as_str());
        }
        Reply::Published { message_id, position } => {
            begin(w, "ack", id, 1 + 2 * usize::from(position.is_some()));
            text(w, "messageId", message_id.as_str());
            place(w, position.as_ref());
        }
        Reply::History(page) => {
            begin(w, "ack", id, 3);
            w.name("messages");
            w.begin_array(page.messages.len());
            for kept in &page.messages {
                message(w, kept);
            }
            w.end_array();
            place(w, Some(&page.head));
        }
        Reply::Members(members) => {
            begin(w, "ack", id, 1);
            entries(w, "members", members);
        }
        // Scopes are none of this protocol's words.
        Reply::Entered { .. } | Reply::Done | Reply::Event(None) | Reply::Unanswered => begin(w, "ack", id, 0),
        Reply::Event(Some(payload)) => {
            begin(w, "ack", id, 1);
            w.payload(payload);
        }
    }
    w.end_object();
}

pub(super) fn notice(w: &mut dyn Writer, notice: &Notice) {
    match notice {
        Notice::Error { refusal } => return error(w, &[], refusal, None),
        Notice::Gap { channel, missed } => {
            begin(w, "gap", &[], 2);
            text(w, "channel", channel.as_str());
            number(w, "missed", *missed);
        }
        Notice::Unsubscribed { channel, refusal } => {
            begin(w, "unsubscribed", &[], 3);
            text(w, "channel", channel.as_str());
            text(w, "code", &refusal.code);
            text(w, "message", &refusal.message);
        }
        Notice::Subscribed { channel, position } => {
            begin(w, "subscribed", &[], 1 + 2 * usize::from(position.is_some()));
            text(w, "channel", channel.as_str());
            place(w, position.as_ref());
        }
        Notice::PresenceState { channel, members } => {
            begin(w, "presence_state", &[], 2);
            text(w, "channel", channel.as_str());
            entries(w, "members", members);
        }
        Notice::Event { channel, event, payload, ack, mark: _ } => {
            begin(w, "event", &[], 2 + usize::from(channel.is_some()) + usize::from(ack.is_some()));
            if let Some(channel) = channel {
                text(w, "channel", channel.as_str());
            }
            text(w, "event", event);
            w.payload(payload);
            if let Some(ack) = ack {
                number(w, "ack", *ack);
            }
        }
        Notice::Drain { reconnect_in } => {
            begin(w, "drain", &[], 1);
            number(w, "reconnectIn", u64::try_from(reconnect_in.as_millis()).unwrap_or(u64::MAX));
        }
    }
    w.end_object();
}

fn place<W: Writer + ?Sized>(w: &mut W, position: Option<&Position>) {
    if let Some(position) = position {
        text(w, "epoch", position.epoch.as_str());
        number(w, "offset", position.offset);
    }
}

fn entries<W: Writer + ?Sized>(w: &mut W, name: &'static str, entries: &[PresenceEntry]) {
    w.name(name);
    w.begin_array(entries.len());
    for entry in entries {
        w.begin_object(3);
        user_id(w, entry.user.as_ref());
        text(w, "connectionId", entry.connection.as_str());
        w.name("data");
        w.json(&entry.data);
        w.end_object();
    }
    w.end_array();
}

/// `userId`, which is null for an anonymous connection.
fn user_id<W: Writer + ?Sized>(w: &mut W, user: Option<&UserId>) {
    w.name("userId");
    match user {
        Some(user) => w.text(user.as_str()),
        None => w.null(),
    }
}
