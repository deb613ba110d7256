//! Starling inside of another program: building a server, acting on it, mounting it in an axum application.

mod audience;
#[cfg(feature = "axum")]
pub mod axum;
mod broadcaster;
mod builder;
mod chain;
mod questions;

pub use audience::Audience;
pub(crate) use broadcaster::Services;
pub use broadcaster::{Broadcaster, Post, json};
pub use builder::{BuildError, Builder};
pub use chain::Chain;
pub use questions::{AskError, MAX_QUESTIONS};
