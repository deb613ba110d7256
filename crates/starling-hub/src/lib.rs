//! The hub of Starling: channels, members, outboxes, presence, recovery, limits.
//!
//! Two halves. [`Hub`] is shared by all threads: the rules, the engine, which worker wants which channel. A [`Shard`]
//! belongs to one worker and holds its connections and its part of the channel table without any lock. Messages pass
//! from one to the other through each worker's [`Inbox`]: one hand-over per worker that has members, never one per
//! member. The hub knows no protocol and no socket: connections are [`Endpoint`]s that turn answers into bytes, and an
//! [`Encoder`] writes what all members get alike.

mod broadcast;
mod channel;
mod connection;
mod counters;
mod hub;
mod inbox;
mod interest;
mod journal;
mod limits;
mod memory;
mod outbox;
mod shard;
mod tally;

pub use broadcast::{Broadcast, Encoder};
pub use connection::{Connection, Endpoint, Grants, Identity, Slot};
pub use counters::{AppCounters, Counters};
pub use hub::{Hub, HubOptions, MAX_PAGE_BYTES, Settings};
pub use inbox::{Inbox, Letter};
pub use limits::{Bucket, Now};
pub use memory::MemoryEngine;
pub use outbox::Outbox;
pub use shard::Shard;
