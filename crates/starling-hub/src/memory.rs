//! The memory engine: logs, de-duplication and presence of a single node.
//!
//! Everything about one channel happens under the lock of the channel's shard, delivery included: that is what makes
//! all workers see the same order. Nothing under a lock waits.

mod log;
mod notes;
mod presence;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{
    Answer, AppId, ChannelName, ConnectionId, Control, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange,
    NodeId, Pending, Position, PresenceChange, PresenceDiff, PresenceEvent, PresenceSnapshot, Publication, Published,
    Query, Sink,
};

use crate::interest::{ChannelKey, ChannelRef};
use log::{Log, Recent};
use notes::Notes;
use presence::PresenceSet;

const SHARDS: usize = 64;

/// Shards looked at in one sweep; each is looked at every `SHARDS / SWEPT` sweeps.
const SWEPT: usize = 8;

/// The embedded engine: one node, everything in memory, nothing survives a restart (epochs tell).
///
/// Bounds: a log holds what its rule says; of publishers' own message ids, the newest 100,000 of a channel are
/// remembered for the recovery window. A log that holds nothing is forgotten after it was unused for its ttl.
pub struct MemoryEngine {
    hasher: RandomState,
    shards: Box<[Mutex<ChannelMap>]>,
    sink: OnceLock<Arc<dyn Sink>>,
    /// Versions of presence sets come from one counter, so that a set that was forgotten never repeats one.
    presence_version: AtomicU64,
    swept: AtomicUsize,
    /// Entries that leave unless their users are back by then (Unix milliseconds).
    lingering: Mutex<BTreeMap<u64, Vec<(ChannelKey, ConnectionId)>>>,
    notes: Notes,
    node: NodeId,
    window: Duration,
}

type ChannelMap = HashMap<ChannelKey, State, RandomState>;

/// What is kept of one channel; each part only while it is needed.
#[derive(Default)]
struct State {
    log: Option<Box<Log>>,
    recent: Option<Box<Recent>>,
    presence: Option<Box<PresenceSet>>,
}

impl MemoryEngine {
    /// An empty engine that remembers publishers' message ids for `window`.
    pub fn new(window: Duration) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sink: OnceLock::new(),
            presence_version: AtomicU64::new(0),
            swept: AtomicUsize::new(0),
            lingering: Mutex::default(),
            notes: Notes::default(),
            node: random_node(),
            window,
        }
    }

    fn shard(&self, key: &ChannelRef<'_>) -> &Mutex<ChannelMap> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn sink(&self) -> &dyn Sink {
        &**self.sink.get().expect("attach() is called before anything else")
    }

    /// Runs `f` on the channel's state, which is made if need be.
    fn with<R>(&self, app: &AppId, channel: &ChannelName, f: impl FnOnce(&mut State) -> R) -> R {
        let key = ChannelRef { app, channel };
        let mut shard = self.shard(&key).lock();
        if let Some(state) = shard.get_mut(&key) {
            return f(state);
        }
        f(shard.entry(ChannelKey::from(&key)).or_default())
    }
}

impl MemoryEngine {
    fn next_version(&self) -> u64 {
        self.presence_version.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn tell(&self, app: &AppId, channel: &ChannelName, version: u64, diff: PresenceDiff) {
        let (app, channel) = (app.clone(), channel.clone());
        self.sink().presence(PresenceEvent { app, channel, version, diff, ours: true });
    }

    /// Entries whose time of grace is over, and whose users are not back, leave.
    fn end_grace(&self, now: u64) {
        loop {
            let mut lingering = self.lingering.lock();
            let due = lingering.first_entry().filter(|first| *first.key() <= now).map(|first| first.remove());
            drop(lingering);
            let Some(due) = due else { return };
            for (key, connection) in due {
                self.with(&key.app, &key.channel, |state| {
                    let Some(set) = &mut state.presence else { return };
                    if let Some(diff) = set.expire(&connection, now) {
                        set.version = self.next_version();
                        self.tell(&key.app, &key.channel, set.version, diff);
                    }
                });
            }
        }
    }
}

fn random_node() -> NodeId {
    let mut random = [0; 5];
    getrandom::fill(&mut random).expect("the system has random numbers");
    NodeId::new(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

impl From<&ChannelRef<'_>> for ChannelKey {
    fn from(key: &ChannelRef<'_>) -> Self {
        Self { app: key.app.clone(), channel: key.channel.clone() }
    }
}

impl Engine for MemoryEngine {
    fn attach(&self, sink: Arc<dyn Sink>) {
        let _ = self.sink.set(sink);
    }

    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        let Publication { mut message, history, deduplicate } = publication;
        let (app, channel) = (message.app.clone(), message.channel.clone());
        if history.is_none() && !deduplicate {
            let key = ChannelRef { app: &app, channel: &channel };
            let published = Published { id: message.id.clone(), position: None };
            // Locked all the same: it is what puts messages of this channel into one order for all workers.
            let _shard = self.shard(&key).lock();
            self.sink().message(Arc::new(message));
            return Pending::Ready(Ok(published));
        }
        let published = self.with(&app, &channel, |state| {
            if deduplicate
                && let Some(recent) = &state.recent
                && let Some(published) = recent.get(&message.id, message.ts)
            {
                return published;
            }
            message.position = history.map(|policy| state.log.get_or_insert_with(Log::create).assign(policy));
            let published = Published { id: message.id.clone(), position: message.position.clone() };
            if deduplicate {
                let until = message.ts.saturating_add(self.window.as_millis() as u64);
                state.recent.get_or_insert_default().insert(published.clone(), until, message.ts);
            }
            let message = Arc::new(message);
            if let Some(log) = &mut state.log
                && history.is_some()
            {
                log.append(message.clone());
            }
            self.sink().message(message);
            published
        });
        Pending::Ready(Ok(published))
    }

    fn interest(&self, _: &AppId, _: &ChannelName, _: bool) -> Pending<Result<(), EngineError>> {
        Pending::Ready(Ok(()))
    }

    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Pending<Result<HistoryPage, EngineError>> {
        let page = self.with(app, channel, |state| {
            let log = state.log.get_or_insert_with(Log::create);
            log.keep(policy, now);
            log.page(range)
        });
        Pending::Ready(Ok(page))
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        let head = self.with(app, channel, |state| {
            let log = Log::create_after(state.log.as_deref());
            let head = state.log.insert(log).head();
            // Under the lock: members learn of the new log before its first message arrives.
            self.sink().control(app, Control::HistoryCleared { channel: channel.clone(), head: head.clone() });
            head
        });
        Pending::Ready(Ok(head))
    }

    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>> {
        if let PresenceChange::Linger { connection, until } = &change {
            let key = ChannelKey { app: app.clone(), channel: channel.clone() };
            self.lingering.lock().entry(*until).or_default().push((key, connection.clone()));
        }
        self.with(app, channel, |state| {
            let set = state.presence.get_or_insert_default();
            let version = self.next_version();
            if let Some(diff) = set.apply(change, version) {
                set.version = version;
                self.tell(app, channel, version, diff);
            }
        });
        Pending::Ready(Ok(()))
    }

    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>> {
        let key = ChannelRef { app, channel };
        let shard = self.shard(&key).lock();
        let set = shard.get(&key).and_then(|state| state.presence.as_ref());
        let snapshot = set.map(|set| set.snapshot()).unwrap_or_else(|| PresenceSnapshot {
            members: Vec::new(),
            version: self.presence_version.load(Ordering::Relaxed),
        });
        Pending::Ready(Ok(snapshot))
    }

    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>> {
        self.sink().control(app, control);
        Pending::Ready(Ok(()))
    }

    fn survey(&self, _: &AppId, _: Query) -> Pending<Result<Vec<Answer>, EngineError>> {
        Pending::Ready(Ok(Vec::new()))
    }

    fn node(&self) -> &NodeId {
        &self.node
    }

    fn relay(&self, node: &NodeId, _: Bytes, _: Duration) -> Pending<Result<Bytes, EngineError>> {
        Pending::Ready(Err(EngineError::Unavailable(format!("there is no node {node}"))))
    }

    fn claim(&self, name: &str, ttl: Duration) -> Pending<Result<bool, EngineError>> {
        Pending::Ready(Ok(self.notes.claim(name, ttl)))
    }

    fn note(&self, name: &str, value: Bytes, ttl: Duration) -> Pending<Result<(), EngineError>> {
        self.notes.keep(name, value, ttl);
        Pending::Ready(Ok(()))
    }

    fn notes(&self, prefix: &str, take: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>> {
        Pending::Ready(Ok(self.notes.find(prefix, take)))
    }

    fn is_up(&self) -> bool {
        true
    }

    fn sweep(&self, now: u64) {
        self.end_grace(now);
        self.notes.sweep(now);
        let first = self.swept.fetch_add(SWEPT, Ordering::Relaxed);
        for index in first..first + SWEPT {
            let mut shard = self.shards[index % SHARDS].lock();
            shard.retain(|_, state| {
                if state.log.as_mut().is_some_and(|log| log.expire(now)) {
                    state.log = None;
                }
                if state.recent.as_mut().is_some_and(|recent| recent.expire(now)) {
                    state.recent = None;
                }
                if state.presence.as_ref().is_some_and(|set| set.is_empty()) {
                    state.presence = None;
                }
                state.log.is_some() || state.recent.is_some() || state.presence.is_some()
            });
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }
}
