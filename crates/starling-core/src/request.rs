//! What a session asks of the hub, what it is answered, and what the hub tells it unasked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    ChannelName, ConnectionId, HistoryPage, HistoryRange, MessageId, Payload, Position, PresenceEntry, RawJson,
    Refusal, UserId,
};

/// What a session needs to find its way back when a request is answered: the client's own reference. Opaque to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tag(pub Bytes);

/// Something that a client asks for. Each is answered by exactly one [`Reply`].
#[derive(Debug, Clone)]
pub enum Request {
    /// Says who the client is, or renews its token. Answered by [`Reply::Authenticated`].
    Authenticate {
        /// The token; none to ask for an anonymous session.
        token: Option<Box<str>>,
    },
    /// Becomes a member of a channel. Answered by [`Reply::Subscribed`].
    Subscribe(Subscribe),
    /// Is a member no longer. Answered by [`Reply::Unsubscribed`].
    Unsubscribe {
        /// Of which channel.
        channel: ChannelName,
    },
    /// Sends a message. Answered by [`Reply::Published`].
    Publish(Publish),
    /// Sends a message for which the protocol itself vouches: the rules are not asked, but only members send it.
    /// Answered by [`Reply::Published`].
    PublishAs {
        /// The message.
        publish: Box<Publish>,
        /// Its sender, whoever the connection's user is.
        user: Option<UserId>,
        /// Whether the channel's history has it, if it keeps one.
        kept: bool,
        /// Such messages of this connection in a second; more are refused with `RATE_LIMITED`. 0: no limit.
        per_second: u32,
    },
    /// The protocol itself vouches for the client's user (a signature that it checked). Answered by [`Reply::Done`];
    /// refused when the connection has another user.
    Identify {
        /// Its user from now on.
        user: UserId,
        /// Shown in presence: a JSON object.
        info: Option<RawJson>,
    },
    /// Reads what was published. Answered by [`Reply::History`].
    History {
        /// Of which channel.
        channel: ChannelName,
        /// Which part.
        range: HistoryRange,
    },
    /// Asks or changes who is there. Answered by [`Reply::Members`] or [`Reply::Done`].
    Presence {
        /// In which channel.
        channel: ChannelName,
        /// What to do.
        action: PresenceAction,
    },
    /// An event for the application. Answered by [`Reply::Event`].
    Event {
        /// In which channel it happened, if in one.
        channel: Option<ChannelName>,
        /// Its name.
        event: Box<str>,
        /// What it carries.
        payload: Payload,
        /// What is done when nobody handles it; without, it is refused. Answered by [`Reply::Published`].
        fallback: Option<Box<Publish>>,
    },
    /// Enters a scope. Answered by [`Reply::Entered`].
    Enter(Box<Enter>),
    /// Leaves a scope, and every channel in it. Answered by [`Reply::Done`].
    Exit {
        /// Which; none: the app's own.
        scope: Option<ChannelName>,
    },
    /// The client has everything that was written to it before the last heartbeat. Is not answered.
    Confirm,
    /// Answers what the server asked by [`Notice::Event`] with an `ack`. Is not answered itself.
    Acknowledge {
        /// The number of the question.
        ack: u64,
        /// The answer.
        payload: Payload,
    },
}

/// A wish to enter a scope: a part of an app whose channels all begin with the scope's name. Some protocols let a client
/// be in several at once.
#[derive(Debug, Clone, Default)]
pub struct Enter {
    /// Which; none: the app's own, whose channels have no common beginning.
    pub scope: Option<ChannelName>,
    /// What the client sent along, for the application: a JSON object.
    pub params: Option<RawJson>,
    /// The session that it had there before its transport was lost.
    pub resume: Option<Resume>,
}

/// A session that is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Its name, as [`Reply::Entered`] gave it.
    pub session: Box<str>,
    /// The position of the last message or event that the client got, as `epoch:offset`; none: it got none.
    pub after: Option<Box<str>>,
}

/// A wish to become a member.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// Of which channel.
    pub channel: ChannelName,
    /// From where on.
    pub start: Start,
    /// Whether presence events shall follow.
    pub presence: bool,
    /// Enters presence with this data (a JSON object).
    pub enter: Option<RawJson>,
    /// What only some protocols say.
    pub more: Option<Box<SubscribeMore>>,
}

impl Subscribe {
    /// A wish for what comes from now on, and nothing else.
    pub fn live(channel: ChannelName) -> Self {
        Self { channel, start: Start::Live, presence: false, enter: None, more: None }
    }
}

/// What only some protocols say of a wish to become a member.
#[derive(Debug, Clone, Default)]
pub struct SubscribeMore {
    /// What the client sent along, for the application: a JSON value.
    pub params: Option<RawJson>,
    /// The protocol itself vouches for the right to be a member (a signature that it checked): the rules are not asked.
    pub vouched: bool,
    /// Presence is entered as this user, whoever the connection's user is.
    pub as_user: Option<UserId>,
    /// If the channel has presence, it is entered and followed; otherwise nothing is wrong.
    pub presence_if_kept: bool,
    /// Who is there is told before what was missed.
    pub presence_first: bool,
    /// A membership that the server side gave, and that the client has not asked for yet, becomes the client's own, and is
    /// answered as if it had just begun; otherwise it is refused with `ALREADY_SUBSCRIBED` like any other.
    pub adopts: bool,
    /// Refused with `LIMIT_EXCEEDED` where so many users are present, and this would be one more.
    pub most_users: Option<usize>,
}

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the next message.
    Live,
    /// After this position.
    Recover(Position),
    /// After this position, or where that is impossible with the newest so many messages.
    RecoverOrRewind(Position, u32),
    /// With the newest so many messages.
    Rewind(u32),
}

impl Start {
    /// What a client asks for by a position, by a number of messages, by both, or by neither. No messages are none asked for.
    pub fn asked(recover: Option<Position>, rewind: u32) -> Self {
        match (recover, rewind) {
            (Some(position), 0) => Self::Recover(position),
            (Some(position), count) => Self::RecoverOrRewind(position, count),
            (None, 0) => Self::Live,
            (None, count) => Self::Rewind(count),
        }
    }
}

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where.
    pub channel: ChannelName,
    /// Its event.
    pub event: Arc<str>,
    /// What it carries.
    pub payload: Payload,
    /// The publisher's own id: a second message with it is not delivered again.
    pub message_id: Option<MessageId>,
    /// What it is the latest state of.
    pub key: Option<Arc<str>>,
    /// Whether the sender gets it too.
    pub echo: bool,
    /// The protocol itself vouches for the right to publish: the rules are not asked.
    pub vouched: bool,
}

impl Publish {
    /// A message with nothing special about it, which the sender gets too.
    pub fn new(channel: ChannelName, event: impl Into<Arc<str>>, payload: Payload) -> Self {
        Self { channel, event: event.into(), payload, message_id: None, key: None, echo: true, vouched: false }
    }
}

/// What to do with presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceAction {
    /// List the members.
    Get,
    /// Be present; without data, with the token's `info`.
    Enter(Option<RawJson>),
    /// Change the data.
    Update(RawJson),
    /// Be present no longer.
    Leave,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone)]
pub enum Reply {
    /// Who the client is now.
    Authenticated {
        /// Its user; none for an anonymous connection.
        user: Option<UserId>,
        /// Its connection.
        connection: ConnectionId,
        /// When its token expires, in Unix milliseconds.
        expires_at: Option<u64>,
    },
    /// It is a member; what it missed follows, then live messages.
    Subscribed {
        /// Of which channel.
        channel: ChannelName,
        /// The head of the log when it joined, where the channel keeps history.
        position: Option<Position>,
        /// Whether it gets everything after its position; only when it asked to recover.
        recovered: Option<bool>,
        /// Whether messages of the log follow.
        follows: bool,
        /// What the application answered to the join.
        response: Option<Payload>,
    },
    /// It is no longer a member.
    Unsubscribed {
        /// Of which channel.
        channel: ChannelName,
    },
    /// The engine took the message.
    Published {
        /// The message's id.
        message_id: MessageId,
        /// Its place in the log, where the channel keeps history.
        position: Option<Position>,
    },
    /// A part of the log.
    History(HistoryPage),
    /// Who is there.
    Members(Vec<PresenceEntry>),
    /// It is in the scope.
    Entered {
        /// Its name there, by which it is found like by that of its connection.
        id: ConnectionId,
        /// The name by which the session can be resumed, where it can.
        session: Option<Box<str>>,
        /// Whether it goes on with a session that it had before: what it missed follows.
        recovered: bool,
    },
    /// It was done; nothing else to say.
    Done,
    /// What the application answered to an event; none when it gave nothing.
    Event(Option<Payload>),
    /// The application does not want an event answered. Where the protocol promises an answer, it is one that says nothing.
    Unanswered,
    /// It was not done.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The channel that it was about.
        channel: Option<ChannelName>,
    },
}

/// What the hub tells one connection unasked.
#[derive(Debug, Clone)]
pub enum Notice {
    /// Messages were left out for this connection.
    Gap {
        /// Of which channel.
        channel: ChannelName,
        /// How many.
        missed: u64,
    },
    /// The server ended a subscription.
    Unsubscribed {
        /// Of which channel.
        channel: ChannelName,
        /// Why.
        refusal: Refusal,
    },
    /// The server made the connection a member (an API call, a handler).
    Subscribed {
        /// Of which channel.
        channel: ChannelName,
        /// The head of the log when it joined, where the channel keeps history.
        position: Option<Position>,
    },
    /// Everyone who is present, once, before the first difference.
    PresenceState {
        /// In which channel.
        channel: ChannelName,
        /// Who.
        members: Vec<PresenceEntry>,
    },
    /// The server tells this connection something, or asks it.
    Event {
        /// The channel that it is about, if it is about one.
        channel: Option<ChannelName>,
        /// Its name.
        event: Arc<str>,
        /// What it carries.
        payload: Payload,
        /// The number under which an answer is awaited, if one is.
        ack: Option<u64>,
        /// What the client may name in [`Resume::after`] when this is the last that it got. No log has it.
        mark: Option<Position>,
    },
    /// The server will close soon; come back after this long.
    Drain {
        /// How long to stay away.
        reconnect_in: Duration,
    },
    /// An error that answers no request, usually before a close.
    Error {
        /// Which.
        refusal: Refusal,
    },
}
