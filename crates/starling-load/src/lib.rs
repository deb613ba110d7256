//! A load generator for realtime servers: many clients on one thread, which check exactly what they receive.
//!
//! It is what `starling bench` and the programs in `benches/` are built on. It drives any server that speaks one of its
//! protocols; nothing of Starling's server is linked in.
//!
//! - [`target`]: where the server is, and who the clients are;
//! - [`session`]: what a client says in each protocol;
//! - [`fleet`]: the connections;
//! - [`scenario`]: what the clients do, and what is measured meanwhile;
//! - [`stamp`], [`tally`]: the proof of order that every message carries, and who received what;
//! - [`report`]: the result.

pub mod api;
pub mod fleet;
pub mod histogram;
pub mod http;
pub mod process;
pub mod report;
pub mod scenario;
pub mod session;
pub mod stamp;
pub mod tally;
pub mod target;
pub mod watch;
