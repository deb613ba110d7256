//! The keys that verify user tokens: algorithms, single keys from PEM or secrets, and sets of them.
//!
//! Each key is good for exactly one algorithm, chosen by the configuration and never by the token.
//! That alone makes `alg: none` and the use of an RSA public key as an HMAC secret impossible.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use jsonwebtoken::{Algorithm as JwtAlgorithm, DecodingKey};
use thiserror::Error;

use super::jwks::JwksError;
use super::jws::Jws;

/// The number of keys that a token without a fitting `kid` is tried against; further keys are not
/// looked at, so that a hostile token costs a bounded number of signature checks.
pub const MAX_TRIED_KEYS: usize = 8;

/// A signature algorithm of user tokens (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256; keys of 2048 to 8192 bits.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All algorithms that are accepted, in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Hs256, Self::Hs384, Self::Hs512, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name as it stands in a token's `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether signer and verifier share one secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    pub(super) fn to_jwt(self) -> JwtAlgorithm {
        match self {
            Self::Hs256 => JwtAlgorithm::HS256,
            Self::Hs384 => JwtAlgorithm::HS384,
            Self::Hs512 => JwtAlgorithm::HS512,
            Self::Rs256 => JwtAlgorithm::RS256,
            Self::Es256 => JwtAlgorithm::ES256,
            Self::EdDsa => JwtAlgorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of [`Algorithm::ALL`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not one of HS256, HS384, HS512, RS256, ES256, EdDSA")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name).ok_or(UnknownAlgorithm)
    }
}

/// A configured key cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A shared secret was configured for an algorithm that wants a public key.
    #[error("{0} needs a public key, not a secret")]
    NeedsPublicKey(Algorithm),
    /// A public key was configured for an algorithm that wants a secret: anyone could sign with it.
    #[error("{0} needs a secret, not a public key")]
    NeedsSecret(Algorithm),
    /// The secret has no bytes.
    #[error("the secret is empty")]
    EmptySecret,
    /// The bytes are not a PEM public key of this algorithm.
    #[error("not a PEM public key for {0}")]
    Pem(Algorithm),
    /// The JWKS document has no key to offer.
    #[error("JWKS: {0}")]
    Jwks(#[from] JwksError),
    /// The JWKS URL cannot be fetched, now or later.
    #[error("JWKS URL: {0}")]
    Url(#[from] super::remote::UrlError),
}

/// One key, good for one algorithm.
pub(super) struct VerificationKey {
    algorithm: Algorithm,
    kid: Option<String>,
    key: DecodingKey,
}

impl VerificationKey {
    pub(super) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        if !algorithm.is_symmetric() {
            return Err(KeyError::NeedsPublicKey(algorithm));
        }
        if secret.is_empty() {
            return Err(KeyError::EmptySecret);
        }
        Ok(Self { algorithm, kid: None, key: DecodingKey::from_secret(secret) })
    }

    pub(super) fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                return Err(KeyError::NeedsSecret(algorithm));
            }
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        };
        let key = key.map_err(|_| KeyError::Pem(algorithm))?;
        // The PEM reader looks at the family only: a P-384 key, a short RSA key or a private key gets through it.
        let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Pem(algorithm))?;
        if !is_public_key(algorithm, bytes) {
            return Err(KeyError::Pem(algorithm));
        }
        Ok(Self { algorithm, kid: None, key })
    }

    /// A key whose parts were checked by the JWKS reader.
    pub(super) fn from_parts(algorithm: Algorithm, kid: Option<String>, key: DecodingKey) -> Self {
        Self { algorithm, kid, key }
    }

    fn verifies(&self, jws: &Jws<'_>) -> bool {
        jsonwebtoken::crypto::verify(jws.signature, jws.signed.as_bytes(), &self.key, self.algorithm.to_jwt())
            .unwrap_or(false)
    }
}

/// Whether `bytes` are a public key that the verifier of `algorithm` takes.
pub(super) fn is_public_key(algorithm: Algorithm, bytes: &[u8]) -> bool {
    let verification: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return false,
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
    };
    ParsedPublicKey::new(verification, bytes).is_ok()
}

/// What a set of keys says of a signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// One of the keys made it.
    Verified,
    /// The key that the token names by its `kid` did not make it.
    Forged,
    /// No key has the token's `kid`, and none without one made it.
    Unknown,
}

/// Keys that are equally trusted.
pub(super) struct KeySet {
    keys: Vec<VerificationKey>,
}

impl KeySet {
    pub(super) fn new(keys: Vec<VerificationKey>) -> Self {
        Self { keys }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether some key is for `algorithm`.
    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithm == algorithm)
    }

    /// Checks a signature made with `algorithm`, by the key `kid` where the token names one that is here,
    /// otherwise by the first [`MAX_TRIED_KEYS`] keys that it could mean.
    pub(super) fn verify(&self, jws: &Jws<'_>, algorithm: Algorithm, kid: Option<&str>) -> Match {
        let fitting = || self.keys.iter().filter(|key| key.algorithm == algorithm);
        let named = || fitting().filter(|key| kid.is_some() && key.kid.as_deref() == kid);
        if named().next().is_some() {
            return match named().take(MAX_TRIED_KEYS).any(|key| key.verifies(jws)) {
                true => Match::Verified,
                false => Match::Forged,
            };
        }
        match fitting()
            .filter(|key| kid.is_none() || key.kid.is_none())
            .take(MAX_TRIED_KEYS)
            .any(|key| key.verifies(jws))
        {
            true => Match::Verified,
            false => Match::Unknown,
        }
    }
}
