//! The engine seam: what links nodes, and keeps logs and presence.
//!
//! The memory engine is one implementation, not a special case. Subscribing with recovery is written once above this
//! seam: register interest, read the log from the position, skip live messages up to what was read, go live.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::{
    AppId, ChannelName, ConnectionId, HistoryPolicy, Message, MessageId, NodeId, Payload, Pending, Position,
    PresenceChange, PresenceEvent, PresenceSnapshot, UserId,
};

/// A message on its way to the engine.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The message; its `position` is for the engine to assign.
    pub message: Message,
    /// What the channel keeps of it; none: it is only passed on, and gets no position.
    pub history: Option<HistoryPolicy>,
    /// Whether the id came from the publisher, and a second one within the recovery window must be answered with the
    /// first one's result and not delivered.
    pub deduplicate: bool,
}

/// The engine took a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The message's id.
    pub id: MessageId,
    /// Its place in the log, where there is one.
    pub position: Option<Position>,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRange {
    /// At most so many messages. Without `after`, the newest of the range.
    pub limit: usize,
    /// Only messages with a smaller offset.
    pub before: Option<u64>,
    /// Only messages with a larger offset, the oldest first.
    pub after: Option<u64>,
}

/// A part of a log.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// In the order of their offsets.
    pub messages: Vec<Arc<Message>>,
    /// The head of the log: its epoch, and the offset of the newest message (0 when there was none).
    pub head: Position,
    /// The offset of the oldest message that is still there; `head.offset + 1` when there is none.
    pub oldest: u64,
}

/// Connections, wherever they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of a user.
    User(UserId),
    /// Every member of any of these channels, each once, but the connections and members of channels excepted.
    Members {
        /// Of which channels.
        of: Vec<ChannelName>,
        /// Whose members are left out.
        except: Vec<ChannelName>,
        /// Which connections are left out.
        except_connections: Vec<ConnectionId>,
    },
}

/// A message to all nodes: an act on connections, wherever they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Close connections.
    Disconnect {
        /// Which.
        target: Target,
    },
    /// Refuse tokens issued before a moment, and close connections made with them.
    Revoke {
        /// Whose.
        user: UserId,
        /// The moment, in Unix seconds.
        before: u64,
    },
    /// Make connections members.
    Subscribe {
        /// Which.
        target: Target,
        /// Of which channel.
        channel: ChannelName,
    },
    /// Make connections members no longer.
    Unsubscribe {
        /// Which.
        target: Target,
        /// Of which channel.
        channel: ChannelName,
    },
    /// Tell connections something, each in its protocol's words. It is no message of a channel: it has no id and no
    /// place in a log.
    Emit {
        /// Which.
        target: Target,
        /// The channel that it is about, if it is about one.
        channel: Option<ChannelName>,
        /// Its name.
        event: Arc<str>,
        /// What it carries.
        payload: Payload,
    },
    /// The channel's log was cleared: what follows is of a new epoch, and nothing was missed.
    HistoryCleared {
        /// Of which channel.
        channel: ChannelName,
        /// The head of the new log.
        head: Position,
    },
}

/// A question to all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Which channels of an app are occupied, and by whom.
    Channels {
        /// Only names that start with this.
        prefix: String,
    },
    /// Who is a member of one channel.
    Channel {
        /// Which.
        channel: ChannelName,
    },
    /// What is known of a connection.
    Connection {
        /// Which.
        connection: ConnectionId,
    },
    /// What is known of the members of a channel, or of the connections of a user.
    Connections {
        /// Which.
        target: Target,
    },
    /// Numbers of connections and channels.
    Stats,
}

/// One node's members of one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections.
    pub members: u64,
    /// Their distinct users. Anonymous connections have none.
    pub users: Vec<UserId>,
}

/// One node's answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Channels`] and [`Query::Channel`].
    Channels(Vec<(ChannelName, Occupancy)>),
    /// To [`Query::Connection`]; none when the node does not have it.
    Connection(Option<Survey>),
    /// To [`Query::Connections`].
    Connections(Vec<Survey>),
    /// To [`Query::Stats`].
    Stats {
        /// Open connections.
        connections: u64,
        /// Occupied channels.
        channels: u64,
        /// Memberships.
        members: u64,
    },
}

/// What is known of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its id.
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<UserId>,
    /// What it speaks.
    pub protocol: String,
    /// Its channels.
    pub channels: Vec<ChannelName>,
    /// When it connected, in Unix milliseconds.
    pub connected_at: u64,
}

/// The engine could not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The broker is away, or did not answer in time. Nothing is known to have happened.
    #[error("engine unavailable: {0}")]
    Unavailable(String),
    /// The broker takes no message of this size; nothing happened, and another try is of no use.
    #[error("too large for the engine: {0}")]
    TooLarge(String),
    /// The channel has no log.
    #[error("the channel keeps no history")]
    NoHistory,
}

/// Where an engine delivers what arrives for this node. Calls return quickly and never block.
///
/// For one channel, calls are made one after the other in the order of offsets and versions.
pub trait Sink: Send + Sync + 'static {
    /// A message of a channel that this node is interested in.
    fn message(&self, message: Arc<Message>);
    /// A change of presence in a channel that this node is interested in.
    fn presence(&self, event: PresenceEvent);
    /// Something that all nodes must do.
    fn control(&self, app: &AppId, control: Control);
    /// The engine may have missed messages for this node: members of channels with a log must be brought up to date
    /// from it, the others told of a gap.
    fn resync(&self);
    /// Another node asks this one something by [`Engine::relay`].
    fn relayed(&self, request: Bytes) -> Pending<Bytes> {
        let _ = request;
        Pending::Ready(Bytes::new())
    }
    /// Another node asks this one something by [`Engine::survey`]: one answer per worker, or all as one.
    fn surveyed(&self, app: &AppId, query: Query) -> Pending<Vec<Answer>> {
        let _ = (app, query);
        Pending::Ready(Vec::new())
    }
}

/// What links nodes, and keeps logs and presence. Implementations are shared between threads.
///
/// An operation that returns an error has not visibly happened; an operation whose answer is dropped may have.
pub trait Engine: Send + Sync + 'static {
    /// Gives the engine the place to deliver to. Called once, before anything else.
    fn attach(&self, sink: Arc<dyn Sink>);

    /// Takes a message: assigns its position, keeps it, and delivers it to every node with interest. The answer comes
    /// only after the message is stored as the policy asks.
    ///
    /// Messages of one channel are taken in the order of the calls, also when the answers are not waited for in between.
    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>>;

    /// Tells whether this node wants what happens in a channel. Calls are counted: the interest ends when each wish
    /// was taken back. When a wish is answered, everything published after that arrives at the sink.
    fn interest(&self, app: &AppId, channel: &ChannelName, wanted: bool) -> Pending<Result<(), EngineError>>;

    /// Reads a part of a log, and its head. Creates the log (and so its epoch) if it is not there yet. `now` in Unix
    /// milliseconds, to leave out what has expired.
    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Pending<Result<HistoryPage, EngineError>>;

    /// Forgets a log and starts a new epoch, which is returned as the new head.
    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>>;

    /// Changes who is present. Entries are leased to this node: they vanish when it does.
    /// When the answer is there, everyone was told of the change.
    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>>;

    /// Lists who is present.
    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>>;

    /// Makes every node, this one included, do something.
    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>>;

    /// Asks every *other* node. A node that does not answer in time is left out.
    fn survey(&self, app: &AppId, query: Query) -> Pending<Result<Vec<Answer>, EngineError>>;

    /// This node's name in its cluster. Ids of sessions start with it, so that a request for a session that lands on
    /// another node finds its owner.
    fn node(&self) -> &NodeId;

    /// Asks one node something that only it can answer, by its [`Sink::relayed`]. Fails when the node does not answer
    /// within `timeout`: it is gone, or what it was asked is lost. Whether it happened is then not known.
    fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Pending<Result<Bytes, EngineError>>;

    /// Claims a name for the whole cluster; of several calls within `ttl`, on any node, exactly one gets `true`.
    fn claim(&self, name: &str, ttl: Duration) -> Pending<Result<bool, EngineError>>;

    /// Keeps a note for the whole cluster, nodes that start later included, in place of an older one of this name.
    /// For little that is seldom written: at most 64 KiB each.
    fn note(&self, name: &str, value: Bytes, ttl: Duration) -> Pending<Result<(), EngineError>>;

    /// The notes whose names start with `prefix`, by name. A `take` removes them: of several calls, one gets each.
    fn notes(&self, prefix: &str, take: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>>;

    /// Whether publishes would be taken now.
    fn is_up(&self) -> bool;

    /// Forgets what has expired. Called about once a second; `now` in Unix milliseconds.
    fn sweep(&self, now: u64);
}
