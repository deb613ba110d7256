//! How a connection is closed. The official clients come back after any of these, unless a DISCONNECT came before.

use starling_core::CloseReason;

use crate::session::Closing;
use crate::websocket::CloseCode;

pub(super) fn closing(reason: CloseReason) -> Closing {
    let (code, text) = match reason {
        CloseReason::Normal => (1000, ""),
        CloseReason::Lost => (1001, "connection lost"),
        CloseReason::HeartbeatTimeout => (1001, "ping timeout"),
        CloseReason::ProtocolError => (1002, "protocol error"),
        CloseReason::InvalidMessage => (1002, "parse error"),
        CloseReason::InvalidText => (1007, "text is not UTF-8"),
        CloseReason::TooLarge => (1009, "message too large"),
        CloseReason::Internal => (1011, "internal error"),
        CloseReason::Drain => (1012, "server is going away"),
        CloseReason::AuthRequired => (1008, "no namespace was entered in time"),
        CloseReason::TokenExpired => (1008, "token expired"),
        CloseReason::Forbidden => (1008, "disconnected by the server"),
        CloseReason::SlowConsumer => (1008, "slow consumer"),
        CloseReason::TooManyRequests => (1008, "too many requests"),
    };
    Closing { reason, code: CloseCode(code), text: text.to_owned() }
}
