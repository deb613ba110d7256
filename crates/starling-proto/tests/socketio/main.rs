//! Socket.IO and Engine.IO, byte by byte.

mod engine;
mod outgoing;
mod transcripts;
