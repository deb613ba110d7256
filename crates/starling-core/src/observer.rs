//! The observer seam: who is told what happened, afterwards, and decides nothing.

use std::time::Duration;

use crate::{AppId, Caller, ChannelName, CloseReason, PresenceEntry, Publish};

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Happening<'a> {
    /// A connection was let in.
    Connected(&'a Caller),
    /// A connection that was let in is gone.
    Disconnected {
        /// Whose it was.
        caller: &'a Caller,
        /// Why.
        reason: CloseReason,
        /// How long it lasted.
        lasted: Duration,
    },
    /// The first member of a channel on this node.
    Occupied(&'a AppId, &'a ChannelName),
    /// The last member of a channel on this node is gone.
    Vacated(&'a AppId, &'a ChannelName),
    /// The number of a channel's members on this node changed.
    Members {
        /// The tenant.
        app: &'a AppId,
        /// Of which channel.
        channel: &'a ChannelName,
        /// How many there are on this node now.
        count: u64,
    },
    /// A user is present in a channel who was not before, with this entry. Told once in a cluster.
    MemberAdded(&'a AppId, &'a ChannelName, &'a PresenceEntry),
    /// A user is present in a channel no longer; this was the last entry. Told once in a cluster.
    MemberRemoved(&'a AppId, &'a ChannelName, &'a PresenceEntry),
    /// A client's message was accepted.
    ClientPublished(&'a Caller, &'a Publish),
    /// Somebody wanted the last message of a channel that keeps one, and there was none.
    CacheMissed(&'a AppId, &'a ChannelName),
}

/// Who wants to know. Called from workers and from an engine's threads: returns at once and never blocks.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, happening: Happening<'_>);
}
