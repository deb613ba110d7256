//! Why a connection ends, in no protocol's words.

/// Why the server ends a connection, or how it ended. Each protocol maps it to its own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said good-bye.
    Normal,
    /// The client's socket ended without a good-bye.
    Lost,
    /// The client violated the protocol's framing.
    ProtocolError,
    /// The client sent what is not a message of the protocol.
    InvalidMessage,
    /// Text that is not UTF-8.
    InvalidText,
    /// One message larger than `max_payload`.
    TooLarge,
    /// Nothing was heard for `interval + timeout`.
    HeartbeatTimeout,
    /// No valid authentication came in time, or it was refused as the first message.
    AuthRequired,
    /// The token expired and was not renewed.
    TokenExpired,
    /// The application or the API refused or ended it.
    Forbidden,
    /// More waited for it than its bounds allow.
    SlowConsumer,
    /// It kept sending after it was told that it sends too much.
    TooManyRequests,
    /// The server is going away on purpose; come back elsewhere.
    Drain,
    /// A defect of the server, or a lost engine.
    Internal,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseReason::index`].
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::Lost,
        Self::ProtocolError,
        Self::InvalidMessage,
        Self::InvalidText,
        Self::TooLarge,
        Self::HeartbeatTimeout,
        Self::AuthRequired,
        Self::TokenExpired,
        Self::Forbidden,
        Self::SlowConsumer,
        Self::TooManyRequests,
        Self::Drain,
        Self::Internal,
    ];

    /// Its place in [`CloseReason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Lost => "lost",
            Self::ProtocolError => "protocol_error",
            Self::InvalidMessage => "invalid_message",
            Self::InvalidText => "invalid_text",
            Self::TooLarge => "too_large",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::AuthRequired => "auth_required",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::SlowConsumer => "slow_consumer",
            Self::TooManyRequests => "too_many_requests",
            Self::Drain => "drain",
            Self::Internal => "internal",
        }
    }
}
