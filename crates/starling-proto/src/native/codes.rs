//! Close codes of the native protocol: section 5 of the contract.

use starling_core::CloseReason;

use crate::session::Closing;
use crate::websocket::CloseCode;

/// How the native protocol says that the server ends a connection for `reason`.
pub fn closing(reason: CloseReason) -> Closing {
    let (code, text) = match reason {
        CloseReason::Normal => (1000, ""),
        // Nobody is there to read it: the code that RFC 6455 has for this is never sent.
        CloseReason::Lost => (1001, "connection lost"),
        CloseReason::HeartbeatTimeout => (1001, "nothing heard for too long"),
        CloseReason::ProtocolError => (1002, "protocol error"),
        CloseReason::InvalidMessage => (1003, "invalid message"),
        CloseReason::InvalidText => (1007, "text is not UTF-8"),
        CloseReason::TooLarge => (1009, "message too large"),
        CloseReason::Internal => (1011, "internal error"),
        CloseReason::Drain => (1012, "server is going away"),
        CloseReason::AuthRequired => (4001, "authentication required"),
        CloseReason::TokenExpired => (4002, "token expired"),
        CloseReason::Forbidden => (4003, "forbidden"),
        CloseReason::SlowConsumer => (4008, "slow consumer"),
        CloseReason::TooManyRequests => (4029, "too many requests"),
    };
    Closing { reason, code: CloseCode(code), text: text.to_owned() }
}
