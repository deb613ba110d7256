//! Sans-IO protocol codecs and sessions of Starling.
//!
//! [`websocket`] is the framing that most of them travel in; then one folder per protocol, each with a `codec` (bytes
//! to packets and back) and a `session` (packets in, actions out; see [`session`]). [`voices`] is the one list of all
//! of them. Nothing here waits, reads a clock, draws random numbers or knows the hub.

pub mod json_text;
pub mod native;
pub mod phoenix;
pub mod pusher;
pub mod session;
pub mod socketio;
pub mod voices;
pub mod websocket;

pub use session::{Action, Closing, Opened, OwnedPacket, Packet, Session};
pub use voices::{encode, voice_of};
