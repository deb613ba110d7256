//! What nodes tell each other about tokens, through the engine: which tickets were used, and what was revoked.
//!
//! A node learns of a revocation as it happens by a control. One that starts later, or was cut off, reads what was noted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::{AppId, Engine, EngineError, UserId};

use crate::auth::{ClaimFuture, LEDGER_GRACE_MS, LedgerError, TicketId, TicketLedger};
use crate::shared::{Shared, unix_ms};

/// How long revocations are noted. A node that starts later than this after one does not know of it; tokens live
/// shorter.
const NOTED: Duration = Duration::from_secs(400 * 24 * 3600);

const REVOKED: &str = "revoked/";

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

/// Takes over what was revoked elsewhere.
///
/// # Errors
/// When the notes cannot be read: this node may accept what was revoked.
pub(crate) async fn read_revocations(shared: &Shared) -> Result<(), EngineError> {
    let notes = shared.hub.engine().notes(REVOKED, false).wait().await?;
    for (name, value) in notes {
        match serde_json::from_slice::<(String, String, u64)>(&value) {
            Ok((app, user, before)) => {
                let before = before.saturating_mul(1000);
                if shared.auth.revocations().revoke(&app, &user, before, unix_ms()).is_err() {
                    tracing::warn!(%app, "too many revocations: the oldest now hold for every user of the app");
                }
            }
            Err(error) => tracing::error!(%name, %error, "a noted revocation is not understood"),
        }
    }
    Ok(())
}
