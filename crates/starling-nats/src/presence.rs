//! Presence: one key of a bucket holds all entries of one user in one channel.
//!
//! A change reads the key and writes it, if nobody else has meanwhile. The stored record carries what is to be told,
//! and the stream republishes it to whoever hears the channel: its sequence is the version. So a change is stored and
//! told in one step, and costs the same in a channel of ten as of ten thousand.

mod set;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use starling_core::{
    ConnectionId, EngineError, NodeId, PresenceChange, PresenceDiff, PresenceEntry, PresenceEvent, PresenceSnapshot,
};

use crate::link::unavailable;
use crate::logs::jitter;
use crate::names::{self, Key};
use crate::shared::{Shared, now};
use crate::streams::{Entry, Kind, Place, StoreError};
use crate::wire::{Order, UserRecord, Wire};
use set::Change;

/// Milliseconds for which other nodes leave it to the one that set a time of grace to end it.
const HEAD_START: u64 = 1500;

/// Milliseconds after which a record without entries is somebody's to remove: its writer died before it could.
const LEFT_BEHIND: u64 = 10_000;

/// Entries that were told here and may yet arrive, at most.
const MAX_TOLD: usize = 4096;

/// What this node knows of presence.
#[derive(Default)]
pub(crate) struct Presence {
    /// This node's entries: they are written again when others took this node to be dead.
    own: Mutex<HashMap<(Key, ConnectionId), PresenceEntry>>,
    /// Connections of which it is not known whether they still have an entry; they must not.
    doubtful: Mutex<HashSet<(Key, ConnectionId, String)>>,
    /// Entries that leave at a time (Unix milliseconds) unless their users are back.
    lingering: Mutex<BTreeMap<u64, Vec<Lingering>>>,
    told: Mutex<HashSet<u64>>,
}

#[derive(Clone)]
struct Lingering {
    key: Key,
    who: String,
    is_own: bool,
}

impl Shared {
    pub async fn change_presence(self: &Arc<Self>, key: Key, change: PresenceChange) -> Result<(), EngineError> {
        let node = self.link.node.clone();
        match change {
            PresenceChange::Enter(entry) => self.enter(key, entry).await,
            PresenceChange::Leave(connection) => {
                let own = self.presence.own.lock().remove(&(key.clone(), connection.clone()));
                let who = match own {
                    Some(entry) => names::who(entry.user.as_ref(), &connection),
                    None => match self.find_who(&key, &connection).await? {
                        Some(who) => who,
                        None => return Ok(()),
                    },
                };
                let left = self.edit(&key, &who, |record| record.leave(&connection, &node)).await.map(drop);
                self.doubt_on_failure(left, key, connection, who)
            }
            PresenceChange::Linger { connection, until } => {
                let own = self.presence.own.lock().remove(&(key.clone(), connection.clone()));
                let Some(entry) = own else { return Ok(()) };
                let who = names::who(entry.user.as_ref(), &connection);
                let lingers = self.edit(&key, &who, |record| record.linger(&connection, until, &node)).await.map(drop);
                self.doubt_on_failure(lingers, key.clone(), connection, who.clone())?;
                self.linger(key.clone(), who.clone(), until, true);
                let order = Order::Linger { app: key.app, channel: key.channel, who, until, by: node };
                self.order(&order).await
            }
        }
    }

    async fn enter(self: &Arc<Self>, key: Key, entry: PresenceEntry) -> Result<(), EngineError> {
        self.register().await?;
        let node = self.link.node.clone();
        let who = names::who(entry.user.as_ref(), &entry.connection);
        let at = (key.clone(), entry.connection.clone());
        let before = self.presence.own.lock().insert(at.clone(), entry.clone());
        let is_update = before.as_ref().is_some_and(|before| before.user == entry.user);
        let entered = async {
            let moved = match before.as_ref().filter(|_| !is_update) {
                Some(before) => {
                    let old = names::who(before.user.as_ref(), &entry.connection);
                    let written = self.edit(&key, &old, |record| record.withdraw(&entry.connection, &node)).await?;
                    written.and_then(|record| record.withdrawn(&entry.connection))
                }
                None => None,
            };
            self.edit(&key, &who, |record| record.enter(entry.clone(), moved.clone(), &node)).await.map(drop)
        };
        match entered.await {
            Err(error) if is_update => {
                // It is still present, with its old data or its new.
                self.presence.own.lock().extend(before.map(|before| (at, before)));
                Err(error)
            }
            Err(error) => {
                self.presence.own.lock().remove(&at);
                self.doubt_on_failure(Err(error), key, entry.connection, who)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether a change that failed happened is not known: the entry is removed as soon as the broker is back.
    fn doubt_on_failure(
        &self,
        result: Result<(), EngineError>,
        key: Key,
        connection: ConnectionId,
        who: String,
    ) -> Result<(), EngineError> {
        if result.is_err() {
            self.presence.doubtful.lock().insert((key, connection, who));
        }
        result
    }

    async fn find_who(&self, key: &Key, connection: &ConnectionId) -> Result<Option<String>, EngineError> {
        let members = self.members(key).await?.members;
        let entry = members.iter().find(|entry| entry.connection == *connection);
        Ok(entry.map(|entry| names::who(entry.user.as_ref(), connection)))
    }

    /// Writes what `change` makes of a user's entries, sees to it that it is told, and returns what was written.
    async fn edit(
        &self,
        key: &Key,
        who: &str,
        change: impl Fn(&UserRecord) -> Option<Change>,
    ) -> Result<Option<Change>, EngineError> {
        self.link.within("presence", self.try_edit(key, who, change)).await
    }

    async fn try_edit(
        &self,
        key: &Key,
        who: &str,
        change: impl Fn(&UserRecord) -> Option<Change>,
    ) -> Result<Option<Change>, EngineError> {
        for attempt in 0.. {
            let place = self.link.place(Kind::Presence).await?;
            let subject = format!("{}.c.{}.p.{who}", place.root, key.tokens());
            let stored = self.link.latest(&place, &subject).await?;
            let expected = stored.as_ref().map_or(0, |entry| entry.seq);
            let record = stored.as_ref().map_or_else(|| Ok(UserRecord::default()), read_record)?;
            let Some(change) = change(&record) else { return Ok(None) };
            let changed = &change.record;
            match self.link.store(subject, changed.encode(), Some(expected), false).await {
                Ok(seq) => {
                    if changed.entries.is_empty() {
                        self.remove(&place, seq);
                    }
                    self.tell_ours(key, seq, changed.clone());
                    return Ok(Some(change));
                }
                Err(StoreError::Conflict) => tokio::time::sleep(Duration::from_millis(jitter(attempt))).await,
                Err(StoreError::Missing) => self.link.streams.forget(Kind::Presence),
                Err(StoreError::Failed(error)) => return Err(error),
            }
        }
        unreachable!("the loop ends by its time limit")
    }

    /// Removes a record that says that there is nothing. One that took its place has another sequence.
    fn remove(&self, place: &Arc<Place>, seq: u64) {
        let place = place.clone();
        self.runtime.spawn(async move { place.stream.delete_message(seq).await.map(drop) });
    }

    /// This node is told of its own changes, whether it hears the channel or not.
    fn tell_ours(&self, key: &Key, seq: u64, record: UserRecord) {
        if self.interest.hears(key) {
            return;
        }
        if let (Some(diff), Some(sink)) = (record.revised(seq).diff, self.sink.get()) {
            let mut told = self.presence.told.lock();
            if told.len() >= MAX_TOLD {
                told.clear();
            }
            told.insert(seq);
            drop(told);
            sink.presence(event(key, seq, diff, true));
        }
    }

    /// A change of presence arrived.
    pub fn deliver_presence(&self, key: &Key, seq: u64, payload: &Bytes) {
        let record = match UserRecord::decode(payload) {
            Ok(record) => record.revised(seq),
            Err(error) => return tracing::error!(channel = %key.channel, %error, "NATS"),
        };
        let is_ours = record.by.as_ref() == Some(&self.link.node);
        if is_ours && self.presence.told.lock().remove(&seq) {
            return;
        }
        if let (Some(diff), Some(sink)) = (record.diff, self.sink.get()) {
            sink.presence(event(key, seq, diff, is_ours));
        }
    }

    pub async fn members(&self, key: &Key) -> Result<PresenceSnapshot, EngineError> {
        self.link.within("list members", self.try_members(key)).await
    }

    async fn try_members(&self, key: &Key) -> Result<PresenceSnapshot, EngineError> {
        let place = self.link.place(Kind::Presence).await?;
        let info = place.stream.get_info().await.map_err(|error| {
            self.link.streams.forget(Kind::Presence);
            unavailable(error)
        })?;
        let filter = format!("{}.c.{}.p.*", place.root, key.tokens());
        let (entries, _) = self.link.read(&place, filter, 1, usize::MAX).await?;
        let mut snapshot = PresenceSnapshot { members: Vec::new(), version: info.state.last_sequence };
        // In the order of sequences: a later record of a user takes the place of an earlier one.
        let mut records = HashMap::new();
        for entry in entries {
            snapshot.version = snapshot.version.max(entry.seq);
            let record = read_record(&entry)?;
            if record.entries.is_empty() && entry.stored + LEFT_BEHIND < now() {
                self.remove(&place, entry.seq);
            }
            records.insert(entry.subject, record);
        }
        snapshot.members = records.into_values().flat_map(|record| record.entries).map(|stored| stored.entry).collect();
        Ok(snapshot)
    }

    /// Notes that an entry leaves at a time, unless its user is back.
    pub fn linger(&self, key: Key, who: String, until: u64, is_own: bool) {
        self.presence.lingering.lock().entry(until).or_default().push(Lingering { key, who, is_own });
    }

    /// Entries whose time of grace is over leave.
    pub fn end_grace(self: &Arc<Self>, now: u64) {
        let due: Vec<Lingering> = {
            let mut lingering = self.presence.lingering.lock();
            let later = lingering.split_off(&(now + 1));
            let due = std::mem::replace(&mut *lingering, later);
            let mut ready = Vec::new();
            for (until, list) in due {
                let (now_due, not_yet): (Vec<_>, Vec<_>) =
                    list.into_iter().partition(|one| one.is_own || until + HEAD_START <= now);
                ready.extend(now_due);
                if !not_yet.is_empty() {
                    lingering.entry(until).or_default().extend(not_yet);
                }
            }
            ready
        };
        if due.is_empty() {
            return;
        }
        let shared = self.clone();
        self.runtime.spawn(async move {
            let node = shared.link.node.clone();
            for Lingering { key, who, is_own } in due {
                if shared.edit(&key, &who, |record| record.expire(now, &node)).await.is_err() {
                    shared.linger(key, who, now, is_own);
                }
            }
        });
    }

    /// Others took this node to be dead, or the broker lost its data: what this node holds is written again.
    pub async fn restore_own(&self) -> Result<(), EngineError> {
        let own: Vec<_> = {
            let own = self.presence.own.lock();
            own.iter().map(|((key, _), entry)| (key.clone(), entry.clone())).collect()
        };
        for (key, entry) in own {
            let who = names::who(entry.user.as_ref(), &entry.connection);
            let is_present = || self.presence.own.lock().contains_key(&(key.clone(), entry.connection.clone()));
            if is_present() {
                self.edit(&key, &who, |record| record.restore(entry.clone(), &self.link.node)).await?;
                if !is_present() {
                    let left = (key.clone(), entry.connection.clone(), who);
                    self.presence.doubtful.lock().insert(left);
                }
            }
        }
        Ok(())
    }

    /// Removes entries of which it is not known whether they are still there.
    pub async fn settle_doubts(&self) {
        let doubtful: Vec<_> = self.presence.doubtful.lock().iter().cloned().collect();
        for doubt in doubtful {
            let (key, connection, who) = &doubt;
            let is_present = self.presence.own.lock().contains_key(&(key.clone(), connection.clone()));
            if !is_present
                && let Err(error) = self.edit(key, who, |record| record.leave(connection, &self.link.node)).await
            {
                return tracing::debug!(%error, "an entry is not removed yet");
            }
            self.presence.doubtful.lock().remove(&doubt);
        }
    }

    /// Removes what a dead node left behind.
    pub async fn reap(&self, dead: &NodeId) -> Result<(), EngineError> {
        let place = self.link.place(Kind::Presence).await?;
        let (root, mut from) = (format!("{}.c.", place.root), 1);
        loop {
            let (entries, is_more) = self.link.read(&place, format!("{root}>"), from, REAPED).await?;
            for entry in &entries {
                self.reap_from(entry, &root, dead).await?;
                from = entry.seq + 1;
            }
            if !is_more {
                return Ok(());
            }
        }
    }

    async fn reap_from(&self, entry: &Entry, root: &str, dead: &NodeId) -> Result<(), EngineError> {
        let Ok(record) = read_record(entry) else { return Ok(()) };
        if record.entries.iter().all(|stored| stored.node != *dead) {
            return Ok(());
        }
        let Some((key, rest)) = entry.subject.strip_prefix(root).and_then(Key::parse) else { return Ok(()) };
        let who = rest.trim_start_matches("p.");
        for until in record.entries.iter().filter(|stored| stored.node == *dead).filter_map(|stored| stored.until) {
            self.linger(key.clone(), who.to_owned(), until, true);
        }
        self.edit(&key, who, |record| record.reap(dead, now(), &self.link.node)).await.map(drop)
    }
}

/// Records looked at in one step when a node died.
const REAPED: usize = 10_000;

fn event(key: &Key, version: u64, diff: PresenceDiff, ours: bool) -> PresenceEvent {
    PresenceEvent { app: key.app.clone(), channel: key.channel.clone(), version, diff, ours }
}

fn read_record(entry: &Entry) -> Result<UserRecord, EngineError> {
    match UserRecord::decode(&entry.payload) {
        Ok(record) => Ok(record.revised(entry.seq)),
        Err(error) => {
            tracing::error!(subject = entry.subject, %error, "NATS");
            Err(unavailable("data in the presence bucket that Starling did not write"))
        }
    }
}
