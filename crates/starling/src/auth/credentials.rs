//! The credentials of an app's backend, as the HTTP API takes them: `Basic key:secret` or `Bearer secret`.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use super::app::AppKeys;

/// Some clients leave the padding out; nothing is gained by refusing them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An API request is not an app's: HTTP 401.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CredentialsError {
    /// There is no `Authorization` header.
    #[error("no credentials")]
    Missing,
    /// Neither `Basic` nor `Bearer`, or not of their form.
    #[error("credentials are neither Basic key:secret nor Bearer secret")]
    Malformed,
    /// No app has this key and secret.
    #[error("wrong key or secret")]
    Wrong,
}

/// The credentials of all apps.
pub struct Credentials {
    apps: Vec<AppCredentials>,
}

struct AppCredentials {
    id: Arc<str>,
    key: Digest,
    secret: Digest,
}

type Digest = [u8; 32];

impl Credentials {
    /// The credentials of `apps`.
    pub fn new(apps: &[AppKeys]) -> Self {
        let apps = apps
            .iter()
            .map(|app| AppCredentials {
                id: app.id.as_str().into(),
                key: sha256(&app.key),
                secret: sha256(&app.secret),
            })
            .collect();
        Self { apps }
    }

    /// The id of the app whose credentials an `Authorization` header carries.
    ///
    /// Takes the same time whichever app it is and however much of a secret is right: hashes are compared,
    /// with each app's, to the last byte.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<Arc<str>, CredentialsError> {
        let header = authorization.ok_or(CredentialsError::Missing)?;
        if let Some(secret) = bearer(header) {
            let secret = sha256(secret);
            return self.find(|app| app.secret.ct_eq(&secret));
        }
        let (key, secret) = basic(header).ok_or(CredentialsError::Malformed)?;
        let (key, secret) = (sha256(&key), sha256(&secret));
        self.find(|app| app.key.ct_eq(&key) & app.secret.ct_eq(&secret))
    }

    fn find(&self, fits: impl Fn(&AppCredentials) -> Choice) -> Result<Arc<str>, CredentialsError> {
        let mut found = None;
        for app in &self.apps {
            // Only a success shows here, and the response shows it anyway.
            if bool::from(fits(app)) {
                found = Some(&app.id);
            }
        }
        found.cloned().ok_or(CredentialsError::Wrong)
    }
}

/// The token of an `Authorization: Bearer …` header (RFC 6750 section 2.1).
pub fn bearer(authorization: &str) -> Option<&str> {
    credentials_of("bearer", authorization)
}

/// User name and password of an `Authorization: Basic …` header (RFC 7617 section 2).
fn basic(authorization: &str) -> Option<(String, String)> {
    let decoded = BASE64.decode(credentials_of("basic", authorization)?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (key, secret) = text.split_once(':')?;
    Some((key.to_owned(), secret.to_owned()))
}

/// What follows the scheme, whose case does not matter (RFC 9110 section 11.1).
fn credentials_of<'a>(scheme: &str, authorization: &'a str) -> Option<&'a str> {
    let (named, credentials) = authorization.trim().split_once(' ')?;
    let credentials = credentials.trim_start();
    (named.eq_ignore_ascii_case(scheme) && !credentials.is_empty()).then_some(credentials)
}

fn sha256(text: &str) -> Digest {
    let mut hash = Digest::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_the_one_whose_secret_is_shown() {
        let credentials =
            Credentials::new(&[AppKeys::new("1", "key-1", "secret-1"), AppKeys::new("2", "key-2", "se:cret-2")]);
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
        for (name, header, expected) in [
            ("basic", basic("key-1:secret-1"), Ok("1")),
            ("basic, the other app", basic("key-2:se:cret-2"), Ok("2")),
            ("basic, crossed", basic("key-1:se:cret-2"), Err(CredentialsError::Wrong)),
            ("basic, wrong secret", basic("key-1:secret-"), Err(CredentialsError::Wrong)),
            ("basic, empty secret", basic("key-1:"), Err(CredentialsError::Wrong)),
            ("basic, unknown key", basic("key-3:secret-1"), Err(CredentialsError::Wrong)),
            ("basic, no colon", basic("key-1"), Err(CredentialsError::Malformed)),
            ("basic, unpadded", basic("key-1:secret-1").replace('=', ""), Ok("1")),
            ("basic, lower case", basic("key-1:secret-1").replace("Basic", "basic"), Ok("1")),
            ("basic, not base64", "Basic !!!".into(), Err(CredentialsError::Malformed)),
            ("basic, not UTF-8", "Basic /////w==".into(), Err(CredentialsError::Malformed)),
            ("bearer", "Bearer secret-1".into(), Ok("1")),
            ("bearer, the other app", "BEARER  se:cret-2".into(), Ok("2")),
            ("bearer, wrong", "Bearer secret-3".into(), Err(CredentialsError::Wrong)),
            ("bearer, a key", "Bearer key-1".into(), Err(CredentialsError::Wrong)),
            ("bearer, empty", "Bearer ".into(), Err(CredentialsError::Malformed)),
            ("other scheme", "Digest secret-1".into(), Err(CredentialsError::Malformed)),
            ("no scheme", "secret-1".into(), Err(CredentialsError::Malformed)),
            ("empty", String::new(), Err(CredentialsError::Malformed)),
        ] {
            let verdict = credentials.authenticate(Some(&header));
            assert_eq!(verdict.as_deref().map_err(|error| *error), expected, "{name}");
        }
        assert_eq!(credentials.authenticate(None), Err(CredentialsError::Missing));
    }
}
