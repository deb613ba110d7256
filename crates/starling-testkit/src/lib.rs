//! Test equipment of Starling, for its own crates and for whoever writes an engine.
//!
//! - [`engine_suite!`]: the suite that every [`Engine`](starling_core::Engine) passes unchanged.
//! - [`RecordingSink`]: keeps what an engine delivers, and lets a test wait for it.
//! - [`RemoteEngine`]: a broker in memory whose answers and deliveries a test lets go one by one, in any order, or
//!   loses.
//! - [`Tasks`] and [`block_on`]: run futures without a runtime.

pub mod engine_suite;
mod remote;
mod sink;
mod tasks;

pub use remote::RemoteEngine;
pub use sink::{RecordingSink, Seen};
pub use tasks::{Tasks, block_on};
