//! What the close codes of this protocol mean to its official client: 1000 keeps it away, any other brings it back.
//! Newer ones of 1.8 come back after 1000 as well.

use starling_core::CloseReason;

use crate::session::Closing;
use crate::websocket::CloseCode;

/// How the server says that it ends a connection for `reason`.
pub fn closing(reason: CloseReason) -> Closing {
    let (code, text) = match reason {
        CloseReason::Normal | CloseReason::Lost => (CloseCode::NORMAL, ""),
        // Disconnected by the application: it must not come back by itself.
        CloseReason::Forbidden => (CloseCode::NORMAL, "disconnected"),
        CloseReason::ProtocolError => (CloseCode::PROTOCOL_ERROR, "protocol error"),
        CloseReason::InvalidMessage => (CloseCode::INTERNAL, "not a message"),
        CloseReason::InvalidText => (CloseCode::INVALID_PAYLOAD, "text that is not UTF-8"),
        CloseReason::TooLarge => (CloseCode::TOO_LARGE, "message too large"),
        CloseReason::HeartbeatTimeout => (CloseCode::GOING_AWAY, "no heartbeat"),
        CloseReason::AuthRequired => (CloseCode::POLICY, "authentication required"),
        // It comes back with what its params function then returns.
        CloseReason::TokenExpired => (CloseCode::POLICY, "token expired"),
        CloseReason::TooManyRequests => (CloseCode::POLICY, "too many requests"),
        CloseReason::SlowConsumer => (CloseCode::TRY_AGAIN, "slow consumer"),
        CloseReason::Drain => (CloseCode::RESTART, "restart"),
        CloseReason::Internal => (CloseCode::INTERNAL, "internal error"),
    };
    Closing { reason, code, text: text.to_owned() }
}
