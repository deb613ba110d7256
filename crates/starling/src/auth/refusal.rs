//! Why a user token is refused, and which of the two codes its client is told.
//!
//! The reasons are for logs; a client learns no more than that its token is invalid or has expired.

use thiserror::Error;

use super::claims::MAX_USER_BYTES;

/// A user token was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// More bytes than [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES).
    #[error("token of {0} bytes is too long")]
    TooLong(usize),
    /// Not three base64url parts with a JSON header, or a header that asks for an extension (`crit`).
    #[error("token is malformed")]
    Malformed,
    /// The app has no key for the token's `alg`; `none` never has one.
    #[error("no key for the token's algorithm")]
    Algorithm,
    /// The token names no app of this server, or names none where there are several, or contradicts itself.
    #[error("token is for another app")]
    UnknownApp,
    /// No key that was configured or fetched made the signature.
    #[error("signature does not verify")]
    Signature,
    /// The same, but the token may be signed by a newer key of a JWKS URL: see [`Verifier::verify_fresh`](super::Verifier::verify_fresh).
    #[error("signing key is not known yet")]
    KeyUnknown,
    /// A JWKS URL has not been reached yet, and no other key made the signature.
    #[error("signing keys could not be fetched yet")]
    KeysUnavailable,
    /// `iss` is not the configured issuer.
    #[error("token has another issuer")]
    Issuer,
    /// `aud` does not have the configured audience.
    #[error("token is for another audience")]
    Audience,
    /// A claim that cannot be used.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// `exp` has passed.
    #[error("token expired at {at} (Unix milliseconds)")]
    Expired {
        /// The token's `exp`, in Unix milliseconds.
        at: u64,
    },
    /// `nbf` has not come, even with the leeway.
    #[error("token is not valid before {from} (Unix milliseconds)")]
    NotYetValid {
        /// The token's `nbf`, in Unix milliseconds.
        from: u64,
    },
    /// Issued before a revocation of its user's tokens, or without a time of issue.
    #[error("token was revoked")]
    Revoked,
}

/// A claim of a signed token cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// The payload is not a JSON object, or a claim has the wrong JSON type, or stands there twice.
    #[error("claims are malformed")]
    Malformed,
    /// `sub` is missing or empty.
    #[error("claim sub is missing or empty")]
    NoUser,
    /// `sub` is longer than 255 bytes.
    #[error("claim sub has {0} bytes, more than {MAX_USER_BYTES}")]
    UserTooLong(usize),
    /// `sub` has a control character.
    #[error("claim sub has a control character")]
    ControlCharacter,
    /// A time before 1970 or after 9999, such as milliseconds where seconds belong.
    #[error("claim {0} is not in seconds between the years 1970 and 9999")]
    TimeOutOfRange(&'static str),
    /// `info` is something else than an object.
    #[error("claim info is not an object")]
    InfoNotAnObject,
    /// `info` is nested deeper than [`MAX_INFO_DEPTH`](super::MAX_INFO_DEPTH).
    #[error("claim info is nested too deep")]
    InfoTooDeep,
}

/// What a client is told about a refused token or ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCode {
    /// `TOKEN_INVALID`: this token will never do.
    Invalid,
    /// `TOKEN_EXPIRED`: it was good once; a new one is needed.
    Expired,
}

impl TokenCode {
    /// The code as clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "TOKEN_INVALID",
            Self::Expired => "TOKEN_EXPIRED",
        }
    }
}

impl TokenError {
    /// What the client is told.
    pub fn code(&self) -> TokenCode {
        match self {
            Self::Expired { .. } => TokenCode::Expired,
            Self::TooLong(_)
            | Self::Malformed
            | Self::Algorithm
            | Self::UnknownApp
            | Self::Signature
            | Self::KeyUnknown
            | Self::KeysUnavailable
            | Self::Issuer
            | Self::Audience
            | Self::Claim(_)
            | Self::NotYetValid { .. }
            | Self::Revoked => TokenCode::Invalid,
        }
    }

    /// Whether fetching the JWKS URLs again may turn this refusal into a success.
    pub fn wants_fresh_keys(&self) -> bool {
        matches!(self, Self::KeyUnknown | Self::KeysUnavailable)
    }

    /// How far a token came with one source of keys. Of several refusals the one that came furthest is told.
    pub(super) fn progress(&self) -> u8 {
        match self {
            Self::Issuer | Self::Audience => 3,
            Self::KeyUnknown | Self::KeysUnavailable => 2,
            Self::Signature => 1,
            _ => 0,
        }
    }
}
