//! The application over HTTP: hooks, which are asked before the act, and webhooks, which are told afterwards
//! (section 9 of the contract, `docs/hooks.md`).
//!
//! [`HttpHooks`] is an [`Application`](starling_core::Application): it composes a question, signs it, and reads the
//! answer strictly. [`Webhooks`] is an [`Observer`](starling_core::Observer): it queues what happened and delivers it
//! in batches until the receiver takes them. Both are bounded in memory and in requests under way, and neither ever
//! keeps a worker waiting.

mod answer;
mod breaker;
mod client;
mod http;
mod options;
mod question;
#[cfg(test)]
mod scripted;
mod secrets;
#[cfg(test)]
mod tests;
mod times;
pub(crate) mod webhooks;

pub use http::HttpHooks;
pub use options::{HookEvent, HookOptions, HooksError, OnError, WebhookEvent, WebhookFormat, WebhookOptions};
pub use secrets::Secrets;
pub use webhooks::Webhooks;

pub(crate) use times::{Asked, BOUNDS, HookTimes};
