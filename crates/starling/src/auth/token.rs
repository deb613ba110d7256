//! Verifying user tokens (JWT, RFC 7519): which app a token is for, whose key signed it, what it says.
//!
//! The order is fixed: form, app, signature, issuer and audience, then times and the user. So an answer
//! about the contents (such as "expired") is only ever given to someone who holds a token that was signed.
//!
//! Not supported: encrypted tokens (JWE), detached or unencoded payloads (`b64: false`), the algorithms that
//! [`Algorithm`] lacks. An `aud` claim is only looked at where an audience is configured, although
//! RFC 7519 section 4.1.3 wants a token with an unknown one refused: most identity providers set it always.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use super::app::{self, AppKeys, AppsError, KeyMaterial, KeySource};
use super::claims::{Claims, Payload};
use super::jwks;
use super::jws::Jws;
use super::keys::{Algorithm, KeyError, KeySet, Match, VerificationKey};
use super::refusal::TokenError;
use super::remote::RemoteKeys;

/// Verifies the user tokens of a set of apps.
///
/// Immutable but for the keys behind JWKS URLs, which are swapped as they are fetched; a change of the
/// configuration is a new verifier, made by [`Verifier::replacing`].
pub struct Verifier {
    apps: Vec<App>,
    by_id: HashMap<Arc<str>, usize>,
    by_key: HashMap<String, usize>,
}

struct App {
    id: Arc<str>,
    key: String,
    sources: Vec<Source>,
}

/// Keys, and what the tokens that they sign must say.
struct Source {
    keys: Keys,
    issuer: Option<String>,
    audience: Vec<String>,
}

enum Keys {
    Fixed(KeySet),
    Remote(Arc<RemoteKeys>),
}

impl Verifier {
    /// A verifier of the tokens of `apps`. JWKS URLs are not fetched yet: see [`Verifier::watch`].
    ///
    /// # Errors
    ///
    /// Apps that share an id, key or secret, or lack one; keys that cannot be used.
    pub fn new(apps: &[AppKeys]) -> Result<Self, AppsError> {
        Self::build(apps, &[])
    }

    /// The same for a changed configuration: JWKS URLs that `previous` had keep their keys and their watch.
    ///
    /// # Errors
    ///
    /// Those of [`Verifier::new`]; `previous` then stays in use.
    pub fn replacing(previous: &Self, apps: &[AppKeys]) -> Result<Self, AppsError> {
        let kept: Vec<_> = previous.remotes().cloned().collect();
        Self::build(apps, &kept)
    }

    fn build(apps: &[AppKeys], kept: &[Arc<RemoteKeys>]) -> Result<Self, AppsError> {
        app::check(apps)?;
        let mut remotes = kept.to_vec();
        let mut verifier = Self { apps: Vec::with_capacity(apps.len()), by_id: HashMap::new(), by_key: HashMap::new() };
        for (index, app) in apps.iter().enumerate() {
            let app = App::load(app, &mut remotes)?;
            verifier.by_id.insert(app.id.clone(), index);
            verifier.by_key.insert(app.key.clone(), index);
            verifier.apps.push(app);
        }
        Ok(verifier)
    }

    /// Fetches all JWKS URLs now and then regularly, in tasks on `runtime` that end with the verifier.
    /// URLs that are watched already are left alone.
    pub fn watch(&self, runtime: &Handle) {
        self.remotes().for_each(|remote| remote.watch(runtime));
    }

    /// Verifies a token at `now` (Unix milliseconds), with the keys that are here.
    ///
    /// # Errors
    ///
    /// Why the token is refused. [`TokenError::wants_fresh_keys`] tells when [`Verifier::verify_fresh`] may know better.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        let jws = Jws::parse(token)?;
        let mut payload = Payload::parse(&jws.payload)?;
        let named = payload.app.take().map(|id| id.into_text());
        let app = self.app_of(named.as_deref(), jws.header.kid.as_deref())?;
        app.check_signature(&jws, &payload)?;
        payload.into_claims(app.id.clone(), now)
    }

    /// Like [`verify`](Self::verify), but fetches the app's JWKS URLs when the signing key is not known,
    /// each at most every 10 s; a fetch takes at most 5 s. The usual case does not wait.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// Those of [`Verifier::verify`].
    pub async fn verify_fresh(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        self.verify_fresh_at(token, now, Instant::now()).await
    }

    pub(super) async fn verify_fresh_at(&self, token: &str, now: u64, at: Instant) -> Result<Claims, TokenError> {
        let refusal = match self.verify(token, now) {
            Err(refusal) if refusal.wants_fresh_keys() => refusal,
            verdict => return verdict,
        };
        let Some(app) = self.app_named_by(token) else {
            return Err(refusal);
        };
        for remote in app.remotes() {
            remote.refresh(at).await;
        }
        self.verify(token, now)
    }

    fn app_named_by(&self, token: &str) -> Option<&App> {
        let jws = Jws::parse(token).ok()?;
        let named = Payload::parse(&jws.payload).ok()?.app.map(|id| id.into_text());
        self.app_of(named.as_deref(), jws.header.kid.as_deref()).ok()
    }

    /// The app that a token is for: its `app`, or the app whose key is its `kid`, or the only one.
    fn app_of(&self, named: Option<&str>, kid: Option<&str>) -> Result<&App, TokenError> {
        let by_key = kid.and_then(|kid| self.by_key.get(kid));
        let index = match named {
            Some(id) => match self.by_id.get(id) {
                // A token that names one app by `app` and another by `kid` is for neither.
                Some(index) if by_key.is_none_or(|by_key| by_key == index) => index,
                _ => return Err(TokenError::UnknownApp),
            },
            None => match by_key {
                Some(index) => index,
                None if self.apps.len() == 1 => &0,
                None => return Err(TokenError::UnknownApp),
            },
        };
        Ok(&self.apps[*index])
    }

    fn remotes(&self) -> impl Iterator<Item = &Arc<RemoteKeys>> {
        self.apps.iter().flat_map(App::remotes)
    }
}

impl App {
    fn load(app: &AppKeys, remotes: &mut Vec<Arc<RemoteKeys>>) -> Result<Self, AppsError> {
        let mut sources = Vec::new();
        for (index, source) in app.jwt.iter().enumerate() {
            let source = Source::load(source, app, remotes).map_err(|error| AppsError::Jwt {
                app: app.id.clone(),
                entry: index + 1,
                error,
            })?;
            sources.push(source);
        }
        if sources.is_empty() {
            sources.push(Source::of_secret(app));
        }
        Ok(Self { id: app.id.as_str().into(), key: app.key.clone(), sources })
    }

    fn check_signature(&self, jws: &Jws<'_>, payload: &Payload<'_>) -> Result<(), TokenError> {
        let algorithm: Algorithm = jws.header.alg.parse().map_err(|_| TokenError::Algorithm)?;
        // The app's key names the app, not one of its keys.
        let kid = jws.header.kid.as_deref().filter(|kid| *kid != self.key);
        let mut refusal = TokenError::Algorithm;
        for source in &self.sources {
            match source.check(jws, algorithm, kid, payload) {
                Ok(()) => return Ok(()),
                Err(error) if error.progress() > refusal.progress() => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    fn remotes(&self) -> impl Iterator<Item = &Arc<RemoteKeys>> {
        self.sources.iter().filter_map(|source| match &source.keys {
            Keys::Remote(remote) => Some(remote),
            Keys::Fixed(_) => None,
        })
    }
}

impl Source {
    fn load(source: &KeySource, app: &AppKeys, remotes: &mut Vec<Arc<RemoteKeys>>) -> Result<Self, KeyError> {
        let one = |key| Keys::Fixed(KeySet::new(vec![key]));
        let keys = match &source.material {
            KeyMaterial::PublicKey { algorithm, pem } => one(VerificationKey::from_pem(*algorithm, pem)?),
            KeyMaterial::Secret { algorithm, secret } => one(VerificationKey::from_secret(*algorithm, secret)?),
            KeyMaterial::Jwks { document } => Keys::Fixed(jwks::parse(document)?),
            KeyMaterial::JwksUrl { url } => Keys::Remote(remote(url, remotes)?),
        };
        let issuer = source.issuer.as_ref().or(app.issuer.as_ref());
        let audience = if source.audience.is_empty() { &app.audience } else { &source.audience };
        Ok(Self { keys, issuer: issuer.cloned(), audience: audience.clone() })
    }

    /// The app's own secret, which is good for each HMAC.
    fn of_secret(app: &AppKeys) -> Self {
        let keys = Algorithm::ALL
            .into_iter()
            .filter_map(|algorithm| VerificationKey::from_secret(algorithm, app.secret.as_bytes()).ok())
            .collect();
        Self { keys: Keys::Fixed(KeySet::new(keys)), issuer: app.issuer.clone(), audience: app.audience.clone() }
    }

    fn check(
        &self,
        jws: &Jws<'_>,
        algorithm: Algorithm,
        kid: Option<&str>,
        payload: &Payload<'_>,
    ) -> Result<(), TokenError> {
        match &self.keys {
            Keys::Fixed(keys) if !keys.has(algorithm) => return Err(TokenError::Algorithm),
            Keys::Fixed(keys) => match keys.verify(jws, algorithm, kid) {
                Match::Verified => {}
                Match::Forged | Match::Unknown => return Err(TokenError::Signature),
            },
            // Key sets never hold secrets: no fetch would help.
            Keys::Remote(_) if algorithm.is_symmetric() => return Err(TokenError::Algorithm),
            Keys::Remote(remote) => {
                let keys = remote.keys().ok_or(TokenError::KeysUnavailable)?;
                match keys.verify(jws, algorithm, kid) {
                    Match::Verified => {}
                    Match::Forged => return Err(TokenError::Signature),
                    Match::Unknown => return Err(TokenError::KeyUnknown),
                }
            }
        }
        if self.issuer.is_some() && self.issuer != payload.iss {
            return Err(TokenError::Issuer);
        }
        match (&self.audience, &payload.aud) {
            (wanted, _) if wanted.is_empty() => Ok(()),
            (wanted, Some(aud)) if wanted.iter().any(|one| aud.names(one)) => Ok(()),
            _ => Err(TokenError::Audience),
        }
    }
}

/// The keys behind `url`, fetched once however many sources name it.
fn remote(url: &str, remotes: &mut Vec<Arc<RemoteKeys>>) -> Result<Arc<RemoteKeys>, KeyError> {
    if let Some(known) = remotes.iter().find(|remote| remote.url() == url) {
        return Ok(known.clone());
    }
    let remote = Arc::new(RemoteKeys::new(url)?);
    remotes.push(remote.clone());
    Ok(remote)
}
