//! The outer form of a token: three base64url parts, and the few header fields that matter (RFC 7515).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::refusal::TokenError;

/// The longest token that is looked at, in bytes; a longer one is refused before it is decoded.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token in compact serialization, taken apart; nothing about it is verified yet.
pub(super) struct Jws<'a> {
    pub(super) header: Header,
    /// Header and payload as sent, which is what the signature covers.
    pub(super) signed: &'a str,
    /// The decoded payload.
    pub(super) payload: Vec<u8>,
    /// The signature, still in base64url.
    pub(super) signature: &'a str,
}

/// The protected header. Keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl<'a> Jws<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        // RFC 7515 section 4.1.11: extensions that must be understood, and none of them is.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        Ok(Self { header, signed, payload: decode(payload)?, signature })
    }
}
