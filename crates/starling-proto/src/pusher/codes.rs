//! Error and close codes, each with what clients do about it: 4000-4099 they stay away, 4100-4199 they come back after
//! a while, 4200-4299 they come back at once, 4300-4399 tell of something that did not end the connection.

use starling_core::CloseReason;

use crate::session::Closing;
use crate::websocket::CloseCode;

/// No app has the key.
pub const UNKNOWN_KEY: u16 = 4001;
/// The app has as many connections as it may.
pub const OVER_QUOTA: u16 = 4004;
/// The path is that of no app.
pub const PATH_NOT_FOUND: u16 = 4005;
/// The protocol version is no number.
pub const INVALID_VERSION: u16 = 4006;
/// The protocol version is not spoken here.
pub const UNSUPPORTED_VERSION: u16 = 4007;
/// A signature was wrong, or the application ended the connection.
pub const UNAUTHORIZED: u16 = 4009;
/// The server has no room, or the client is too slow.
pub const OVER_CAPACITY: u16 = 4100;
/// The server is going away.
pub const RECONNECT: u16 = 4200;
/// A ping was not answered.
pub const NO_PONG: u16 = 4201;
/// A client event was not taken; most often there were too many.
pub const CLIENT_EVENT_REJECTED: u16 = 4301;
/// A watchlist has too many users.
pub const WATCHLIST_LIMIT: u16 = 4302;

/// How Pusher says that the server ends a connection for `reason`.
pub fn closing(reason: CloseReason) -> Closing {
    let (code, text) = match reason {
        CloseReason::Normal => (1000, ""),
        // Nobody is there to read it: the code that RFC 6455 has for this is never sent.
        CloseReason::Lost => (1001, "Connection lost"),
        CloseReason::ProtocolError => (1002, "WebSocket protocol error"),
        CloseReason::InvalidText => (1007, "Text is not UTF-8"),
        CloseReason::TooLarge => (1009, "Message too large"),
        CloseReason::InvalidMessage => (1003, "Invalid message"),
        CloseReason::AuthRequired | CloseReason::TokenExpired => (UNAUTHORIZED, "Connection is unauthorized"),
        CloseReason::Forbidden => (UNAUTHORIZED, "Connection ended by the application"),
        CloseReason::SlowConsumer => (OVER_CAPACITY, "Over capacity: the client reads too slowly"),
        CloseReason::TooManyRequests => (OVER_CAPACITY, "Over capacity: too many messages"),
        CloseReason::Internal => (OVER_CAPACITY, "Internal error"),
        CloseReason::Drain => (RECONNECT, "Server is closing. Please reconnect"),
        CloseReason::HeartbeatTimeout => (NO_PONG, "Pong reply not received in time"),
    };
    Closing { reason, code: CloseCode(code), text: text.to_owned() }
}
