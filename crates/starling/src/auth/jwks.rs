//! Reading a JWKS document (RFC 7517), wherever it came from.
//!
//! Keys that cannot verify user tokens are skipped, as RFC 7517 section 5 asks: other key types, curves and
//! algorithms, encryption keys, malformed ones. Symmetric keys (`kty: oct`) are skipped as well:
//! a key set is made to be public.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::keys::{Algorithm, KeySet, VerificationKey, is_public_key};

/// The largest document that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = 1024 * 1024;

/// The number of usable keys that are kept of one document; further ones are ignored.
pub const MAX_JWKS_KEYS: usize = 100;

/// A document that has no key to offer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JwksError {
    /// Larger than [`MAX_JWKS_BYTES`].
    #[error("the document is larger than 1 MiB")]
    TooLarge,
    /// Not a JSON object with an array `keys`.
    #[error("not a JSON object with an array \"keys\"")]
    Malformed,
    /// None of its keys is a signature key for RS256, ES256 or EdDSA.
    #[error("no usable key (RS256, ES256 or EdDSA for signatures) among {0}")]
    NoUsableKey(usize),
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads the usable keys of a document.
pub(super) fn parse(document: &[u8]) -> Result<KeySet, JwksError> {
    if document.len() > MAX_JWKS_BYTES {
        return Err(JwksError::TooLarge);
    }
    let document: Document<'_> = serde_json::from_slice(document).map_err(|_| JwksError::Malformed)?;
    let keys: Vec<_> = document
        .keys
        .iter()
        .filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok())
        .filter_map(Jwk::into_key)
        .take(MAX_JWKS_KEYS)
        .collect();
    if keys.is_empty() {
        return Err(JwksError::NoUsableKey(document.keys.len()));
    }
    Ok(KeySet::new(keys))
}

impl Jwk {
    fn into_key(self) -> Option<VerificationKey> {
        let algorithm = self.algorithm()?;
        let key = match algorithm {
            Algorithm::Rs256 => self.rsa_key()?,
            Algorithm::Es256 => {
                let (x, y) = (decode(self.x.as_deref()?)?, decode(self.y.as_deref()?)?);
                // An uncompressed point (SEC 1 section 2.3.3): a coordinate of another length would shift the other.
                let point = [&[4][..], &x, &y].concat();
                if x.len() != 32 || !is_public_key(algorithm, &point) {
                    return None;
                }
                DecodingKey::from_ec_der(&point)
            }
            Algorithm::EdDsa => {
                let x = decode(self.x.as_deref()?)?;
                if !is_public_key(algorithm, &x) {
                    return None;
                }
                DecodingKey::from_ed_der(&x)
            }
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
        };
        Some(VerificationKey::from_parts(algorithm, self.kid, key))
    }

    /// The one algorithm that this key verifies, unless it is not for that.
    fn algorithm(&self) -> Option<Algorithm> {
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            _ => return None,
        };
        let fits = self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str())
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        fits.then_some(algorithm)
    }

    fn rsa_key(&self) -> Option<DecodingKey> {
        let (n, e) = (decode(self.n.as_deref()?)?, decode(self.e.as_deref()?)?);
        let modulus = &n[n.iter().position(|&byte| byte != 0)?..];
        let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
        let exponent_is_odd = e.last().is_some_and(|byte| byte % 2 == 1);
        if !(2048..=8192).contains(&bits) || !exponent_is_odd || e.len() > 8 {
            return None;
        }
        Some(DecodingKey::from_rsa_raw_components(modulus, &e))
    }
}

/// Some issuers pad, which RFC 7518 forbids; nothing is gained by refusing them.
fn decode(value: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok()
}
