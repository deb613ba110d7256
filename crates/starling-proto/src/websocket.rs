//! WebSocket: RFC 6455 frames and messages, and RFC 7692 permessage-deflate.
//!
//! Sans-IO: bytes in, [`Event`]s out, and frames as bytes for the way back. The driver of a connection
//!
//! 1. answers the opening handshake with the values of [`handshake`],
//! 2. passes everything it reads to [`Decoder::feed`], which calls back once per message or control frame,
//! 3. writes what [`frame`], [`write_frame`] or [`Deflater::frame`] make of its answers,
//! 4. answers an [`Event::Close`] with a [`close_frame`] (unless it sent one before) and closes the socket; a
//!    server closes first,
//! 5. on a [`PeerError`] sends a [`close_frame`] with [`PeerError::close_code`] and closes.
//!
//! A decoder between two messages is a few words and owns no heap memory: the state of an incomplete frame or
//! message lives in a box that goes away with the last byte of it. Compression belongs to the thread, not to the
//! connection: one [`Inflater`] and one [`Deflater`] serve all its connections.
//!
//! Not here: answering pings, timeouts and the closing handshake's order are the driver's. Messages are never
//! fragmented on the way out, because a payload is complete before it is encoded. Extensions other than
//! permessage-deflate are never negotiated.

mod decoder;
mod deflater;
mod encoder;
mod error;
mod header;
mod inflater;
mod mask;
mod message;

pub mod handshake;

pub use decoder::Decoder;
pub use deflater::{Deflater, MIN_COMPRESSED};
pub use encoder::{close_frame, frame, masked_frame, write_frame, write_masked_frame};
pub use error::PeerError;
pub use inflater::{HELD_COMPRESSED, Inflater};

/// Which end of the connection this is. A server reads masked frames, a client reads unmasked ones (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This end accepted the connection.
    Server,
    /// This end opened the connection.
    Client,
}

/// What a frame carries (section 5.2); a number that is not listed here is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message before it.
    Continuation = 0x0,
    /// A text message, or its first fragment. UTF-8.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// To be answered with a pong of the same payload.
    Ping = 0x9,
    /// The answer to a ping, or a sign of life.
    Pong = 0xA,
}

impl Opcode {
    /// Whether this is one of close, ping and pong: at most 125 bytes, never fragmented.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// Why a connection is closed (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection has been fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that the endpoint does not accept.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Never sent: stands for a close frame without a code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: stands for a connection lost without a close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// A payload that contradicts its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A message that violates the endpoint's policy.
    pub const POLICY: Self = Self(1008);
    /// A message that is too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// The client missed an extension in the server's handshake.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// The server met an unexpected condition.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts; clients may reconnect.
    pub const RESTART: Self = Self(1012);
    /// The server is overloaded; clients should come back later.
    pub const TRY_AGAIN: Self = Self(1013);
    /// The server got an invalid answer from one behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether the code may appear in a close frame: registered and not reserved, or of the ranges 3000-3999
    /// (libraries) and 4000-4999 (applications).
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What the peer said; borrowed from the bytes passed to [`Decoder::feed`] where possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong(&'a [u8]),
    /// The peer closes, with the code and reason it gave. Nothing follows it.
    Close(Option<CloseCode>, &'a str),
}

/// The parameters of permessage-deflate that both ends agreed upon (RFC 7692 section 7.1).
///
/// Two connections with the same [`server_max_window_bits`](Self::server_max_window_bits) can share a frame made by
/// [`Deflater::frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deflate {
    /// The server compresses every message on its own.
    pub server_no_context_takeover: bool,
    /// The client compresses every message on its own.
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the server's window, 8 to 15.
    pub server_max_window_bits: u8,
    /// Base-2 logarithm of the client's window, 8 to 15.
    pub client_max_window_bits: u8,
}

impl Deflate {
    /// Whether the messages of the *other* end than `role` may refer to earlier messages.
    const fn peer_keeps_context(self, role: Role) -> bool {
        match role {
            Role::Server => !self.client_no_context_takeover,
            Role::Client => !self.server_no_context_takeover,
        }
    }
}

impl Default for Deflate {
    /// What is meant by the bare word `permessage-deflate`: context takeover and full windows in both directions.
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }
}
