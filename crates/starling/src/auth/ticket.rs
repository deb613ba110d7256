//! Tickets: what a transport that cannot send headers shows instead of a token; one use, 30 s.
//!
//! A ticket carries the claims of the token that it was issued for, sealed (AES-256-GCM) under the app's secret.
//! So any node that has the configuration can open it, nothing is stored while it is outstanding, and nothing
//! but its app id can be read from it in a log. Only used tickets are remembered, in a [`TicketLedger`]:
//!
//! ```text
//! base64url( version 1 | app id length 1 | app id | ticket id 16 | sealed( expiry 8 | claims as JSON ) tag 16 )
//!            └────────────── authenticated, in the clear ──────┘
//! ```
//!
//! The key is made per ticket: HMAC-SHA256(HMAC-SHA256(secret, label), ticket id). As ticket ids are 128 random bits,
//! no key is used twice, and the nonce can be zero. A changed secret ends the outstanding tickets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use super::app::AppKeys;
use super::claims::Claims;
use super::ledger::{LedgerError, TicketId, TicketLedger};
use super::refusal::TokenCode;

/// How long a ticket can be used, in milliseconds; less if its token ends earlier.
pub const TICKET_LIFETIME_MS: u64 = 30_000;

/// The longest ticket that is looked at, in bytes: room for the claims of the longest token.
pub const MAX_TICKET_BYTES: usize = 32 * 1024;

const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const LABEL: &[u8] = b"starling ticket, version 1";

/// A ticket was not issued, or is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketError {
    /// Not a ticket of this server, or changed on its way.
    #[error("ticket is invalid")]
    Invalid,
    /// Its 30 s have passed, or its token has ended.
    #[error("ticket expired")]
    Expired,
    /// It was used before.
    #[error("ticket was used already")]
    Used,
    /// The tokens of its user were revoked since.
    #[error("ticket was revoked")]
    Revoked,
    /// Too many tickets were used within their lifetime: [`MAX_USED_TICKETS`](super::MAX_USED_TICKETS).
    #[error("too many tickets in use")]
    Full,
    /// The ledger cannot be reached.
    #[error("ticket ledger is unavailable")]
    Unavailable,
    /// The claims do not fit into a ticket, which cannot happen to those of a verified token.
    #[error("claims are too large for a ticket")]
    TooLarge,
    /// The system has no random bytes.
    #[error("no random bytes")]
    NoRandom,
}

impl TicketError {
    /// What the client is told.
    pub fn code(self) -> TokenCode {
        match self {
            Self::Expired => TokenCode::Expired,
            Self::Invalid
            | Self::Used
            | Self::Revoked
            | Self::Full
            | Self::Unavailable
            | Self::TooLarge
            | Self::NoRandom => TokenCode::Invalid,
        }
    }
}

impl From<LedgerError> for TicketError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Claimed => Self::Used,
            LedgerError::Full => Self::Full,
            LedgerError::Unavailable => Self::Unavailable,
        }
    }
}

/// A fresh ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What the client passes as `?ticket=`; needs no escaping.
    pub ticket: String,
    /// How long it can be used, in seconds, rounded down.
    pub expires_in: u64,
}

/// Shows when it expires, not the ticket.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Issues and redeems the tickets of a set of apps.
pub struct Tickets {
    apps: HashMap<Arc<str>, hmac::Key>,
    ledger: Arc<dyn TicketLedger>,
}

impl Tickets {
    /// Tickets of `apps`, whose uses are remembered in `ledger`.
    pub fn new(apps: &[AppKeys], ledger: Arc<dyn TicketLedger>) -> Self {
        let apps = apps
            .iter()
            .map(|app| {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, app.secret.as_bytes());
                let key = hmac::sign(&secret, LABEL);
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
                (app.id.as_str().into(), key)
            })
            .collect();
        Self { apps, ledger }
    }

    /// Issues a ticket that stands for `claims`, at `now` (Unix milliseconds).
    ///
    /// # Errors
    ///
    /// [`TicketError::Invalid`] for an app that is not here, [`TicketError::Expired`] for claims that have ended;
    /// otherwise none of the caller's making.
    pub fn issue(&self, claims: &Claims, now: u64) -> Result<Ticket, TicketError> {
        let key = self.apps.get(&claims.app).ok_or(TicketError::Invalid)?;
        let limit = now.saturating_add(TICKET_LIFETIME_MS);
        let expires_at = claims.expires_at.map_or(limit, |end| end.min(limit));
        if expires_at <= now {
            return Err(TicketError::Expired);
        }
        let mut id: TicketId = [0; ID_BYTES];
        getrandom::fill(&mut id).map_err(|_| TicketError::NoRandom)?;

        let mut ticket = head(&claims.app, &id)?;
        let mut body = expires_at.to_be_bytes().to_vec();
        serde_json::to_writer(&mut body, claims).map_err(|_| TicketError::Invalid)?;
        sealing_key(key, &id)
            .seal_in_place_append_tag(zero_nonce(), Aad::from(&ticket), &mut body)
            .map_err(|_| TicketError::TooLarge)?;
        ticket.append(&mut body);

        let ticket = URL_SAFE_NO_PAD.encode(ticket);
        if ticket.len() > MAX_TICKET_BYTES {
            return Err(TicketError::TooLarge);
        }
        Ok(Ticket { ticket, expires_in: (expires_at - now) / 1000 })
    }

    /// Uses a ticket up at `now` (Unix milliseconds) and returns whom it stands for.
    ///
    /// Cancelled while it waits for the ledger, the ticket may be used up.
    ///
    /// # Errors
    ///
    /// Why the ticket is refused; it is used up only by a success, or by a ledger that failed half-way.
    pub async fn redeem(&self, ticket: &str, now: u64) -> Result<Claims, TicketError> {
        let opened = self.open(ticket)?;
        if opened.expires_at <= now {
            return Err(TicketError::Expired);
        }
        // Last, so that a ticket that is refused for another reason costs the ledger nothing.
        self.ledger.claim(opened.id, opened.expires_at, now).await?;
        Ok(opened.claims)
    }

    fn open(&self, ticket: &str) -> Result<Opened, TicketError> {
        if ticket.len() > MAX_TICKET_BYTES {
            return Err(TicketError::Invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| TicketError::Invalid)?;
        self.open_bytes(bytes).ok_or(TicketError::Invalid)
    }

    fn open_bytes(&self, mut bytes: Vec<u8>) -> Option<Opened> {
        let app_length = match bytes[..] {
            [VERSION, length, ..] => usize::from(length),
            _ => return None,
        };
        let (head, body) = bytes.split_at_mut_checked(2 + app_length + ID_BYTES)?;
        let (app, id) = head[2..].split_at(app_length);
        let id: TicketId = id.try_into().ok()?;
        let key = self.apps.get(std::str::from_utf8(app).ok()?)?;
        let body = sealing_key(key, &id).open_in_place(zero_nonce(), Aad::from(&*head), body).ok()?;
        let (expires_at, claims) = body.split_first_chunk::<8>()?;
        Some(Opened { id, expires_at: u64::from_be_bytes(*expires_at), claims: serde_json::from_slice(claims).ok()? })
    }
}

/// A genuine ticket, perhaps late, perhaps used.
struct Opened {
    id: TicketId,
    expires_at: u64,
    claims: Claims,
}

fn head(app: &str, id: &TicketId) -> Result<Vec<u8>, TicketError> {
    let length = u8::try_from(app.len()).map_err(|_| TicketError::Invalid)?;
    let mut head = vec![VERSION, length];
    head.extend_from_slice(app.as_bytes());
    head.extend_from_slice(id);
    Ok(head)
}

fn sealing_key(app: &hmac::Key, id: &TicketId) -> LessSafeKey {
    let key = hmac::sign(app, id);
    match UnboundKey::new(&AES_256_GCM, key.as_ref()) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("an HMAC-SHA256 has the 32 bytes of an AES-256 key"),
    }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
