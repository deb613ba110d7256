//! Presence: a key of a compacted topic for each connection in each channel.
//!
//! Every node applies all records in Kafka's order (`set`), so each has the whole set of every channel, and tells its own
//! members what changed. A record that makes an entry is the value of the connection's key, one that removes it is a
//! tombstone: Kafka's compaction leaves what a node needs that starts later.
//!
//! A tombstone may do nothing, because what it was to remove had changed meanwhile. Compaction does not know that.
//! The owner of the entry does, and writes it again (`restores`).

mod set;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use starling_core::{
    ConnectionId, EngineError, NodeId, PresenceChange, PresenceDiff, PresenceEntry, PresenceEvent, PresenceSnapshot,
};

use crate::names::{Key, Place, Topic};
use crate::options::KafkaOptions;
use crate::shared::{Received, Record, Shared};
use crate::wire::{Act, Foreign, Wire};
use crate::writer::Outcome;
use set::Set;

/// Milliseconds for which other nodes leave it to the one whose connection it was to end a time of grace.
const HEAD_START: u64 = 1500;

/// What this node knows of presence.
pub(crate) struct Presence {
    /// By partition.
    sets: Vec<Mutex<Sets>>,
    /// This node's entries: they are written again when others took this node to be dead.
    own: Mutex<HashMap<(Key, ConnectionId), PresenceEntry>>,
    /// Connections of which it is not known whether they still have an entry; they must not.
    doubtful: Mutex<HashSet<(Key, ConnectionId)>>,
    /// Entries that leave at a time (Unix milliseconds) unless their users are back.
    lingering: Mutex<BTreeMap<u64, Vec<Lingering>>>,
    /// Nodes that made entries.
    owners: Mutex<HashSet<NodeId>>,
}

/// Whose connection, in which channel, and the node that had it.
type Lingering = (Key, ConnectionId, NodeId);

#[derive(Default)]
struct Sets {
    /// The version as of the records read.
    version: u64,
    channels: HashMap<Key, Set>,
}

impl Presence {
    pub fn new(options: &KafkaOptions) -> Self {
        Self {
            sets: (0..options.partitions).map(|_| Mutex::default()).collect(),
            own: Mutex::default(),
            doubtful: Mutex::default(),
            lingering: Mutex::default(),
            owners: Mutex::default(),
        }
    }

    /// What was read of a partition is void.
    pub fn forget_all(&self, partition: usize) {
        *self.sets[partition].lock() = Sets::default();
    }

    /// Nodes that may have entries.
    pub fn owners(&self) -> Vec<NodeId> {
        self.owners.lock().iter().cloned().collect()
    }

    fn is_own(&self, key: &Key, connection: &ConnectionId) -> bool {
        self.own.lock().contains_key(&(key.clone(), connection.clone()))
    }
}

impl Shared {
    pub fn receive_presence(self: &Arc<Self>, record: Record<'_>) -> Received {
        let partition = record.place.partition as usize;
        let version = record.at + 1;
        let Record { stamp, value, .. } = record;
        if matches!(stamp.act, Act::Nudge {}) {
            self.presence.sets[partition].lock().version = version;
            return Ok(Outcome::Done);
        }
        let (key, connection) = Key::parse(record.key).ok_or(Foreign)?;
        let connection = connection.ok_or(Foreign)?;
        let entry = value.map(|value| PresenceEntry::decode(&value)).transpose()?;
        let diff = {
            let mut sets = self.presence.sets[partition].lock();
            sets.version = version;
            let set = sets.channels.entry(key.clone()).or_default();
            let diff = match (&stamp.act, entry) {
                (Act::Present { owner, restores: true, .. }, Some(entry)) => set.restore(entry, owner, version),
                (Act::Present { owner, until, .. }, Some(entry)) => set.present(entry, owner, *until, version),
                (Act::Leave {}, _) => set.remove(&connection, |_| true),
                (Act::Expire { now }, _) => {
                    set.remove(&connection, |stored| stored.until.is_some_and(|until| until <= *now))
                }
                (Act::Reap { owner }, _) => {
                    set.remove(&connection, |stored| stored.owner == *owner && stored.until.is_none())
                }
                _ => return Err(Foreign),
            };
            if set.is_empty() {
                sets.channels.remove(&key);
            }
            diff
        };
        match stamp.act {
            Act::Present { owner, until, .. } => {
                if let Some(until) = until {
                    self.presence.linger(until, key.clone(), connection, owner.clone());
                }
                self.presence.owners.lock().insert(owner);
            }
            // Somebody took it to be gone, or to have lingered too long. It is here.
            _ if self.presence.is_own(&key, &connection) && stamp.by != self.node => {
                self.runtime.spawn(self.clone().restore(key.clone(), connection));
            }
            _ => {}
        }
        let ours = stamp.by == self.node;
        if let Some(diff) = diff.filter(|_| ours || self.interest.hears(&key))
            && let Some(sink) = self.sink.get()
        {
            sink.presence(event(key, version, diff, ours));
        }
        Ok(Outcome::Done)
    }

    pub async fn change_presence(&self, key: Key, change: PresenceChange) -> Result<(), EngineError> {
        match change {
            PresenceChange::Enter(entry) => self.enter(key, entry).await,
            PresenceChange::Leave(connection) => {
                let own = self.presence.own.lock().remove(&(key.clone(), connection.clone()));
                if own.is_none() && self.find(&key, &connection).is_none() {
                    return Ok(());
                }
                let left = self.tombstone(&key, &connection, Act::Leave {}).await;
                self.doubt_on_failure(left, key, connection)
            }
            PresenceChange::Linger { connection, until } => {
                let own = self.presence.own.lock().remove(&(key.clone(), connection.clone()));
                // As it was read: with its revision.
                let Some(entry) = own.and_then(|own| self.find(&key, &connection).or(Some(own))) else { return Ok(()) };
                let act = Act::Present { owner: self.node.clone(), until: Some(until), restores: false };
                let lingers = self.put(&key, &connection, act, &entry).await;
                self.doubt_on_failure(lingers, key, connection)
            }
        }
    }

    async fn enter(&self, key: Key, entry: PresenceEntry) -> Result<(), EngineError> {
        let at = (key.clone(), entry.connection.clone());
        let before = self.presence.own.lock().insert(at.clone(), entry.clone());
        let replaced = self.find_lingering(&key, &entry);
        let act = Act::Present { owner: self.node.clone(), until: None, restores: false };
        let fresh = PresenceEntry { revision: 0, ..entry };
        match (self.put(&key, &fresh.connection, act, &fresh).await, before) {
            (Ok(()), _) => {
                // It has taken the place of those, whose keys would otherwise stay in the topic.
                for connection in replaced {
                    if self.find(&key, &connection).is_none() {
                        let _ = self.write_tombstone(&key, &connection, Act::Leave {});
                    }
                }
                Ok(())
            }
            (Err(error), Some(before)) => {
                // It is still present, with its old data or its new.
                self.presence.own.lock().insert(at, before);
                Err(error)
            }
            (Err(error), None) => {
                self.presence.own.lock().remove(&at);
                self.doubt_on_failure(Err(error), key, fresh.connection)
            }
        }
    }

    /// Whether a change that failed happened is not known: the entry is removed as soon as the broker is back.
    fn doubt_on_failure(
        &self,
        result: Result<(), EngineError>,
        key: Key,
        connection: ConnectionId,
    ) -> Result<(), EngineError> {
        if result.is_err() {
            self.presence.doubtful.lock().insert((key, connection));
        }
        result
    }

    fn set_of<T>(&self, key: &Key, look: impl FnOnce(&Set) -> T) -> Option<T> {
        let partition = key.partition(self.options.partitions) as usize;
        self.presence.sets[partition].lock().channels.get(key).map(look)
    }

    fn find(&self, key: &Key, connection: &ConnectionId) -> Option<PresenceEntry> {
        self.set_of(key, |set| set.find(connection).map(|stored| stored.entry.clone())).flatten()
    }

    fn find_lingering(&self, key: &Key, entry: &PresenceEntry) -> Vec<ConnectionId> {
        let Some(user) = &entry.user else { return Vec::new() };
        let lingering = |set: &Set| {
            let of_user =
                set.entries().filter(|stored| stored.until.is_some() && stored.entry.user.as_ref() == Some(user));
            of_user.map(|stored| stored.entry.connection.clone()).collect()
        };
        self.set_of(key, lingering).unwrap_or_default()
    }

    async fn put(
        &self,
        key: &Key,
        connection: &ConnectionId,
        act: Act,
        entry: &PresenceEntry,
    ) -> Result<(), EngineError> {
        let (place, text, value) = (self.place(Topic::Presence, key), key.text_of(connection), entry.encode());
        self.within("presence", self.writer.done(place, text.as_bytes(), act, Some(&value))).await.map(drop)
    }

    async fn tombstone(&self, key: &Key, connection: &ConnectionId, act: Act) -> Result<(), EngineError> {
        let (place, text) = (self.place(Topic::Presence, key), key.text_of(connection));
        self.within("presence", self.writer.done(place, text.as_bytes(), act, None)).await.map(drop)
    }

    fn write_tombstone(&self, key: &Key, connection: &ConnectionId, act: Act) -> Result<(), EngineError> {
        let (place, text) = (self.place(Topic::Presence, key), key.text_of(connection));
        self.writer.write(place, text.as_bytes(), act, None).map(drop)
    }

    pub async fn members(self: &Arc<Self>, key: &Key) -> Result<PresenceSnapshot, EngineError> {
        let place: Place = self.place(Topic::Presence, key);
        self.within("list members", self.catch_up(place)).await?;
        let sets = self.presence.sets[place.partition as usize].lock();
        let set = sets.channels.get(key);
        let members = set.map(|set| set.entries().map(|stored| stored.entry.clone()).collect());
        Ok(PresenceSnapshot { members: members.unwrap_or_default(), version: sets.version })
    }

    /// Entries whose time of grace is over leave.
    pub fn end_grace(self: &Arc<Self>, now: u64) {
        for (until, key, connection) in self.presence.due(now, &self.node) {
            let lingers =
                |set: &Set| set.find(&connection).is_some_and(|stored| stored.until.is_some_and(|u| u <= now));
            if !self.set_of(&key, lingers).unwrap_or(false) {
                continue;
            }
            let shared = self.clone();
            self.runtime.spawn(async move {
                if shared.tombstone(&key, &connection, Act::Expire { now }).await.is_err() {
                    // The next sweep tries again.
                    let owner = shared.node.clone();
                    shared.presence.linger(until, key, connection, owner);
                }
            });
        }
    }

    async fn restore(self: Arc<Self>, key: Key, connection: ConnectionId) {
        let own = self.presence.own.lock().get(&(key.clone(), connection.clone())).cloned();
        let Some(entry) = own else { return };
        let act = Act::Present { owner: self.node.clone(), until: None, restores: true };
        if let Err(error) = self.put(&key, &connection, act, &PresenceEntry { revision: 0, ..entry }).await {
            tracing::debug!(%error, "an entry is not written again yet");
        }
        if !self.presence.is_own(&key, &connection) {
            // It left meanwhile.
            self.presence.doubtful.lock().insert((key, connection));
        }
    }

    /// Writes this node's entries again.
    pub fn restore_all(self: &Arc<Self>) {
        let own: Vec<_> = self.presence.own.lock().keys().cloned().collect();
        for (key, connection) in own {
            self.runtime.spawn(self.clone().restore(key, connection));
        }
    }

    /// Writes those of this node's entries again that are not there; and removes those of which it is not known.
    pub async fn settle_doubts(self: &Arc<Self>) {
        let own: Vec<_> = self.presence.own.lock().keys().cloned().collect();
        let missing = own.into_iter().filter(|(key, connection)| self.find(key, connection).is_none());
        for (key, connection) in missing.collect::<Vec<_>>() {
            self.clone().restore(key, connection).await;
        }
        let doubtful: Vec<_> = self.presence.doubtful.lock().iter().cloned().collect();
        for doubt in doubtful {
            let (key, connection) = &doubt;
            if !self.presence.is_own(key, connection)
                && let Err(error) = self.tombstone(key, connection, Act::Leave {}).await
            {
                return tracing::debug!(%error, "an entry is not removed yet");
            }
            self.presence.doubtful.lock().remove(&doubt);
        }
    }

    /// Removes what a dead node left behind, but what lingers: its time is not over.
    pub async fn reap(&self, dead: &NodeId) -> Result<(), EngineError> {
        for partition in &self.presence.sets {
            let left: Vec<(Key, ConnectionId)> = {
                let sets = partition.lock();
                let entries =
                    sets.channels.iter().flat_map(|(key, set)| set.entries().map(move |stored| (key, stored)));
                let of_dead = entries.filter(|(_, stored)| stored.owner == *dead && stored.until.is_none());
                of_dead.map(|(key, stored)| (key.clone(), stored.entry.connection.clone())).collect()
            };
            let mut answers = Vec::new();
            for (key, connection) in left {
                let (place, text) = (self.place(Topic::Presence, &key), key.text_of(&connection));
                let act = Act::Reap { owner: dead.clone() };
                answers.push(self.writer.write(place, text.as_bytes(), act, None)?.1);
                // No more at a time than the client can queue.
                if answers.len() >= 1000 {
                    wait_for_all(&mut answers).await?;
                }
            }
            wait_for_all(&mut answers).await?;
        }
        self.presence.owners.lock().remove(dead);
        Ok(())
    }
}

type Answers = Vec<tokio::sync::oneshot::Receiver<crate::writer::Answer>>;

async fn wait_for_all(answers: &mut Answers) -> Result<(), EngineError> {
    for answer in answers.drain(..) {
        if let Ok(answer) = answer.await {
            answer?;
        }
    }
    Ok(())
}

impl Presence {
    /// Notes that an entry leaves at a time, unless its user is back.
    fn linger(&self, until: u64, key: Key, connection: ConnectionId, owner: NodeId) {
        self.lingering.lock().entry(until).or_default().push((key, connection, owner));
    }

    /// Takes out what this node has to end now.
    fn due(&self, time: u64, node: &NodeId) -> Vec<(u64, Key, ConnectionId)> {
        let mut lingering = self.lingering.lock();
        let later = lingering.split_off(&(time + 1));
        let due = std::mem::replace(&mut *lingering, later);
        let mut ours = Vec::new();
        for (until, list) in due {
            for (key, connection, owner) in list {
                if owner == *node || until + HEAD_START <= time {
                    ours.push((until, key, connection));
                } else {
                    lingering.entry(until).or_default().push((key, connection, owner));
                }
            }
        }
        ours
    }
}

fn event(key: Key, version: u64, diff: PresenceDiff, ours: bool) -> PresenceEvent {
    PresenceEvent { app: key.app, channel: key.channel, version, diff, ours }
}
