//! Refusals: what a caller is told when a request is not carried out.

use std::borrow::Cow;
use std::fmt;

use crate::EngineError;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal;)*) => {
        /// Why a request was refused. The names are part of the outside contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that says the same (RFC 9110 section 15).
            pub fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The code of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Not a message of the protocol, or a field of the wrong type.
    InvalidMessage = "INVALID_MESSAGE", 400;
    /// An object without `type`.
    MissingType = "MISSING_TYPE", 400;
    /// A `type` or event that nobody handles.
    UnknownType = "UNKNOWN_TYPE", 400;
    /// A user is wanted, and the connection has none.
    AuthRequired = "AUTH_REQUIRED", 401;
    /// The token is not valid here.
    TokenInvalid = "TOKEN_INVALID", 401;
    /// The token was valid once.
    TokenExpired = "TOKEN_EXPIRED", 401;
    /// The caller is known and may not do this.
    Forbidden = "FORBIDDEN", 403;
    /// Not a channel name, or a reserved one.
    InvalidChannel = "INVALID_CHANNEL", 400;
    /// The operation needs membership.
    NotSubscribed = "NOT_SUBSCRIBED", 403;
    /// The connection is a member already.
    AlreadySubscribed = "ALREADY_SUBSCRIBED", 400;
    /// Too many messages in too little time.
    RateLimited = "RATE_LIMITED", 429;
    /// A bound on the number of something was reached.
    LimitExceeded = "LIMIT_EXCEEDED", 403;
    /// Larger than `max_payload`.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413;
    /// The channel keeps no history.
    NoHistory = "NO_HISTORY", 404;
    /// The channel has no presence.
    NoPresence = "NO_PRESENCE", 404;
    /// The application's hook gave no usable answer.
    HookFailed = "HOOK_FAILED", 502;
    /// The engine did not take it; nothing happened.
    EngineUnavailable = "ENGINE_UNAVAILABLE", 503;
    /// A defect of the server.
    Internal = "INTERNAL", 500;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const NO_RULE: &str = "no channel rule allows this channel";

/// A refusal: a code for programs, a sentence for people.
///
/// The code is usually an [`ErrorCode`]; an application's hook or handler may choose its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with one of the contract's codes.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Cow::Borrowed(code.as_str()), message: message.into() }
    }

    /// A refusal with a code of the application's own.
    pub fn custom(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// The refusal of a channel that no rule speaks of.
    pub fn no_rule() -> Self {
        Self::new(ErrorCode::Forbidden, NO_RULE)
    }

    /// Whether it is [`Refusal::no_rule`]: some protocols have a word of their own for it.
    pub fn is_no_rule(&self) -> bool {
        self.is(ErrorCode::Forbidden) && self.message == NO_RULE
    }

    /// The HTTP status that fits; 403 for a code of the application's own.
    pub fn http_status(&self) -> u16 {
        ErrorCode::from_name(&self.code).map_or(403, ErrorCode::http_status)
    }

    /// Whether it carries this code.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.as_str()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoHistory => Self::new(ErrorCode::NoHistory, "the channel keeps no history"),
            EngineError::TooLarge(_) => {
                Self::new(ErrorCode::PayloadTooLarge, "the engine takes no message of this size")
            }
            EngineError::Unavailable(_) => Self::new(ErrorCode::EngineUnavailable, "the engine is not available"),
        }
    }
}
