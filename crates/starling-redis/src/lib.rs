//! The Redis engine of Starling: any number of nodes act as one server, over one Redis, Sentinel, or Cluster.
//!
//! - A publish is one round trip: a script that de-duplicates, assigns the offset, appends to a stream and publishes,
//!   all at once; without history and de-duplication it is a plain `PUBLISH`. Commands are pipelined as they come.
//! - Every node subscribes to the channels it has members of, on one connection per master.
//! - Presence is a hash per channel, its entries leased to nodes that renew their lease; others end what a dead node
//!   left behind.
//! - When a connection was lost, nodes prove that the log is still the one they know, and members are brought up to
//!   date from it.
//!
//! ```text
//!  Engine ──► Lane (one per master) ──► commands, pipelined ──► Redis ──► pushes ──► Delivery ──► Sink
//! ```
//!
//! `docs/engines-redis.md` has the options, what is promised and what is not.

mod address;
mod asking;
mod broker;
mod delivery;
mod engine;
mod failure;
mod flood;
mod interest;
mod keys;
mod lane;
mod link;
mod nodes;
mod options;
mod presence;
mod script;
mod sentinels;
mod topology;
mod watch;
mod wire;
mod writes;

pub use engine::RedisEngine;
pub use options::{ConnectError, RedisOptions, Tls};
