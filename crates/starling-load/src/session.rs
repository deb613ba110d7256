//! What one client says and hears, for each protocol: texts in, texts out.
//!
//! A session never parses what a run has most of: a frame with a stamp where the last one had it is a message. Only what
//! else comes is looked at here.

mod native;
mod phoenix;
mod pusher;
mod socketio;
mod sse;

use std::{sync::Arc, time::Duration};

use crate::target::{Identity, Protocol};

/// What a frame meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that a scenario waits for.
    Quiet,
    /// The connection is open, and in its channel.
    Joined,
    /// The positive answer to the request with this number.
    Answer(u64),
    /// Something went wrong; the connection goes on.
    Problem(String),
    /// The server does not want this client, or ends it.
    Refused(String),
}

/// A message to be published.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Where to.
    pub channel: &'a str,
    /// The stamp with its padding, see [`overhead`].
    pub text: &'a str,
    /// The number of the request, if an answer is wanted; from 1.
    pub request: Option<u64>,
}

/// How a connection is asked for.
#[derive(Debug, Default)]
pub struct Opening {
    /// Path and query.
    pub path: String,
    /// Further header lines, each with its line end.
    pub headers: String,
}

/// One client's side of a protocol.
pub trait Session: Send {
    /// What to ask for.
    fn opening(&self) -> Opening;

    /// The connection is there: says what has to be said first. Returns whether that is all it takes.
    fn open(&mut self, _say: &mut Vec<String>) -> bool {
        false
    }

    /// A text arrived.
    fn hear(&mut self, text: &str, say: &mut Vec<String>) -> Heard;

    /// Whether a text that has a stamp is an answer and no message.
    fn is_answer(&self, _text: &str) -> bool {
        false
    }

    /// Writes a message to be published, or a request like it where the protocol has no answer to a publish.
    fn publish(&mut self, publish: Publish<'_>, out: &mut String);

    /// What is to be said every [`HEARTBEAT`], if anything.
    fn heartbeat(&mut self) -> Option<String> {
        None
    }
}

/// How often clients show that they are there, where the protocol wants them to.
pub const HEARTBEAT: Duration = Duration::from_secs(25);

/// A session for a client that joins `channel`, if one is given.
pub fn session(identity: &Arc<Identity>, channel: Option<&str>) -> Box<dyn Session> {
    let (identity, channel) = (identity.clone(), channel.map(str::to_owned));
    match identity.protocol {
        Protocol::Native => Box::new(native::Native::new(identity, channel)),
        Protocol::SocketIo => Box::new(socketio::SocketIo::new(identity, channel)),
        Protocol::Phoenix => Box::new(phoenix::Phoenix::new(identity, channel)),
        Protocol::Pusher => Box::new(pusher::Pusher::new(identity, channel)),
        Protocol::Sse => Box::new(sse::Sse::new(identity, channel)),
    }
}

/// Bytes of a payload, as JSON, beside the text in it.
pub fn overhead(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Native | Protocol::SocketIo | Protocol::Sse => r#""""#.len(),
        // Both take objects only.
        Protocol::Phoenix | Protocol::Pusher => r#"{"b":""}"#.len(),
    }
}

/// The path to connect to: the one that was asked for, or the protocol's own.
fn path(identity: &Identity, channel: Option<&str>, own: impl FnOnce() -> String) -> String {
    match &identity.path {
        Some(path) => path.replace("{channel}", &crate::target::in_query(channel.unwrap_or_default())),
        None => own(),
    }
}

/// The header that shows the token.
fn bearer(identity: &Identity) -> String {
    identity.token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"))
}

/// The beginning of a text that is not understood, for people.
fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(120).map_or(text.len(), |(at, _)| at);
    format!("{}{}", &text[..end], if end < text.len() { "…" } else { "" })
}
