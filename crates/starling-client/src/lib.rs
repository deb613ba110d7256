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
//! One task owns the connection; [`Client`], [`Subscription`] and [`Inbox`] are handles to it. When the connection is
//! lost, it connects again (exponential backoff with full jitter, at most 30 s, small again only after a connection that
//! lasted), subscribes again from the last position, and sends the publishes that were not acknowledged again, under the
//! same message id, which the server delivers once. So a subscriber gets every message of a channel with history **once
//! and in order**, or is told by [`Item::Recovered`] or [`Item::Gap`] that it did not.
//!
//! # What there is
//!
//! | | |
//! | --- | --- |
//! | [`Client::subscribe`] | messages, gaps, changes of presence: a stream of [`Item`]s |
//! | [`Client::publish`] | acknowledged, queued without a connection, sent again after a lost one |
//! | [`Client::presence`], [`Subscription::members`] | enter, update, leave; the live set |
//! | [`Client::history`] | what a channel remembers |
//! | [`Client::request`] | to the application behind the server, which replies |
//! | [`Client::inbox`] | messages to the user, and questions of the application, to be answered |
//! | [`Client::status`] | the state of the connection, to look at and to wait for |
//! | [`Message::json`] and its like | payloads as types of the application |
//! | [`Builder`] | tokens, transports, MessagePack, TLS, limits and timeouts |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use serde::{Deserialize, Serialize};
//! use starling_client::{Client, HistoryOptions, Item, Request, Status, SubscribeOptions};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Person {
//!     name: String,
//! }
//!
//! async fn fetch_token() -> Result<String, std::io::Error> {
//!     Ok("eyJ…".into())
//! }
//!
//! // Connects in the background; what is asked of it meanwhile waits.
//! let client = Client::builder("wss://realtime.example.com").token_fn(fetch_token).msgpack().start()?;
//! client.status().wait_for(|status| matches!(status, Status::Connected { .. })).await?;
//!
//! let options = SubscribeOptions::default().rewind(10).presence().enter(&Person { name: "Ann".into() })?;
//! let mut room = client.subscribe("room:1", options).await?;
//! while let Some(item) = room.next().await {
//!     match item {
//!         Item::Message(message) => println!("{}", message.json::<String>()?),
//!         Item::Presence(change) => {
//!             for member in &change.joins {
//!                 println!("{} is here, one of {}", member.json::<Person>()?.name, room.members().borrow().len());
//!             }
//!         }
//!         Item::Recovered(true) => {}
//!         Item::Recovered(false) | Item::Gap { .. } => println!("messages are missing: fetch the state anew"),
//!         Item::Unsubscribed(refusal) => println!("out: {refusal}"),
//!         _ => {}
//!     }
//! }
//!
//! let sum: u32 = client.request(Request::json("sum", &[1, 2])?).await?.json()?;
//! let past = client.history("room:1", HistoryOptions::default().limit(2)).await?;
//! println!("{sum}, {} messages", past.messages.len());
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Transports
//!
//! A WebSocket; where that does not get through, server-sent events with `POST /send` for the way up; where those do not
//! either, long-polling ([`Builder::transports`]). [`Status::Connected`] tells which one carries the connection. Nothing
//! else changes: not what is delivered, not what is sent again, not what an error means.
//!
//! - The next one is tried after one failure to open, after two connections in a row that were cut before they lasted
//!   10 s, or after three failures of one that has worked before; after the last one comes the first.
//! - No reason to try another one: no route to the host, no trusted certificate, a refusal in Starling's words, `429` or
//!   `503` with `Retry-After`, a close code that only a server gives.
//! - Beside a fallback the best transport is tried after 15 s, 30 s, 1 min … 10 min ([`Builder::upgrade_after`]). It is
//!   taken when it has lasted 10 s and still answers, which cuts nothing off: requests that are sent only once are waited
//!   for, up to 10 s, and presence is entered there before it is left here.
//! - A silent event stream is given up after 25 s, a poll that is not answered after 35 s, a message that is not answered
//!   after 20 s.
//! - Over HTTP messages are posted one after the other: about one for each round trip.
//! - Over HTTP everything is JSON. With [`Builder::msgpack`] messages are translated: bytes travel as base64, and arrive as
//!   bytes.
//! - After [`Client::close`], and after a move back, subscriptions over HTTP are taken back one by one; after a lost
//!   connection, the server keeps the presence of a long-polling session for its recovery window.
//!
//! # Limits
//!
//! Every queue is bounded. A subscriber or inbox that does not read stops the reading from the socket, for the whole
//! client and for answers, too: read in a task of its own what you do not read at once. The server then treats the
//! client as the slow one that it is. A request beyond [`Builder::max_pending`] fails with [`Error::QueueFull`].
//!
//! # What a server does that it should not
//!
//! | the server | the client |
//! | --- | --- |
//! | sends what is no Starling message | gives the connection up, tries again with backoff, and over the next transport where this one never worked |
//! | sends a type that is unknown, or answers an id that nobody waits for | lets it pass |
//! | closes at once, every time | tries again with growing delays |
//! | refuses the token | asks for another once, then ends; with [`Builder::token`] it ends at once |
//! | sends a message twice | delivers it once |
//! | skips an offset | says [`Item::Gap`] before the next message |
//! | closes because it could not read a message (1003, 1007, 1009) | fails the publishes that were on their way, and comes back |
//! | refuses because of the rate | sends less at a time, and what was refused again half a second later |
//! | says when to come back (`drain`), or restarts without a word (1012) | comes back then, or at a random moment within 5 s |
//!
//! # TLS
//!
//! The certificate authorities of the system are trusted: the file in `SSL_CERT_FILE`, or the first that exists of the
//! usual ones (`/etc/ssl/certs/ca-certificates.crt` and its like), and those of [`Builder::ca_file`].
//!
//! Not supported: compression, HTTP proxies that have to be configured.

mod ask;
mod backoff;
mod builder;
mod client;
mod connector;
mod driver;
mod endpoint;
mod error;
mod inbox;
mod presence;
mod publish;
mod refusal;
mod subscription;
mod tls;
mod transport;
mod wire;

pub use ask::{History, HistoryOptions, Reply, Request};
pub use builder::Builder;
pub use client::{Client, Status};
pub use error::{ConnectError, Error, Lost};
pub use inbox::{Arrival, Inbox, ServerEvent};
pub use presence::{Member, Members, Presence, PresenceChange};
pub use publish::{Ack, Publish};
pub use starling_core::{Epoch, Payload, Position, RawJson, Refusal};
pub use subscription::{Item, Message, SubscribeOptions, Subscription};
pub use transport::Transport;

/// The examples of the README are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
