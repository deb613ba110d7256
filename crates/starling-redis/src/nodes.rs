//! Who is alive: this node renews its lease, and clears up after others whose lease is over.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::{Value, cmd, from_redis_value};
use starling_core::EngineError;

use crate::broker::{Answer, Shared};
use crate::keys::Keys;
use crate::script;

/// Between two looks at what is due.
const SWEEP_EVERY: Duration = Duration::from_millis(200);

/// Channels of a dead node that are looked up at once.
const CHANNELS: usize = 500;

/// The present time in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Unsubscribes and ends times of grace when they are due, until the engine is closed.
pub(crate) async fn sweep(shared: Arc<Shared>) {
    while !shared.is_closed() {
        tokio::time::sleep(SWEEP_EVERY).await;
        shared.interest.sweep(|topic| shared.topology.lane(topic));
        shared.sweep_logs();
        shared.expire_presence(unix_ms()).await;
    }
}

/// Renews the lease until the engine is closed.
pub(crate) async fn beat(shared: Arc<Shared>) {
    let lease = shared.options.lease;
    // Since when the others could have renewed theirs.
    let mut steady_since: Option<Instant> = None;
    while !shared.is_closed() {
        // A connection that is still catching up is not asked: what it restores is not to be restored twice.
        let nodes = shared.keys.nodes();
        let is_up = shared.topology.lane(&nodes).is_some_and(|lane| lane.is_up());
        // Read before the beat is sent: whoever registered this node did so before it.
        let was_registered = shared.presence.is_registered();
        let beat = if is_up { beat_once(&shared).await } else { Err(EngineError::Unavailable("not up".into())) };
        let is_heard = beat.is_ok();
        match beat {
            Ok(Beat::InTime(dead)) => {
                let steady = steady_since.get_or_insert_with(Instant::now).elapsed();
                if steady >= lease {
                    clear_up(&shared, dead).await;
                }
            }
            Ok(Beat::New) => {
                steady_since = Some(Instant::now());
                shared.presence.register();
                if was_registered {
                    tracing::warn!("redis has forgotten this node: its presence entries are made again");
                    shared.presence.forget_index();
                    shared.restore_all_presence().await;
                    if let Some(sink) = shared.sink() {
                        sink.resync();
                    }
                }
            }
            Ok(Beat::Late) => {
                tracing::warn!("this node was silent for longer than its lease: its presence entries are made again");
                shared.presence.begin_another_life(&shared.node);
                if beat_once(&shared).await.is_ok() {
                    shared.presence.register();
                    shared.restore_all_presence().await;
                }
                steady_since = None;
                continue;
            }
            Err(_) => steady_since = None,
        }
        // Redis may be there in a moment.
        let pause = if is_heard { lease / 3 } else { (lease / 3).min(Duration::from_millis(100)) };
        tokio::time::sleep(pause).await;
    }
}

impl Shared {
    /// Renews an owner's lease, or begins it.
    pub fn send_beat(self: &Arc<Self>, owner: &str) -> Answer {
        let nodes = self.keys.nodes();
        let mut run = script::BEAT.run(&[&nodes]);
        run.arg(owner).arg(self.options.lease.as_millis() as u64);
        self.send(nodes, run)
    }
}

enum Beat {
    New,
    Late,
    InTime(Vec<String>),
}

async fn beat_once(shared: &Arc<Shared>) -> Result<Beat, EngineError> {
    let owner = shared.presence.owner();
    let answer = shared.send_beat(&owner).value().await?;
    let (state, dead): (String, Vec<String>) =
        from_redis_value(answer).map_err(|error| EngineError::Unavailable(error.to_string()))?;
    Ok(match state.as_str() {
        "new" => Beat::New,
        "late" => Beat::Late,
        _ => Beat::InTime(dead),
    })
}

/// Each dead node is cleared up after by one survivor; if that one dies, too, by the next.
async fn clear_up(shared: &Arc<Shared>, dead: Vec<String>) {
    for owner in dead {
        let claim = shared.keys.reaping(&owner);
        let mut claimed = cmd("SET");
        claimed.arg(&claim).arg(shared.node.as_str()).arg("NX");
        claimed.arg("PX").arg(shared.options.lease.as_millis() as u64);
        if !matches!(shared.send(claim.as_str(), claimed).value().await, Ok(Value::Okay)) {
            continue;
        }
        match clear_up_after(shared, &owner).await {
            Ok(()) => tracing::info!(%owner, "cleared up after a node that is gone"),
            Err(error) => tracing::warn!(%owner, %error, "could not clear up after a node that is gone"),
        }
    }
}

async fn clear_up_after(shared: &Arc<Shared>, owner: &str) -> Result<(), EngineError> {
    let index = shared.keys.channels_of(owner);
    loop {
        let mut some = cmd("SRANDMEMBER");
        some.arg(&index).arg(CHANNELS);
        let entries = shared.send(index.as_str(), some).value().await?;
        let entries: Vec<String> = from_redis_value(entries).unwrap_or_default();
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            if let Some((app, channel)) = Keys::parse_index_entry(entry) {
                shared.reap_channel(app, channel, owner).await?;
            }
        }
        let mut done = cmd("SREM");
        done.arg(&index).arg(&entries);
        shared.send(index.as_str(), done).value().await?;
    }
    let nodes = shared.keys.nodes();
    let mut forget = cmd("ZREM");
    forget.arg(&nodes).arg(owner);
    shared.send(nodes, forget).value().await.map(drop)
}
