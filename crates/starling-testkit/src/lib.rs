//! Test equipment of Starling, for its own crates and for whoever writes an engine.
//!
//! - [`engine_suite!`]: the suite that every [`Engine`](starling_core::Engine) passes unchanged.
//! - [`nodes_suite!`]: the same for several nodes on one broker.
//! - [`Broker`]: a broker's real program, started, paused, killed and restarted by a test.
//! - [`RecordingSink`]: keeps what an engine delivers, and lets a test wait for it.
//! - [`RemoteEngine`]: a broker in memory whose answers and deliveries a test lets go one by one, in any order, or
//!   loses.
//! - [`Tasks`] and [`block_on`]: run futures without a runtime.

mod broker;
pub mod engine_suite;
mod kafka;
pub mod nodes_suite;
mod remote;
mod sink;
mod tasks;

pub use broker::{Broker, free_port, is_installed, redis_server};
pub use kafka::{kafka, kafka_is_installed, wipe_kafka};
pub use remote::RemoteEngine;
pub use sink::{RecordingSink, Seen};
pub use tasks::{Tasks, block_on};
