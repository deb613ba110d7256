//! The Rust client of Starling's native protocol.
//!
//! ```no_run
//! # async fn example() -> Result<(), starling_client::Error> {
//! use starling_client::{Client, Item, Publish, SubscribeOptions};
//!
//! let client = Client::builder("ws://127.0.0.1:8080").token("eyJ…").connect().await?;
//! let mut room = client.subscribe("room:1", SubscribeOptions::default()).await?;
//! client.publish(Publish::json("room:1", &"hello")?).await?;
//! while let Some(item) = room.next().await {
//!     if let Item::Message(message) = item {
//!         println!("{}: {:?}", message.event, message.payload);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! One task owns the connection; [`Client`] and [`Subscription`] are handles to it. When the connection is lost, it
//! connects again (exponential backoff with full jitter, at most 30 s), subscribes again from the last position that
//! each subscription has been given, and sends the publishes that were not acknowledged again, under the same
//! message id, which the server delivers once. So a subscriber gets every message of a channel with history once and
//! in order, or is told by [`Item::Recovered`] or [`Item::Gap`] that it did not.
//!
//! Every queue is bounded. A subscriber that does not read stops the reading from the socket, for the whole client;
//! the server then treats it as the slow client that it is. A publish beyond
//! [`Builder::max_pending`] fails with [`Error::QueueFull`].
//!
//! TLS trusts the certificate authorities of the system: the file in `SSL_CERT_FILE`, or the first that exists of the
//! usual ones (`/etc/ssl/certs/ca-certificates.crt` and its like), and those of [`Builder::ca_file`].
//!
//! Not supported yet: presence, history, application events, messages to `#user:…`, MessagePack, compression, HTTP
//! proxies.

mod backoff;
mod builder;
mod client;
mod connector;
mod driver;
mod endpoint;
mod error;
mod socket;
mod subscription;
mod tls;
mod wire;

pub use builder::Builder;
pub use client::{Ack, Client, Publish, Status};
pub use error::{ConnectError, Error, Lost};
pub use starling_core::{Epoch, Payload, Position, RawJson, Refusal};
pub use subscription::{Item, Message, SubscribeOptions, Subscription};
