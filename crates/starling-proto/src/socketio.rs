//! Socket.IO protocol 5 over Engine.IO protocol 4: sections 1, 10 and 11 of the contract.
//!
//! [`engine`] is the lower of the two: what opens a session, keeps it alive, and packs packets into the body of a
//! polling request. [`SocketIoSession`] speaks both; [`UpgradeSession`] is the WebSocket that takes over from polling;
//! [`EngineSession`] is Engine.IO alone, for programs that have a protocol of their own on top of it.
//!
//! A namespace is a *scope* of the hub: room `r` of `/chat` is the channel `/chat#r`. A connection has one user, whom
//! the first namespace that it enters decides.
//!
//! Decisions where the protocol is silent, or the hub has something that it has not:
//!
//! - An event of one argument has that argument as its payload, any other number makes a list of arguments
//!   ([`arguments`]), which comes back as that many arguments wherever it is emitted.
//! - A binary argument is a binary payload. Bytes deeper inside of JSON travel as
//!   `{"_placeholder":true,"data":BASE64}`, which Socket.IO members get as attachments again, and others as it is.
//! - An event may declare no more attachments than its text has room to mention, and is as large as its text and
//!   attachments together.
//! - Messages whose event the official clients keep for themselves (`connect`, …) are emitted as `message`, with the
//!   event's name in the second argument.
//! - A message of a channel that keeps history has `epoch:offset` as its last argument, from which a lost session goes on.

pub mod arguments;
mod builtin;
mod codes;
mod compose;
pub mod engine;
mod packet;
mod session;
mod upgrade;

use starling_core::Protocol;

pub use compose::encode;
pub use session::SocketIoSession;
pub use upgrade::{EngineSession, UpgradeSession};

/// The name of the protocol.
pub const PROTOCOL: Protocol = Protocol("socketio");
/// How deep arrays and objects of a payload may be nested; deeper: `INVALID_MESSAGE`.
pub const MAX_DEPTH: usize = 128;
/// The longest event, `messageId`, `key` or `epoch`, in bytes; longer: `INVALID_MESSAGE`.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest number under which an ack is awaited, in digits; longer: the connection is closed.
pub const MAX_ACK_DIGITS: usize = 20;
/// Namespaces that one connection may be in; one more is refused.
pub const MAX_NAMESPACES: usize = 100;

/// Events that the official clients emit themselves and take for an attack when they come from outside.
const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
