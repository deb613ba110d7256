//! Which tickets were used: a seam, so that an engine can remember it for a whole cluster,
//! and the implementation for one process.

use std::collections::{BTreeMap, HashSet};
use std::future::{self, Future};
use std::pin::Pin;

use parking_lot::Mutex;
use thiserror::Error;

/// The random id of a ticket.
pub type TicketId = [u8; 16];

/// Used tickets that are remembered at a time, 20 to 40 bytes each; at the limit further ones are refused
/// until the earliest have expired, which takes at most a minute.
pub const MAX_USED_TICKETS: usize = 1_000_000;

/// How long after its expiry a used ticket is remembered, in milliseconds, lest a clock that
/// is set back makes it good again.
pub const LEDGER_GRACE_MS: u64 = 30_000;

/// A ticket could not be claimed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LedgerError {
    /// It was claimed before.
    #[error("ticket was claimed before")]
    Claimed,
    /// No room to remember it.
    #[error("ticket ledger is full")]
    Full,
    /// The ledger cannot be reached; it is not known whether the ticket was claimed.
    #[error("ticket ledger is unavailable")]
    Unavailable,
}

/// The outcome of [`TicketLedger::claim`], to be awaited.
pub type ClaimFuture<'a> = Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + 'a>>;

/// Remembers used tickets.
pub trait TicketLedger: Send + Sync {
    /// Claims a ticket; of several calls with one `id`, on any node, exactly one succeeds.
    ///
    /// `expires_at` and `now` are Unix milliseconds. The claim must be remembered until `expires_at`, and a
    /// little longer where clocks may differ; `expires_at` is the same in each call with one `id`.
    fn claim(&self, id: TicketId, expires_at: u64, now: u64) -> ClaimFuture<'_>;
}

/// The ledger of a server without a cluster.
pub struct MemoryLedger {
    used: Mutex<Used>,
    limit: usize,
}

#[derive(Default)]
struct Used {
    /// By the second in which they expire, which leaves nothing to search when a second has passed.
    by_second: BTreeMap<u64, HashSet<TicketId>>,
    count: usize,
}

impl MemoryLedger {
    /// An empty ledger with room for [`MAX_USED_TICKETS`].
    pub fn new() -> Self {
        Self::with_limit(MAX_USED_TICKETS)
    }

    /// An empty ledger with room for `limit` used tickets.
    pub fn with_limit(limit: usize) -> Self {
        Self { used: Mutex::default(), limit }
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl TicketLedger for MemoryLedger {
    fn claim(&self, id: TicketId, expires_at: u64, now: u64) -> ClaimFuture<'_> {
        let outcome = self.used.lock().claim(id, expires_at, now, self.limit);
        Box::pin(future::ready(outcome))
    }
}

impl Used {
    fn claim(&mut self, id: TicketId, expires_at: u64, now: u64, limit: usize) -> Result<(), LedgerError> {
        self.forget_before(now.saturating_sub(LEDGER_GRACE_MS) / 1000);
        let second = expires_at / 1000;
        let known = self.by_second.get(&second);
        if known.is_some_and(|ids| ids.contains(&id)) {
            return Err(LedgerError::Claimed);
        }
        if self.count >= limit {
            return Err(LedgerError::Full);
        }
        self.by_second.entry(second).or_default().insert(id);
        self.count += 1;
        Ok(())
    }

    fn forget_before(&mut self, second: u64) {
        while let Some(earliest) = self.by_second.first_entry() {
            if *earliest.key() >= second {
                return;
            }
            self.count -= earliest.remove().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_claimed_once_and_forgotten_after_its_time() {
        let mut used = Used::default();
        assert_eq!(used.claim([1; 16], 30_000, 0, 2), Ok(()));
        assert_eq!(used.claim([1; 16], 30_000, 1, 2), Err(LedgerError::Claimed));
        assert_eq!(used.claim([2; 16], 31_000, 2, 2), Ok(()));
        assert_eq!(used.claim([3; 16], 31_000, 3, 2), Err(LedgerError::Full));
        // At the limit a used ticket is still known as used.
        assert_eq!(used.claim([1; 16], 30_000, 4, 2), Err(LedgerError::Claimed));
        let first_is_forgotten = 31_000 + LEDGER_GRACE_MS;
        assert_eq!(used.claim([3; 16], 90_000, first_is_forgotten - 1, 2), Err(LedgerError::Full));
        assert_eq!(used.claim([3; 16], 90_000, first_is_forgotten, 2), Ok(()));
        assert_eq!(used.count, 2);
    }
}
