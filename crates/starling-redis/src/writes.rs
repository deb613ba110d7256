//! Whether a master takes writes: full memory, a full disk, too few replicas and missing rights are refusals that last.
//!
//! A refused command alone says little, it may be that of one channel. So a write of our own is tried, at once when
//! a command was refused, and regularly. As long as that is refused, the node cannot do its work and is not ready.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::ServerError;
use tokio::sync::Notify;

use crate::failure::describe;
use crate::flood::Flood;

/// No refusal for so long, and it is over: a server at the brink of its memory refuses now and then.
const CALM: Duration = Duration::from_secs(2);

/// Between two attempts while they are refused.
pub(crate) const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What the answers say that refuse whatever is written.
const CODES: [&str; 4] = ["OOM", "MISCONF", "NOREPLICAS", "NOPERM"];

/// What Redis 7 says of a script that calls what its user may not.
const NOT_IN_SCRIPTS: &str = "user executing the script";

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Writes {
    state: Mutex<State>,
    suspicion: Notify,
    /// Refusals of some commands, while others are taken.
    single: Flood,
}

#[derive(Default)]
struct State {
    /// Writes are refused, since when and why.
    refused: Option<(Instant, &'static str)>,
    last: Option<Instant>,
    /// What refused a command, since the last attempt.
    suspicion: Option<String>,
}

/// The kind of an answer that refuses writes. Where a script was refused, old servers have it in the text.
pub(crate) fn refusal(error: &ServerError) -> Option<&'static str> {
    let text = error.details().unwrap_or_default();
    let is = |code: &&&str| error.code() == **code || text.contains(&format!("-{code} "));
    let code = CODES.iter().find(is).copied();
    code.or_else(|| text.contains(NOT_IN_SCRIPTS).then_some("NOPERM"))
}

impl Writes {
    pub fn are_taken(&self) -> bool {
        self.state.lock().refused.is_none()
    }

    /// A command was answered by an error. Whether it is one that refuses writes.
    pub fn seen(&self, error: &ServerError) -> Option<&'static str> {
        let code = refusal(error)?;
        let mut state = self.state.lock();
        state.last = Some(Instant::now());
        state.suspicion.get_or_insert_with(|| describe(error));
        drop(state);
        self.suspicion.notify_one();
        Some(code)
    }

    /// Waits until a command was refused.
    pub async fn suspicion(&self) {
        self.suspicion.notified().await;
    }

    /// The next answer is of another connection: what was refused before it counts no more.
    pub fn begin_again(&self) {
        self.state.lock().last = None;
    }

    /// A write of our own was answered. Whether refusals are over with it.
    pub fn tried(&self, server: &str, refused: Option<&ServerError>) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let suspicion = state.suspicion.take();
        match (refused.and_then(|error| Some((error, refusal(error)?))), state.refused) {
            (Some((error, code)), known) => {
                state.last = Some(now);
                if known.is_none_or(|(_, known)| known != code) {
                    let error = describe(error);
                    tracing::error!(%server, %error, "redis refuses writes: this node is not ready until they are taken");
                    state.refused = Some((known.map_or(now, |(since, _)| since), code));
                }
            }
            (None, Some((since, _))) => {
                if state.last.is_none_or(|last| now.saturating_duration_since(last) >= CALM) {
                    let seconds = now.saturating_duration_since(since).as_secs();
                    tracing::warn!(%server, seconds, "redis takes writes again");
                    state.refused = None;
                    return true;
                }
            }
            (None, None) => {
                if let Some(error) = suspicion
                    && self.single.admits()
                {
                    tracing::warn!(%server, %error, "redis refuses a command, and takes others");
                }
            }
        }
        false
    }

    /// Counts what was not written one by one.
    pub fn sweep(&self) {
        if let Some(count) = self.single.due() {
            tracing::warn!(count, "redis refused more commands, and took others");
        }
    }
}
