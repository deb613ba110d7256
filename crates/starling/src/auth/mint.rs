//! Making user tokens, for `starling token`, backends in Rust, and tests.

use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::keys::Algorithm;

/// The claims of a token to be made. Times are Unix **seconds**, as JWT has them.
#[derive(Clone, Default, Serialize)]
pub struct NewToken<'a> {
    /// User id.
    #[serde(rename = "sub")]
    pub user: &'a str,
    /// App id; needed only where the server has several apps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<&'a str>,
    /// When the token was made; without it, it does not survive a revocation of the user's tokens.
    #[serde(rename = "iat", skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<u64>,
    /// From when it is valid. Default: at once.
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// When it ends. Default: never.
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Issuer, where the server asks for one.
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// Audience, where the server asks for one.
    #[serde(rename = "aud", skip_serializing_if = "Option::is_none")]
    pub audience: Option<&'a str>,
    /// A JSON object that others see in presence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<&'a RawValue>,
    /// Channel patterns for subscribing where a rule says `granted`.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub subscribe: &'a [String],
    /// Channel patterns for publishing where a rule says `granted`.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub publish: &'a [String],
}

/// A token could not be made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MintError {
    /// Signing with this algorithm needs a private key, which Starling never has.
    #[error("{0} cannot sign with a shared secret; use HS256, HS384 or HS512")]
    NotSymmetric(Algorithm),
    /// The cryptographic library refused.
    #[error("signing failed")]
    Signing,
}

/// Signs a token with a shared secret.
///
/// The claims are taken as they are; whether a server accepts them is [`Verifier::verify`](super::Verifier::verify)'s to say.
///
/// # Errors
///
/// An algorithm that is not an HMAC.
pub fn mint(algorithm: Algorithm, secret: &[u8], token: &NewToken<'_>) -> Result<String, MintError> {
    if !algorithm.is_symmetric() {
        return Err(MintError::NotSymmetric(algorithm));
    }
    let header = jsonwebtoken::Header::new(algorithm.to_jwt());
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&header, token, &key).map_err(|_| MintError::Signing)
}
