//! What the configuration says of an app's keys, and the checks that apps must pass together.
//!
//! Plain values: reading files is the caller's business, so a PEM or a JWKS document arrives here as bytes.

use std::collections::HashSet;
use std::fmt;

use starling_proto::pusher::AppSettings;
use thiserror::Error;

use super::keys::{Algorithm, KeyError};

/// The keys of one app, as configured in `[[apps]]`.
#[derive(Clone)]
pub struct AppKeys {
    /// App id; 1 to 255 bytes, unique.
    pub id: String,
    /// Public key name: the user of HTTP Basic, the path of a Pusher connection, a JWT's `kid`; unique.
    pub key: String,
    /// Shared secret of the app and its backend; unique, because a bare `Bearer secret` names the app by it.
    pub secret: String,
    /// Where the keys for user tokens come from. Empty: `secret` signs them (HS256, HS384 or HS512).
    /// Otherwise `secret` signs no user token.
    pub jwt: Vec<KeySource>,
    /// Required `iss` of user tokens, for sources that do not name their own. Default: any.
    pub issuer: Option<String>,
    /// Required member of `aud`, for sources that do not name their own. Default empty: any.
    pub audience: Vec<String>,
    /// What its Pusher clients and servers may do.
    pub pusher: AppSettings,
}

impl AppKeys {
    /// An app whose secret signs its user tokens.
    pub fn new(id: impl Into<String>, key: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            key: key.into(),
            secret: secret.into(),
            jwt: Vec::new(),
            issuer: None,
            audience: Vec::new(),
            pusher: AppSettings::default(),
        }
    }

    /// Adds a source of keys for user tokens; from then on the secret no longer signs them.
    pub fn with_jwt(mut self, source: impl Into<KeySource>) -> Self {
        self.jwt.push(source.into());
        self
    }
}

/// Shows the id and the key only: the rest is, or may hold, a secret.
impl fmt::Debug for AppKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKeys")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("jwt", &self.jwt)
            .finish_non_exhaustive()
    }
}

/// One entry of an app's `jwt` list.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The keys themselves, or where to get them.
    pub material: KeyMaterial,
    /// Required `iss` of tokens signed by these keys. Default: the app's.
    pub issuer: Option<String>,
    /// Of these one must be in the `aud` of tokens signed by these keys. Default: the app's.
    pub audience: Vec<String>,
}

impl From<KeyMaterial> for KeySource {
    fn from(material: KeyMaterial) -> Self {
        Self { material, issuer: None, audience: Vec::new() }
    }
}

/// The keys of a [`KeySource`].
#[derive(Clone)]
pub enum KeyMaterial {
    /// A public key in PEM (`PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`) for RS256, ES256 or EdDSA.
    PublicKey {
        /// The only algorithm that this key verifies.
        algorithm: Algorithm,
        /// The PEM text.
        pem: Vec<u8>,
    },
    /// A shared secret for HS256, HS384 or HS512.
    Secret {
        /// The only algorithm that this secret verifies.
        algorithm: Algorithm,
        /// The secret; not empty.
        secret: Vec<u8>,
    },
    /// A JWKS document (RFC 7517) that was read from a file.
    Jwks {
        /// The JSON text, at most 1 MiB.
        document: Vec<u8>,
    },
    /// The `https` URL of a JWKS document; plain `http` for loopback hosts only.
    JwksUrl {
        /// The URL.
        url: String,
    },
}

/// Shows what kind of key it is, never the key.
impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublicKey { algorithm, .. } => write!(f, "PublicKey({algorithm})"),
            Self::Secret { algorithm, .. } => write!(f, "Secret({algorithm})"),
            Self::Jwks { document } => write!(f, "Jwks({} bytes)", document.len()),
            Self::JwksUrl { .. } => f.write_str("JwksUrl"),
        }
    }
}

/// The configured apps cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppsError {
    /// An id that is empty or longer than 255 bytes.
    #[error("app id {0:?} must have 1 to 255 bytes")]
    Id(String),
    /// An app without a key.
    #[error("app {0:?} has an empty key")]
    EmptyKey(String),
    /// A key with a colon cannot be the user name of HTTP Basic (RFC 7617 section 2).
    #[error("the key of app {0:?} must not contain a colon")]
    ColonInKey(String),
    /// An app without a secret.
    #[error("app {0:?} has an empty secret")]
    EmptySecret(String),
    /// Two apps with one id.
    #[error("app id {0:?} is used twice")]
    DuplicateId(String),
    /// Two apps with one key.
    #[error("the key of app {0:?} is also another app's")]
    DuplicateKey(String),
    /// Two apps with one secret.
    #[error("the secret of app {0:?} is also another app's")]
    DuplicateSecret(String),
    /// An entry of `jwt` that cannot be used.
    #[error("app {app:?}, jwt entry {entry}: {error}")]
    Jwt {
        /// The app's id.
        app: String,
        /// The entry's position in the list, from 1.
        entry: usize,
        /// What is wrong with it.
        error: KeyError,
    },
}

/// Checks what must hold for each app and between them; the keys of `jwt` are checked where they are loaded.
pub(super) fn check(apps: &[AppKeys]) -> Result<(), AppsError> {
    let (mut ids, mut keys, mut secrets) = (HashSet::new(), HashSet::new(), HashSet::new());
    for app in apps {
        let id = || app.id.clone();
        if app.id.is_empty() || app.id.len() > 255 {
            return Err(AppsError::Id(id()));
        }
        if app.key.is_empty() {
            return Err(AppsError::EmptyKey(id()));
        }
        if app.key.contains(':') {
            return Err(AppsError::ColonInKey(id()));
        }
        if app.secret.is_empty() {
            return Err(AppsError::EmptySecret(id()));
        }
        if !ids.insert(&app.id) {
            return Err(AppsError::DuplicateId(id()));
        }
        if !keys.insert(&app.key) {
            return Err(AppsError::DuplicateKey(id()));
        }
        if !secrets.insert(&app.secret) {
            return Err(AppsError::DuplicateSecret(id()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_that_would_be_confused_are_refused() {
        let app = AppKeys::new;
        for (name, apps, expected) in [
            ("one", vec![app("1", "k", "s")], None),
            ("two", vec![app("1", "k", "s"), app("2", "l", "t")], None),
            ("no id", vec![app("", "k", "s")], Some(AppsError::Id(String::new()))),
            ("no key", vec![app("1", "", "s")], Some(AppsError::EmptyKey("1".into()))),
            ("colon", vec![app("1", "a:b", "s")], Some(AppsError::ColonInKey("1".into()))),
            ("no secret", vec![app("1", "k", "")], Some(AppsError::EmptySecret("1".into()))),
            ("same id", vec![app("1", "k", "s"), app("1", "l", "t")], Some(AppsError::DuplicateId("1".into()))),
            ("same key", vec![app("1", "k", "s"), app("2", "k", "t")], Some(AppsError::DuplicateKey("2".into()))),
            ("same secret", vec![app("1", "k", "s"), app("2", "l", "s")], Some(AppsError::DuplicateSecret("2".into()))),
        ] {
            assert_eq!(check(&apps).err(), expected, "{name}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let app = AppKeys::new("1", "key", "hunter2")
            .with_jwt(KeyMaterial::Secret { algorithm: Algorithm::Hs256, secret: b"hunter3".to_vec() });
        let shown = format!("{app:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        // `Vec<u8>` would show as numbers.
        assert!(!shown.contains("104, 117"), "{shown}");
    }
}
