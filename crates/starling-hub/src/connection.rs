//! One connection, as the hub sees it.

use std::sync::Arc;

use smallvec::SmallVec;
use starling_core::{
    AppId, Caller, ChannelName, CloseReason, ConnectionId, Form, Notice, Pattern, Position, Protocol, RawJson, Reply,
    Tag, UserId,
};

use crate::limits::Bucket;
use crate::outbox::Outbox;
use crate::shard::InScope;

/// Where a connection lives in its worker's shard. A slot of a connection that is gone is never valid again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its place in the table.
    pub index: u32,
    /// Tells apart connections that had the same place one after the other.
    pub generation: u32,
}

/// What a protocol does for one connection: turns what the hub has to say into bytes.
pub trait Endpoint {
    /// In which form it gets what all members of a channel get alike.
    fn form(&self) -> Form;
    /// Writes the answer to a request.
    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Outbox);
    /// Writes something that nobody asked for.
    fn notify(&mut self, notice: &Notice, out: &mut Outbox);
    /// Gives what waits to the socket now, as far as it takes it, and says whether there is a socket to ask: before a
    /// client counts as slow in the middle of a burst.
    fn write(&mut self, out: &mut Outbox) -> bool {
        let _ = out;
        false
    }
    /// Whether it is never closed for sending too much: each refusal is told, and that is all.
    fn forgives(&self) -> bool {
        false
    }
    /// Whether the answer to a publish comes behind the message itself, where the client gets both.
    fn answers_last(&self) -> bool {
        false
    }
    /// The connection, a member of `members` already, is about to become one of a further channel. Returns the form in
    /// which it wants what follows, if that is another: what waits in `out` stays as it is.
    fn widen(&mut self, members: &[(ChannelName, Option<Position>)], out: &mut Outbox) -> Option<Form> {
        let _ = (members, out);
        None
    }
    /// Writes the good-bye, after which nothing follows.
    fn close(&mut self, reason: CloseReason, out: &mut Outbox);
}

/// Who a connection is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its app.
    pub app: AppId,
    /// Its id.
    pub connection: ConnectionId,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its user, unless it is anonymous.
    pub user: Option<UserId>,
    /// What its token says beyond that; boxed, because an anonymous connection has none.
    pub grants: Option<Box<Grants>>,
    /// When it connected, in Unix milliseconds.
    pub connected_at: u64,
    /// What the application may want to know of the request that it came with, see [`Caller::query`].
    pub query: Option<Arc<str>>,
}

/// What a token says of its holder.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Shown in presence: a JSON object.
    pub info: Option<RawJson>,
    /// Channels that it may subscribe to where the rules ask for a grant.
    pub subscribe: Vec<Pattern>,
    /// Channels that it may publish to where the rules ask for a grant.
    pub publish: Vec<Pattern>,
    /// When it was issued, in Unix milliseconds.
    pub issued_at: Option<u64>,
}

impl Identity {
    /// The same connection before anybody knows whose it is.
    pub fn anonymous(&self) -> Self {
        Self { user: None, grants: None, ..self.clone() }
    }

    /// The same, for an application.
    pub fn caller(&self) -> Caller {
        Caller {
            app: self.app.clone(),
            connection: self.connection.clone(),
            user: self.user.clone(),
            info: self.grants.as_ref().and_then(|grants| grants.info.clone()),
            protocol: self.protocol,
            query: self.query.clone(),
        }
    }
}

/// A connection in a shard.
///
/// In this order in memory: what a delivery touches comes first and stays together, because with thousands of
/// connections every cache line more is a miss.
#[repr(C)]
pub struct Connection<T> {
    /// What waits to be written to it.
    pub outbox: Outbox,
    pub(crate) generation: u32,
    pub(crate) form: Form,
    pub(crate) dirty: bool,
    pub(crate) closing: Option<CloseReason>,
    /// Whether it ends without having meant to.
    pub(crate) lost: bool,
    /// Subscriptions that are reading the log.
    pub(crate) catching: u16,
    /// Requests under way that must be answered before the next is looked at.
    pub(crate) blocking: u16,
    /// Publishes under way.
    pub(crate) publishing: u16,
    pub(crate) announced: Announced,
    /// Its protocol and transport.
    pub endpoint: T,
    pub(crate) bucket: Bucket,
    /// For messages that have a limit of their own.
    pub(crate) pace: Bucket,
    /// Messages refused in a row because there were too many.
    pub(crate) strikes: u32,
    /// Sorted by channel, so that a connection with a thousand of them is searched quickly.
    pub(crate) subscriptions: SmallVec<[Subscription; 2]>,
    /// The scopes that it is in.
    pub(crate) scopes: Vec<InScope>,
    /// Whether a session of it could be resumed, so that what it is given is noted.
    pub(crate) watched: bool,
    /// Whether it may have been given a message twice, or one that it had in an earlier session.
    pub(crate) may_repeat: bool,
    /// The number of the note that was next when the last heartbeat was written.
    pub(crate) asked: u64,
    /// The client has what was noted before this number.
    pub(crate) confirmed: u64,
    /// Who it is.
    pub identity: Identity,
}

/// Publishes of one connection that may be under way at once; more wait unread in its socket.
const PUBLISHES_UNDER_WAY: u16 = 64;

impl<T> Connection<T> {
    /// Whether nothing more may be received from it now: a request must be answered first.
    pub fn is_blocked(&self) -> bool {
        self.blocking > 0 || self.publishing >= PUBLISHES_UNDER_WAY
    }

    /// Why it is being closed, if it is: nothing more is received from it, and it ends when its outbox is empty.
    pub fn closing(&self) -> Option<CloseReason> {
        self.closing
    }

    /// Whether nothing is queued behind what waits for the socket, and no log is being read.
    pub fn is_at_rest(&self) -> bool {
        self.catching == 0 && !self.outbox.is_slow()
    }

    /// How many channels it is a member of, its user channel not counted.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.iter().filter(|subscription| !subscription.implicit).count()
    }

    pub(crate) fn subscription(&mut self, channel: u32) -> Option<&mut Subscription> {
        let index = self.subscriptions.binary_search_by_key(&channel, |known| known.channel).ok()?;
        Some(&mut self.subscriptions[index])
    }
}

/// Whether the observer knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It was not let in yet.
    NotYet,
    /// It was let in; its end is told as well.
    Told,
    /// It is nobody's connection.
    Never,
}

/// A connection's membership in one channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub channel: u32,
    pub place: Place,
    /// Follows presence events.
    pub watching: bool,
    /// Is present.
    pub present: bool,
    /// Its own user channel, which it did not ask for.
    pub implicit: bool,
    /// The server side made it a member, and it has not asked for that itself.
    pub given: bool,
}

/// Where in the channel its member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not yet confirmed.
    Joining,
    /// Among those that read the log.
    Catching,
    /// At this index among those that get messages as they come.
    Live(u32),
}
