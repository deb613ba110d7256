//! Starling as a library: the embeddable realtime server.
//!
//! [`Server::start`] runs a whole server from [`Options`]: native WebSocket, the HTTP API, metrics, drain and reload.
//! It reads no file but certificates, keeps no state of the process, and can stand more than once in one process.

mod address;
mod api;
pub mod auth;
mod cluster;
mod cors;
mod gate;
mod gzip;
mod http;
mod listener;
mod mailbox;
mod options;
mod poll;
mod relay;
mod send;
mod server;
mod sessions;
mod shared;
mod stream;
mod timed;
mod tls;
mod upgrade;
mod worker;

pub use address::{InvalidNetwork, Networks};
pub use options::{LiveOptions, Options, TlsFiles};
pub use server::{Server, StartError};
pub use starling_core as core;
pub use starling_hub::MemoryEngine;
pub use tls::TlsError;
