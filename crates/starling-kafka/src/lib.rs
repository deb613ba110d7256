//! The Kafka engine of Starling: nodes linked by logs that every node reads.
//!
//! ```no_run
//! # async fn example() -> Result<(), starling_kafka::ConnectError> {
//! use starling_kafka::{KafkaEngine, KafkaOptions};
//!
//! let options = KafkaOptions::parse("kafkas://ann:secret@a:9092,b:9092?mechanism=SCRAM-SHA-512&replicas=3")?;
//! let engine = KafkaEngine::connect(options).await?;
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! Kafka stores records one behind the other and does nothing else: it refuses no record because of what another one
//! says. So a record is a wish, and what it did is what every node finds when it reads the records before it. All nodes
//! read all partitions, apply the same rules (`logs`, `presence`, `notes`), and agree.
//!
//! **Publishing.** A node writes the message to the channel's partition, waits until it reads it there, and only then
//! answers: Kafka has taken it (`acks=all`, stored once by an idempotent producer), and its place is known. Any node
//! may publish to any channel at any time; there is no writer to elect, and nothing to try again.
//!
//! **Offsets** are counted while reading, per channel. Message ids are remembered while reading: a second record of an
//! id within the window is no message. An epoch is named after the record that began it. See `logs`, also for how a node
//! that starts knows where to go on.
//!
//! **Reading what was there.** An operation that must see what others have done asks the partition's leader where it ends,
//! and waits until this node has read that far. See `reader`.
//!
//! **Presence and notes** are compacted topics, of which each node has the whole content in memory. Heartbeats, orders,
//! surveys and requests between nodes go through one more partition. See `presence`, `notes`, `nodes`, `lease`.
//!
//! **Faults.** A node goes on reading where it was, so it misses nothing while the brokers are away. Where Kafka does not
//! have that place any more, everything is read again, new epochs begin, and members are told to look. See
//! `reader::place`.
//!
//! # What was rejected
//!
//! - *An offset in each record, refused by readers if it is not the next one*: of two nodes that write to a channel at once,
//!   one has to try again, and again: a busy channel would write more refused records than messages.
//! - *One writer for each partition*, fenced by transactions: messages would go through a third node, and each failover
//!   would be a time without publishing.
//! - *A topic of heads that somebody writes from time to time*: it would need an owner, and be behind whenever a node
//!   starts. What a writer has seen stands in each record instead, at 30 bytes.
//! - *Kafka's own offsets*: they count all channels of a partition.
//! - *Consumer groups*: they share partitions among members; here each node needs all of them.
//!
//! # Limits
//!
//! `docs/engines-kafka.md` has them: what every node reads and keeps in memory, and what Kafka's own settings mean.

mod client;
mod engine;
mod history;
mod interest;
mod lease;
mod live;
mod logs;
mod names;
mod nodes;
mod notes;
mod options;
mod presence;
mod reader;
mod recent;
mod shared;
mod topics;
mod wire;
mod writer;

pub use engine::KafkaEngine;
pub use options::{ConnectError, KafkaOptions, Mechanism};
