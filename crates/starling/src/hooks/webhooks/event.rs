//! What a backend is told, in no format's words.

use std::time::Duration;

use starling_core::{Caller, ChannelName, CloseReason, PresenceEntry, Publish};

/// Something that happened.
#[derive(Debug)]
pub(crate) struct Event {
    /// When, in Unix milliseconds.
    pub ts: u64,
    /// What.
    pub what: What,
}

/// See [`WebhookEvent`](crate::hooks::WebhookEvent).
#[derive(Debug)]
pub(crate) enum What {
    ChannelOccupied(ChannelName),
    ChannelVacated(ChannelName),
    MemberAdded(ChannelName, PresenceEntry),
    MemberRemoved(ChannelName, PresenceEntry),
    ClientEvent { caller: Caller, publish: Publish },
    Connected(Caller),
    Disconnected { caller: Caller, reason: CloseReason, lasted: Duration },
    CacheMiss(ChannelName),
    SubscriptionCount { channel: ChannelName, count: u64 },
}

impl Event {
    /// About how many bytes it takes in memory and in a body.
    pub fn size(&self) -> usize {
        let carried = match &self.what {
            What::MemberAdded(_, entry) | What::MemberRemoved(_, entry) => entry.data.bytes().len(),
            What::ClientEvent { publish, .. } => publish.payload.len(),
            What::Connected(caller) | What::Disconnected { caller, .. } => {
                caller.info.as_ref().map_or(0, |info| info.bytes().len())
            }
            What::ChannelOccupied(_) | What::ChannelVacated(_) | What::CacheMiss(_) => 0,
            What::SubscriptionCount { .. } => 0,
        };
        256 + carried
    }
}
