//! The session seam: what every protocol gives, and what a transport does with it.
//!
//! A driver owns the socket and the clock. It calls [`Session::open`] once, then [`Session::receive`] for each packet,
//! carries out the [`Action`]s in their order, and gives the outcome of each [`Action::Request`] back with
//! [`Session::answer`]. It does not call `receive` again before the requests of the last packet are answered, unless
//! the request is a publish: those may be under way several at a time, and are answered in any order.
//! What all members of a channel get alike does not pass through the session: it is written once by
//! [`crate::encode`] in the session's [`Session::form`].

use std::time::Duration;

use bytes::Bytes;
use starling_core::{CloseReason, ConnectionId, Form, Notice, Refusal, Reply, Request, Tag, UserId};

use crate::websocket::CloseCode;

/// A packet of a protocol, as its transport carries it (one WebSocket message, for instance).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// A packet that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnedPacket {
    /// UTF-8 text.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
}

impl OwnedPacket {
    /// The bytes, of either kind.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// What a driver must do next.
#[derive(Debug)]
pub enum Action {
    /// Write this packet.
    Send(OwnedPacket),
    /// Carry this out, and answer with the tag.
    Request(Tag, Request),
    /// Write what is waiting, then close.
    Close(Closing),
    /// This transport is to take over a session that has another one, which it names by the id that it was opened with:
    /// the other transport is held back.
    Probe,
    /// It takes over now. The session that said so is forgotten.
    TakeOver,
}

/// How a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Why, in the server's words; for metrics and the application.
    pub reason: CloseReason,
    /// The WebSocket close code of this protocol for it.
    pub code: CloseCode,
    /// For people, at most 123 bytes.
    pub text: String,
}

/// What a session is told when its connection is admitted.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The connection's id.
    pub connection: ConnectionId,
    /// Its user, if it has one.
    pub user: Option<UserId>,
    /// When its token expires, in Unix milliseconds.
    pub expires_at: Option<u64>,
    /// Whether it presented valid credentials on the upgrade (otherwise it is anonymous, or still has to).
    pub authenticated: bool,
}

/// Who keeps an idle connection alive, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The transport's own ping, after the client was silent for the interval.
    Transport,
    /// [`Session::heartbeat`], after the client was silent for the interval.
    Silence,
    /// [`Session::heartbeat`], once in each interval whatever the client says: it counts on it.
    Regular,
    /// The client itself: the server only notices its silence.
    Client,
    /// [`Session::heartbeat`], this often; the client is never expected to say anything.
    Every(Duration),
}

/// One protocol's state of one connection. Pure: it neither waits, nor reads a clock, nor touches a socket.
pub trait Session {
    /// Writes what comes before everything else, also before the connection is admitted.
    fn greet(&mut self, out: &mut Vec<Action>) {
        let _ = out;
    }

    /// The transport is up. A session that closes here turns its client away, who then never was there.
    fn open(&mut self, opened: &Opened, out: &mut Vec<Action>);

    /// Handles one packet from the client.
    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>);

    /// Whether a packet counts as a message, of which there may be too many.
    fn is_metered(&mut self, packet: Packet<'_>) -> bool {
        let _ = packet;
        true
    }

    /// Whether the client is never closed for sending too much: each refusal is told, and that is all.
    fn forgives(&self) -> bool {
        false
    }

    /// Answers a packet that the driver refuses to have handled (too many messages), with the client's own reference
    /// if it has one.
    fn refuse(&mut self, packet: Packet<'_>, refusal: &Refusal, out: &mut Vec<Action>);

    /// Gives the outcome of a request. The session may ask again because of it.
    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Vec<Action>);

    /// Tells the client something that it did not ask for.
    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>);

    /// Who keeps the connection alive while nothing happens.
    fn beat(&self) -> Beat {
        Beat::Transport
    }

    /// Writes a heartbeat, where [`Session::beat`] asks for it. The client's answer to it, as anything that it sends,
    /// shows that it is there.
    fn heartbeat(&mut self, out: &mut Vec<Action>) {
        let _ = out;
    }

    /// Whether a client that comes for what waits is told in an answer of its own that the connection is over, because
    /// it would hear of that before it looked at the rest.
    fn ends_apart(&self) -> bool {
        false
    }

    /// What is written just before the transport is closed for `reason`.
    fn farewell(&mut self, reason: CloseReason, out: &mut Vec<Action>) {
        let _ = (reason, out);
    }

    /// Whether a connection that was refused as the first thing that it wanted lives on, and may try again until the time
    /// to authenticate is over.
    fn outlives_refusal(&self) -> bool {
        false
    }

    /// Whether clients count on hearing their own message before they are told that it was published.
    fn answers_last(&self) -> bool {
        false
    }

    /// How this protocol says that the server ends the connection for `reason`.
    fn closing(&self, reason: CloseReason) -> Closing;

    /// In which form this connection gets what its channels' members get alike.
    fn form(&self) -> Form;
}
