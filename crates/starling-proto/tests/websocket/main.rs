//! The WebSocket codec as its users see it: bytes in, events out, and bytes on the way back.

mod compression;
mod frames;
mod handshake;
mod messages;
mod peer;
mod properties;
