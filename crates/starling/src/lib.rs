//! Starling as a library: the embeddable realtime server.
//!
//! [`Server::builder`] builds a whole server with Rust [`handlers`]; [`Server::start`] runs one from plain [`Options`].
//! It serves every protocol, the HTTP API, metrics, drain and reload. It reads no file but certificates, keeps no state
//! of the process, and can stand more than once in one process.
//!
//! To mount it in an application of [axum](https://docs.rs/axum), see `starling::axum` (feature `axum`).

mod address;
mod api;
pub mod auth;
mod cluster;
mod cors;
mod embed;
mod flight;
mod gate;
mod gzip;
pub mod handlers;
pub mod hooks;
mod http;
mod listener;
mod mailbox;
mod options;
mod phoenix;
mod poll;
pub mod pusher;
mod relay;
mod send;
mod server;
mod sessions;
mod shared;
mod socketio;
mod stream;
mod tls;
mod upgrade;
mod watched;
mod worker;

pub use address::{InvalidNetwork, Networks};
#[cfg(feature = "axum")]
pub use embed::axum;
pub use embed::{AskError, Audience, Broadcaster, BuildError, Builder, Chain, MAX_QUESTIONS, Post, json};
pub use options::{LiveOptions, Options, TlsFiles};
pub use server::{Server, StartError};
pub use starling_core as core;
pub use starling_hub::MemoryEngine;
pub use tls::TlsError;
