//! Who a caller is: user tokens, one-use tickets, revocations, origins, and the credentials of apps.
//!
//! Knows no transport and no clock: strings and `now` (Unix milliseconds) in, values out. The one exception is a
//! JWKS URL, whose keys are fetched by tasks on a runtime that is handed in. What a caller may *do* is the rules' business, not decided here.
//!
//! [`Authenticator`] is the front door; its parts can be used alone.
//! Nothing here shows a secret or a token in its `Debug` output or in an error.

mod app;
mod claims;
mod credentials;
mod jwks;
mod jws;
mod keys;
mod ledger;
mod mint;
mod offer;
mod origin;
mod refusal;
mod remote;
mod revocation;
mod ticket;
mod token;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

pub use app::{AppKeys, AppsError, KeyMaterial, KeySource};
pub use claims::{Claims, MAX_INFO_DEPTH, MAX_USER_BYTES, NOT_BEFORE_LEEWAY_MS};
pub use credentials::{Credentials, CredentialsError, bearer};
pub use jwks::{JwksError, MAX_JWKS_BYTES, MAX_JWKS_KEYS};
pub use jws::MAX_TOKEN_BYTES;
pub use keys::{Algorithm, KeyError, MAX_TRIED_KEYS, UnknownAlgorithm};
pub use ledger::{ClaimFuture, LEDGER_GRACE_MS, LedgerError, MAX_USED_TICKETS, MemoryLedger, TicketId, TicketLedger};
pub use mint::{MintError, NewToken, mint};
pub use offer::{AuthPolicy, AuthWhen, BEARER_SUBPROTOCOL, Offer, Proof, subprotocol_token};
pub use origin::{CorsHeaders, OriginError, OriginVerdict, Origins, PREFLIGHT_MAX_AGE};
pub use refusal::{ClaimError, TokenCode, TokenError};
pub use remote::{JWKS_MIN_INTERVAL, JWKS_REFRESH, JWKS_TIMEOUT, UrlError};
pub use revocation::{MAX_REVOCATIONS, Revocations, RevocationsFull};
pub use ticket::{MAX_TICKET_BYTES, TICKET_LIFETIME_MS, Ticket, TicketError, Tickets};
pub use token::Verifier;

/// Identifies callers for a whole server: what the configuration says of its apps, which can be replaced while it
/// runs, and what must outlive that: revocations and used tickets.
pub struct Authenticator {
    apps: ArcSwap<Apps>,
    revocations: Revocations,
    ledger: Arc<dyn TicketLedger>,
    runtime: OnceLock<Handle>,
}

/// What follows from the configuration of the apps, replaced as one.
struct Apps {
    verifier: Verifier,
    tickets: Tickets,
    credentials: Credentials,
}

impl Authenticator {
    /// Identifies the users and backends of `apps`, remembering used tickets in `ledger`
    /// ([`MemoryLedger`] where there is one node). JWKS URLs are fetched from [`watch`](Self::watch) on.
    ///
    /// # Errors
    ///
    /// Apps that cannot be served as configured.
    pub fn new(apps: &[AppKeys], ledger: Arc<dyn TicketLedger>) -> Result<Self, AppsError> {
        let apps = Apps::new(Verifier::new(apps)?, apps, &ledger);
        Ok(Self {
            apps: ArcSwap::from_pointee(apps),
            revocations: Revocations::new(),
            ledger,
            runtime: OnceLock::new(),
        })
    }

    /// Keeps the keys of JWKS URLs fresh by tasks on `runtime`, now and after each [`replace`](Self::replace).
    pub fn watch(&self, runtime: &Handle) {
        let runtime = self.runtime.get_or_init(|| runtime.clone());
        self.apps.load().verifier.watch(runtime);
    }

    /// Serves `apps` from now on. JWKS URLs that stay keep their keys; outstanding tickets stay good as long as
    /// their app keeps its secret.
    ///
    /// # Errors
    ///
    /// Apps that cannot be served as configured; the present ones then stay. Calls must not overlap.
    pub fn replace(&self, apps: &[AppKeys]) -> Result<(), AppsError> {
        let verifier = Verifier::replacing(&self.apps.load().verifier, apps)?;
        if let Some(runtime) = self.runtime.get() {
            verifier.watch(runtime);
        }
        let apps = Apps::new(verifier, apps, &self.ledger);
        self.apps.store(Arc::new(apps));
        Ok(())
    }

    /// Verifies a user token at `now` (Unix milliseconds), with the keys that are here and without waiting.
    ///
    /// # Errors
    ///
    /// Why it is refused. Where [`TokenError::wants_fresh_keys`] says so, [`verify_fresh`](Self::verify_fresh) may accept it.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        self.unless_revoked(self.apps.load().verifier.verify(token, now)?)
    }

    /// Verifies a user token at `now` (Unix milliseconds), after fetching JWKS URLs (each at most every 10 s)
    /// if its key is not known. Waits in that case only, at most 5 s per URL.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub async fn verify_fresh(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        let apps = self.apps.load_full();
        self.unless_revoked(apps.verifier.verify_fresh(token, now).await?)
    }

    fn unless_revoked(&self, claims: Claims) -> Result<Claims, TokenError> {
        match self.is_revoked(&claims) {
            true => Err(TokenError::Revoked),
            false => Ok(claims),
        }
    }

    /// Issues a ticket that stands for `claims`, at `now` (Unix milliseconds).
    ///
    /// # Errors
    ///
    /// Those of [`Tickets::issue`].
    pub fn issue_ticket(&self, claims: &Claims, now: u64) -> Result<Ticket, TicketError> {
        self.apps.load().tickets.issue(claims, now)
    }

    /// Uses a ticket up at `now` (Unix milliseconds) and returns whom it stands for.
    ///
    /// Cancelled while it waits for the ledger, the ticket may be used up.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub async fn redeem(&self, ticket: &str, now: u64) -> Result<Claims, TicketError> {
        let apps = self.apps.load_full();
        let claims = apps.tickets.redeem(ticket, now).await?;
        match self.is_revoked(&claims) {
            true => Err(TicketError::Revoked),
            false => Ok(claims),
        }
    }

    /// The id of the app whose credentials an API request's `Authorization` header carries.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub fn app(&self, authorization: Option<&str>) -> Result<Arc<str>, CredentialsError> {
        self.apps.load().credentials.authenticate(authorization)
    }

    /// The revocations, which [`verify`](Self::verify) and [`redeem`](Self::redeem) look at.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Whether the token behind `claims` was revoked since it was verified.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        self.revocations.is_revoked(&claims.app, &claims.user, claims.issued_at)
    }
}

impl Apps {
    fn new(verifier: Verifier, apps: &[AppKeys], ledger: &Arc<dyn TicketLedger>) -> Self {
        Self { verifier, tickets: Tickets::new(apps, ledger.clone()), credentials: Credentials::new(apps) }
    }
}
