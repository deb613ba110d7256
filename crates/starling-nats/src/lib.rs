//! The NATS engine of Starling: nodes linked by core NATS; logs, presence and notes in JetStream.
//!
//! ```no_run
//! # async fn example() -> Result<(), starling_nats::ConnectError> {
//! use starling_nats::{NatsEngine, NatsOptions};
//!
//! let options = NatsOptions::parse("nats://ann:secret@a:4222,b:4222,c:4222?replicas=3")?;
//! let engine = NatsEngine::connect(options).await?;
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! **Hearing.** Everything that happens in a channel arrives by one core subject tree, `P.ch.G.APP.CHANNEL.>`: messages
//! of channels without history as they are published, records of logs and changes of presence as JetStream *republishes*
//! what it has stored, in the order in which it stored it. Nobody hears what was not stored. See `interest`.
//!
//! **Logs.** Logs whose policies round up to the same size and ttl share a stream, a subject each. A record carries its
//! epoch and the offset of its first message. It is stored on the condition that the subject's last sequence is the one
//! that the writer knows (`Nats-Expected-Last-Subject-Sequence`), so of two writers with the same belief one is refused,
//! reads the head, and tries again: offsets have no holes and no repeats, whichever node writes. Clusters of nats-server
//! before 2.9.21 may take both; there the sequence is the message's id as well, and what bears an id that was stored
//! already is not stored. The same holds for presence, message ids, claims and notes: all go through `Link::store`. One
//! write per channel is under way at a time; what comes meanwhile is put into one record, up to 128 messages. An epoch
//! begins with a subject that is empty: first use, expiry, lost data. When the head of a log is found before what this
//! node knows to have been stored, the broker lost the end of it, and an epoch begins too. See `logs` and `history`.
//!
//! **A stream that was lost** is made again under other subjects: each making draws a *generation*, which is part of them.
//! A write that was meant for the lost stream finds nobody, whatever sequence it expected.
//!
//! **Message ids** that publishers chose are reserved in a stream of their own, with the answer once it is known; see
//! `recent`. **Presence** is one key per user and channel; see `presence`. **Leases**: see `lease`.
//!
//! **Acknowledged means taken.** JetStream's acknowledgement for what is stored, and an echo on the same connection for
//! what is not; never the client's `Ok`. See `link`.
//!
//! # What was rejected
//!
//! - *Subscribing to the log's own subjects*: core subscribers get what is published to them before it is stored, and also
//!   what JetStream refuses.
//! - *A consumer per channel and node*: a million channels would be a million consumers, which live in the server.
//! - *The stream's sequence as offset*: it counts all channels. *A counter per channel*: a second round trip, and a hole
//!   when its owner dies between the two.
//! - *One writer per channel, chosen by a lease*: a message would go through a third node, and every failover is a time
//!   without publishing.
//! - *`Nats-Msg-Id` for publishers' message ids*: it says that there was one, not what it was answered; and a record has
//!   one id, not 128.
//! - *Reading each record back to see whether another one stands before it*: one more round trip each, and records that
//!   every reader must know to skip.
//! - *One presence key per connection*: who is a user's first and last connection would be decided by nobody.
//!
//! # Limits
//!
//! `docs/engines-nats.md` has them: what NATS's own settings mean for a log, and what no node can promise.

mod engine;
mod history;
mod interest;
mod lease;
mod link;
mod logs;
mod names;
mod nodes;
mod notes;
mod options;
mod presence;
mod recent;
mod shared;
mod streams;
mod wire;

pub use engine::NatsEngine;
pub use options::{ConnectError, NatsOptions, Storage};
