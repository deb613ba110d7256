//! What nodes tell each other about tokens, through the engine: which tickets were used, and what was revoked.
//!
//! A node learns of a revocation as it happens by a control. One that starts later, or was cut off, reads what was noted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use starling_core::{AppId, Control, Engine, EngineError, UserId};
use tokio::sync::Notify;

use crate::auth::{ClaimFuture, LEDGER_GRACE_MS, LedgerError, TicketId, TicketLedger};
use crate::shared::Shared;

/// How long revocations are noted. A node that starts later than this after one does not know of it; tokens live
/// shorter.
const NOTED: Duration = Duration::from_secs(400 * 24 * 3600);

const REVOKED: &str = "revoked/";

/// Whether something is known that has to be read again when it is in doubt.
#[derive(Default)]
pub(crate) struct Known {
    /// Doubts so far, and which of them was the last that was settled, both counted from one: not known in the beginning.
    doubts: AtomicU64,
    settled: AtomicU64,
    doubted: Notify,
}

impl Known {
    pub fn from_the_start() -> Self {
        Self { settled: AtomicU64::new(1), ..Self::default() }
    }

    pub fn is_known(&self) -> bool {
        self.doubt_to_settle().is_none()
    }

    /// What was read before this may be outdated.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
        self.doubted.notify_one();
    }

    /// As [`Known::doubt`], unless there is a doubt already; nobody is woken.
    pub fn doubt_once(&self) {
        if self.is_known() {
            self.doubts.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Waits for the next doubt. Cancel-safe.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// The doubt that a reading begun now would settle.
    pub fn doubt_to_settle(&self) -> Option<u64> {
        let latest = self.doubts.load(Ordering::Acquire) + 1;
        (self.settled.load(Ordering::Acquire) != latest).then_some(latest)
    }

    /// It was read after this doubt. Later ones stay.
    pub fn settle(&self, doubt: u64) {
        self.settled.store(doubt, Ordering::Release);
    }
}

/// Tickets used anywhere in the cluster.
pub(crate) struct EngineLedger {
    pub engine: Arc<dyn Engine>,
}

impl TicketLedger for EngineLedger {
    fn claim(&self, id: TicketId, expires_at: u64, now: u64) -> ClaimFuture<'_> {
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let ttl = Duration::from_millis(expires_at.saturating_sub(now) + LEDGER_GRACE_MS);
        let claimed = self.engine.claim(&format!("ticket/{name}"), ttl);
        Box::pin(async move {
            match claimed.wait().await {
                Ok(true) => Ok(()),
                Ok(false) => Err(LedgerError::Claimed),
                Err(_) => Err(LedgerError::Unavailable),
            }
        })
    }
}

/// Notes a revocation for nodes that start later, and for those that are cut off now. `before` in Unix seconds.
///
/// # Errors
/// When it could not be noted: those nodes would accept what was revoked.
pub(crate) async fn note_revocation(
    shared: &Shared,
    app: &AppId,
    user: &UserId,
    before: u64,
) -> Result<(), EngineError> {
    let value = serde_json::to_vec(&(app.as_str(), user.as_str(), before)).expect("texts and a number are JSON");
    // A user's id may have any characters: the name is a digest of it.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, user.as_str().as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{REVOKED}{app}/{digest}");
    let noted = shared.hub.engine().note(&name, Bytes::from(value), NOTED).wait().await;
    noted.inspect_err(|error| tracing::error!(%error, "a revocation could not be noted for nodes that start later"))
}

/// Takes over what was revoked elsewhere, and closes connections that were made with it while this node was cut off.
///
/// # Errors
/// When the notes cannot be read: this node may accept what was revoked.
pub(crate) async fn read_revocations(shared: &Shared) -> Result<(), EngineError> {
    let notes = shared.hub.engine().notes(REVOKED, false).wait().await?;
    for (name, value) in notes {
        match serde_json::from_slice::<(String, String, u64)>(&value) {
            Ok((app, user, before)) => {
                let latest = before.saturating_mul(1000).saturating_sub(1);
                if !shared.auth.revocations().is_revoked(&app, &user, Some(latest)) {
                    let revoke = Control::Revoke { user: UserId::new(user), before };
                    shared.hub.carry_out(&AppId::new(app), revoke);
                }
            }
            Err(error) => tracing::error!(%name, %error, "a noted revocation is not understood"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_that_comes_while_it_is_read_stays() {
        let known = Known::default();
        let first = known.doubt_to_settle().expect("nothing is known in the beginning");
        known.doubt();
        known.settle(first);
        assert!(!known.is_known());
        let second = known.doubt_to_settle().unwrap();
        known.settle(second);
        assert!(known.is_known());
        known.doubt_once();
        known.doubt_once();
        let third = known.doubt_to_settle().unwrap();
        known.settle(third);
        assert!(known.is_known() && Known::from_the_start().is_known());
    }
}
