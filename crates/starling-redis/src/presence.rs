//! Presence: what this node asked for, and how the other nodes and this one are told.
//!
//! A change is one script, which changes the set, and publishes the difference to the channel. The node that asked
//! delivers it where it comes in the order of the channel: when it arrives; or with the answer, if this node is not
//! subscribed to the channel.
//!
//! What is wanted is kept here, too: it is put in force again when Redis lost it, or took this node for dead, and what
//! became of a change whose outcome is not known is settled by making it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use redis::{Cmd, Value, cmd};
use starling_core::{
    AppId, ChannelName, ConnectionId, EngineError, NodeId, PresenceChange, PresenceEntry, PresenceSnapshot,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::broker::{Answer, Shared};
use crate::failure::Failure;
use crate::keys::Keys;
use crate::lane::Lane;
use crate::script::{self, Script};
use crate::wire::{self, ChannelFrame};

type Key = (AppId, ChannelName);

/// What this node wants of presence.
pub(crate) struct OwnPresence {
    state: Mutex<State>,
    count: AtomicU64,
    /// Changes of this node whose event has not arrived.
    awaited: Mutex<HashMap<u64, oneshot::Sender<()>, RandomState>>,
}

struct State {
    /// Whose entries ours are: the node, and how often it was taken for dead.
    owner: String,
    lives: u32,
    /// Whether the owner is among those whose lease is watched.
    is_registered: bool,
    channels: HashMap<Key, Channel, RandomState>,
    /// Entries by the time at which they leave.
    lingering: BTreeMap<u64, Vec<(Key, ConnectionId)>>,
}

#[derive(Default)]
struct Channel {
    /// Whether the owner's index has the channel.
    is_indexed: bool,
    entries: HashMap<ConnectionId, (u64, Own), RandomState>,
}

/// What is wanted of one connection.
#[derive(Clone)]
enum Own {
    Here(PresenceEntry),
    /// Leaves then, unless its user is back; it is not entered again.
    Lingers(u64),
    Gone,
}

/// What became of a change.
enum Outcome {
    Done,
    /// Redis refused it.
    Nothing,
    /// There was no answer.
    Unknown,
}

impl Outcome {
    fn of(result: &Result<(), Failure>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(Failure::Refused(_) | Failure::Again(..)) => Self::Nothing,
            Err(Failure::Unavailable(_)) => Self::Unknown,
        }
    }
}

/// A change on its way.
struct Change {
    key: Key,
    token: u64,
    arrival: oneshot::Receiver<()>,
    answer: Answer,
}

impl OwnPresence {
    pub fn new(node: &NodeId) -> Self {
        Self {
            state: Mutex::new(State {
                owner: format!("{node}.0"),
                lives: 0,
                is_registered: false,
                channels: HashMap::default(),
                lingering: BTreeMap::new(),
            }),
            count: AtomicU64::new(0),
            awaited: Mutex::default(),
        }
    }

    /// An event of this node arrived. It is for the caller to deliver, and then to tell so; unless it was delivered.
    pub fn arrived(&self, token: u64) -> Option<oneshot::Sender<()>> {
        self.awaited.lock().remove(&token)
    }

    /// What has not arrived will not; and Redis may come back without the index.
    pub fn lane_lost(&self) {
        self.awaited.lock().clear();
        self.forget_index();
    }

    pub fn owner(&self) -> String {
        self.state.lock().owner.clone()
    }

    /// This node was taken for dead: its entries get another owner, so that whoever clears up after the dead one does
    /// not touch them.
    pub fn begin_another_life(&self, node: &NodeId) {
        let mut state = self.state.lock();
        state.lives += 1;
        state.owner = format!("{node}.{}", state.lives);
        state.forget_index();
    }

    /// Whether the owner's lease was begun, as far as this node knows.
    pub fn is_registered(&self) -> bool {
        self.state.lock().is_registered
    }

    /// The owner's lease has begun.
    pub fn register(&self) {
        self.state.lock().is_registered = true;
    }

    /// What Redis has of the index is not known.
    pub fn forget_index(&self) {
        self.state.lock().forget_index();
    }

    /// Entries whose time is over.
    fn due(&self, now: u64) -> Vec<(Key, ConnectionId)> {
        let mut state = self.state.lock();
        let later = state.lingering.split_off(&(now + 1));
        let due = std::mem::replace(&mut state.lingering, later);
        due.into_values().flatten().collect()
    }
}

impl State {
    fn forget_index(&mut self) {
        self.is_registered = false;
        self.channels.values_mut().for_each(|channel| channel.is_indexed = false);
    }

    /// Notes what is wanted, and returns what was.
    fn want(&mut self, key: &Key, connection: &ConnectionId, number: u64, own: Own) -> Option<(u64, Own)> {
        if let Own::Lingers(until) = &own {
            self.lingering.entry(*until).or_default().push((key.clone(), connection.clone()));
        }
        let channel = self.channels.entry(key.clone()).or_default();
        channel.entries.insert(connection.clone(), (number, own))
    }
}

impl Shared {
    /// Changes presence. The commands are sent before this returns, in the order of the calls.
    pub fn change_presence(
        self: &Arc<Self>,
        app: &AppId,
        channel: &ChannelName,
        change: PresenceChange,
    ) -> oneshot::Receiver<Result<(), EngineError>> {
        let key = (app.clone(), channel.clone());
        let (done, when_done) = oneshot::channel();
        let mut state = self.presence.state.lock();
        let number = self.presence.count.fetch_add(1, Ordering::Relaxed);
        let (connection, own) = match &change {
            PresenceChange::Enter(entry) => (entry.connection.clone(), Own::Here(entry.clone())),
            PresenceChange::Leave(connection) => (connection.clone(), Own::Gone),
            PresenceChange::Linger { connection, until } => (connection.clone(), Own::Lingers(*until)),
        };
        let before = state.want(&key, &connection, number, own);
        let change = match change {
            PresenceChange::Enter(entry) => self.enter(&mut state, &key, &entry, false),
            PresenceChange::Leave(connection) => self.leave(&state, &key, &connection),
            PresenceChange::Linger { connection, until } => self.linger(&state, &key, &connection, until),
        };
        drop(state);
        let shared = self.clone();
        self.handle.spawn(async move {
            let result = shared.finish(change).await;
            shared.settle(&key, &connection, number, before, Outcome::of(&result));
            let topic = || shared.keys.channel(&key.0, &key.1).topic;
            let _ = done.send(result.map_err(|failure| shared.told(&topic(), failure)));
        });
        when_done
    }

    /// What is wanted, now that the outcome is known, or is known not to be.
    fn settle(
        self: &Arc<Self>,
        key: &Key,
        connection: &ConnectionId,
        number: u64,
        before: Option<(u64, Own)>,
        outcome: Outcome,
    ) {
        let mut state = self.presence.state.lock();
        let owner = state.owner.clone();
        let Some(channel) = state.channels.get_mut(key) else { return };
        let Some(entry) = channel.entries.get_mut(connection).filter(|(latest, _)| *latest == number) else { return };
        match (&entry.1, outcome) {
            (Own::Gone, Outcome::Done) => _ = channel.entries.remove(connection),
            (Own::Here(_), Outcome::Nothing) => match before {
                Some((_, own)) => entry.1 = own,
                None => _ = channel.entries.remove(connection),
            },
            // It may have happened all the same: when Redis is back, it is undone.
            (Own::Here(_), Outcome::Unknown) => entry.1 = before.map_or(Own::Gone, |(_, own)| own),
            _ => {}
        }
        if channel.entries.is_empty() {
            let was_indexed = channel.is_indexed;
            state.channels.remove(key);
            if was_indexed {
                let index = self.keys.channels_of(&owner);
                let mut forget = cmd("SREM");
                forget.arg(&index).arg(Keys::index_entry(&key.0, &key.1));
                // Under the lock: whoever enters next indexes again behind it.
                drop(self.send(index, forget));
            }
        }
    }

    fn index(self: &Arc<Self>, state: &mut State, key: &Key) {
        if !std::mem::replace(&mut state.is_registered, true) {
            // Whoever has entries has a lease: nobody clears up after a node that is not known.
            drop(self.send_beat(&state.owner));
        }
        let index = self.keys.channels_of(&state.owner);
        let channel = state.channels.entry(key.clone()).or_default();
        if std::mem::replace(&mut channel.is_indexed, true) {
            return;
        }
        let mut add = cmd("SADD");
        add.arg(&index).arg(Keys::index_entry(&key.0, &key.1));
        drop(self.send(index, add));
    }

    fn enter(self: &Arc<Self>, state: &mut State, key: &Key, entry: &PresenceEntry, is_again: bool) -> Change {
        self.index(state, key);
        self.ask(&script::ENTER, key, &state.owner, |run| {
            run.arg(entry.connection.as_str());
            run.arg(entry.user.as_ref().map_or("", |user| user.as_str()));
            run.arg(u8::from(entry.user.is_some()));
            run.arg(entry.data.as_str()).arg(u8::from(is_again));
        })
    }

    fn leave(self: &Arc<Self>, state: &State, key: &Key, connection: &ConnectionId) -> Change {
        self.ask(&script::LEAVE, key, &state.owner, |run| _ = run.arg(connection.as_str()))
    }

    fn linger(self: &Arc<Self>, state: &State, key: &Key, connection: &ConnectionId, until: u64) -> Change {
        self.ask(&script::LINGER, key, &state.owner, |run| _ = run.arg(connection.as_str()).arg(until))
    }

    fn ask(self: &Arc<Self>, script: &Script, key: &Key, owner: &str, more: impl FnOnce(&mut Cmd)) -> Change {
        let keys = self.keys.channel(&key.0, &key.1);
        let token = self.presence.count.fetch_add(1, Ordering::Relaxed);
        let (arrives, arrival) = oneshot::channel();
        self.presence.awaited.lock().insert(token, arrives);
        let mut run = script.run(&keys.presence());
        run.arg(keys.of_prefix()).arg(&keys.topic).arg(self.topology.verb("PUBLISH"));
        run.arg(self.node.as_str()).arg(token).arg(owner);
        more(&mut run);
        Change { key: key.clone(), token, arrival, answer: self.send(keys.topic, run) }
    }

    /// Waits until a change is made and everyone is told.
    async fn finish(self: &Arc<Self>, change: Change) -> Result<(), Failure> {
        let Change { key, token, arrival, answer } = change;
        let frame = match answer.wait().await {
            Ok(Value::BulkString(frame)) => frame,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.presence.arrived(token);
                return Err(error);
            }
        };
        self.tell(&key, token, arrival, frame).await;
        Ok(())
    }

    /// Has an event of this node delivered, where it arrives or here.
    async fn tell(&self, key: &Key, token: u64, mut arrival: oneshot::Receiver<()>, frame: Vec<u8>) {
        if frame.is_empty() {
            self.presence.arrived(token);
            return;
        }
        let is_live = self.interest.is_live(&self.keys.channel(&key.0, &key.1).topic);
        let arrived = if is_live { timeout(self.options.response_timeout, &mut arrival).await.ok() } else { None };
        let is_delivered = match arrived {
            Some(arrived) => arrived.is_ok(),
            // Whoever takes it out delivers it.
            None if self.presence.arrived(token).is_some() => false,
            None => arrival.await.is_ok(),
        };
        if is_delivered {
            return;
        }
        let told = wire::decode_channel_frame(Bytes::from(frame));
        if let (Ok(ChannelFrame::Presence(told)), Some(sink)) = (told, self.sink()) {
            sink.presence(wire::event(told, &key.0, &key.1, true));
        }
    }

    /// Makes entries leave whose time of grace is over.
    pub async fn expire_presence(self: &Arc<Self>, now: u64) {
        for (key, connection) in self.presence.due(now) {
            let change = {
                let state = self.presence.state.lock();
                let wanted = state.channels.get(&key).and_then(|channel| channel.entries.get(&connection));
                let Some((_, Own::Lingers(until))) = wanted else { continue };
                if *until > now {
                    continue;
                }
                let asked = |run: &mut Cmd| _ = run.arg(connection.as_str()).arg(now);
                self.ask(&script::EXPIRE, &key, &state.owner, asked)
            };
            let shared = self.clone();
            self.handle.spawn(async move {
                let is_done = shared.finish(change).await.is_ok();
                let mut state = shared.presence.state.lock();
                let number = shared.presence.count.fetch_add(1, Ordering::Relaxed);
                if is_done {
                    let is_lingering = |state: &State| {
                        let channel = state.channels.get(&key)?;
                        Some(matches!(channel.entries.get(&connection)?.1, Own::Lingers(until) if until <= now))
                    };
                    if is_lingering(&state) == Some(true) {
                        state.want(&key, &connection, number, Own::Gone);
                        drop(state);
                        shared.settle(&key, &connection, number, None, Outcome::Done);
                    }
                } else {
                    // In a second again, perhaps Redis is back.
                    state.lingering.entry(now + 1000).or_default().push((key, connection));
                }
            });
        }
    }

    /// Puts what is wanted in the channels of one server in force again.
    pub async fn restore_presence(self: &Arc<Self>, lane: &Lane) -> Result<(), ()> {
        let is_of = |key: &Key| {
            let topic = self.keys.channel(&key.0, &key.1).topic;
            self.topology.lane(&topic).is_some_and(|of| of.id == lane.id)
        };
        let keys: Vec<Key> = self.presence.state.lock().channels.keys().filter(|key| is_of(key)).cloned().collect();
        for key in keys {
            self.restore_channel(&key).await?;
        }
        Ok(())
    }

    /// The same, on all servers.
    pub async fn restore_all_presence(self: &Arc<Self>) {
        let keys: Vec<Key> = self.presence.state.lock().channels.keys().cloned().collect();
        for key in keys {
            if self.restore_channel(&key).await.is_err() {
                // The connection is lost; when it is back, everything is restored.
                return;
            }
        }
    }

    async fn restore_channel(self: &Arc<Self>, key: &Key) -> Result<(), ()> {
        let changes: Vec<_> = {
            let mut state = self.presence.state.lock();
            let wanted: Vec<(ConnectionId, (u64, Own))> = match state.channels.get(key) {
                Some(channel) => channel.entries.iter().map(|(id, own)| (id.clone(), own.clone())).collect(),
                None => return Ok(()),
            };
            let make = |(connection, (number, own)): (ConnectionId, (u64, Own))| {
                let change = match &own {
                    Own::Here(entry) => self.enter(&mut state, key, entry, true),
                    Own::Gone => self.leave(&state, key, &connection),
                    Own::Lingers(until) => self.linger(&state, key, &connection, *until),
                };
                (connection, number, change)
            };
            wanted.into_iter().map(make).collect()
        };
        for (connection, number, change) in changes {
            match self.finish(change).await {
                Ok(()) => self.settle(key, &connection, number, None, Outcome::Done),
                Err(Failure::Unavailable(_)) => return Err(()),
                // Foreign data under the channel's keys; there is nothing to restore.
                Err(failure) => {
                    let error = self.told(&self.keys.channel(&key.0, &key.1).topic, failure);
                    tracing::warn!(channel = %key.1, %error, "presence cannot be restored");
                }
            }
        }
        Ok(())
    }

    /// Ends what a dead owner left in a channel; what lingers there is this node's from now on.
    pub async fn reap_channel(
        self: &Arc<Self>,
        app: AppId,
        channel: ChannelName,
        dead: &str,
    ) -> Result<(), EngineError> {
        const AT_ONCE: usize = 200;
        let key = (app, channel);
        let mut key = key;
        loop {
            let now = crate::nodes::unix_ms();
            let change = {
                let mut state = self.presence.state.lock();
                self.index(&mut state, &key);
                self.ask(&script::REAP, &key, &state.owner, |run| _ = run.arg(dead).arg(now).arg(AT_ONCE))
            };
            let Change { key: same, token, arrival, answer } = change;
            key = same;
            let answer = answer.value().await;
            let Ok(Value::Array(parts)) = answer else {
                self.presence.arrived(token);
                return answer.map(drop);
            };
            let [frame, adopted, Value::Int(left)] = <[Value; 3]>::try_from(parts).unwrap_or_default() else {
                return Err(EngineError::Unavailable("redis answers something else".into()));
            };
            self.adopt(&key, adopted);
            let frame = if let Value::BulkString(frame) = frame { frame } else { Vec::new() };
            self.tell(&key, token, arrival, frame).await;
            if left == 0 {
                // If nothing was adopted, the channel need not be indexed.
                let nobody = ConnectionId::from("");
                let number = self.presence.count.fetch_add(1, Ordering::Relaxed);
                self.presence.state.lock().want(&key, &nobody, number, Own::Gone);
                self.settle(&key, &nobody, number, None, Outcome::Done);
                return Ok(());
            }
        }
    }

    /// `{connection, until, …}` that linger are this node's.
    fn adopt(&self, key: &Key, adopted: Value) {
        let Ok(adopted) = redis::from_redis_value::<Vec<(String, u64)>>(adopted) else { return };
        let mut state = self.presence.state.lock();
        for (connection, until) in adopted {
            let number = self.presence.count.fetch_add(1, Ordering::Relaxed);
            state.want(key, &ConnectionId::new(connection), number, Own::Lingers(until));
        }
    }

    /// Lists who is present.
    pub async fn list_presence(self: Arc<Self>, key: Key) -> Result<PresenceSnapshot, EngineError> {
        let keys = self.keys.channel(&key.0, &key.1);
        let run = script::MEMBERS.run(&keys.presence());
        let foreign = || EngineError::Unavailable(format!("foreign data in {}", keys.part("here")));
        let Value::Array(parts) = self.send(keys.topic.clone(), run).value().await? else { return Err(foreign()) };
        let mut texts = parts.into_iter().filter_map(|part| match part {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        });
        let version = texts.next().and_then(|version| std::str::from_utf8(&version).ok()?.parse().ok());
        let mut members = Vec::new();
        while let (Some(connection), Some(entry)) = (texts.next(), texts.next()) {
            let connection = String::from_utf8(connection).map_err(|_| foreign())?;
            members.push(wire::decode_entry(&connection, &entry).map_err(|_| foreign())?);
        }
        Ok(PresenceSnapshot { members, version: version.ok_or_else(foreign)? })
    }
}
