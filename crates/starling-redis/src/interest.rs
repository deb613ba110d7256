//! Which channels this node wants, and what it has heard of them.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{AppId, ChannelName, Epoch, MessageId};
use tokio::sync::oneshot;

use crate::lane::{Lane, Subscription};

const SHARDS: usize = 64;

/// The last message of a log that reached this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub epoch: Epoch,
    pub offset: u64,
    pub id: MessageId,
}

struct Entry {
    app: AppId,
    channel: ChannelName,
    /// Wishes that were not taken back.
    count: usize,
    /// The lane that it is, or is to be, subscribed on.
    lane: u64,
    is_live: bool,
    waiting: Vec<oneshot::Sender<bool>>,
    /// Those who want to know when it is subscribed on another lane; they are no wishes.
    moving: Vec<oneshot::Sender<bool>>,
    heard: Option<Heard>,
    /// When the last wish was taken back.
    unwanted_since: Option<Instant>,
    /// Whether it stands in the list of what may be unsubscribed soon.
    is_listed: bool,
}

/// The answer to a wish.
pub(crate) enum Wish {
    /// It is subscribed already.
    Live,
    /// It will be told: true when it is, false when it failed and is not counted.
    Later(oneshot::Receiver<bool>),
}

/// See the module's documentation.
pub(crate) struct Interest {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<String, Entry, RandomState>>]>,
    unwanted: Mutex<VecDeque<(Instant, String)>>,
    lag: Duration,
}

impl Interest {
    pub fn new(lag: Duration) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            unwanted: Mutex::default(),
            lag,
        }
    }

    fn shard(&self, topic: &str) -> &Mutex<HashMap<String, Entry, RandomState>> {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }

    /// Counts a wish; `None`, and it is not counted, when the lane cannot fulfil it now.
    pub fn want(&self, topic: String, app: &AppId, channel: &ChannelName, lane: &Lane) -> Option<Wish> {
        let mut shard = self.shard(&topic).lock();
        // Under the lock: whoever clears the table after a loss comes either before or after.
        if !lane.is_subscribed() {
            return None;
        }
        if let Some(entry) = shard.get_mut(&topic) {
            entry.count += 1;
            entry.unwanted_since = None;
            if entry.is_live {
                return Some(Wish::Live);
            }
            let (told, tells) = oneshot::channel();
            entry.waiting.push(told);
            return Some(Wish::Later(tells));
        }
        let (told, tells) = oneshot::channel();
        lane.subscribe(Subscription { topic: topic.clone(), wanted: true });
        shard.insert(
            topic,
            Entry {
                app: app.clone(),
                channel: channel.clone(),
                count: 1,
                lane: lane.id,
                is_live: false,
                waiting: vec![told],
                moving: Vec::new(),
                heard: None,
                unwanted_since: None,
                is_listed: false,
            },
        );
        Some(Wish::Later(tells))
    }

    /// Takes a wish back. The subscription stays for a while.
    pub fn unwant(&self, topic: &str) {
        let mut shard = self.shard(topic).lock();
        let Some(entry) = shard.get_mut(topic) else { return };
        entry.count = entry.count.saturating_sub(1);
        if entry.count > 0 {
            return;
        }
        let now = Instant::now();
        entry.unwanted_since = Some(now);
        if !std::mem::replace(&mut entry.is_listed, true) {
            self.unwanted.lock().push_back((now + self.lag, topic.to_owned()));
        }
    }

    /// Unsubscribes from what nobody wanted for the whole lag.
    pub fn sweep(&self, lane_of: impl Fn(&str) -> Option<Arc<Lane>>) {
        let now = Instant::now();
        loop {
            let due = {
                let mut unwanted = self.unwanted.lock();
                match unwanted.front() {
                    Some((due, _)) if *due <= now => unwanted.pop_front(),
                    _ => None,
                }
            };
            let Some((_, topic)) = due else { return };
            let mut shard = self.shard(&topic).lock();
            let Some(entry) = shard.get_mut(&topic) else { continue };
            entry.is_listed = false;
            let Some(since) = entry.unwanted_since else { continue };
            if since + self.lag > now {
                entry.is_listed = true;
                self.unwanted.lock().push_back((since + self.lag, topic.clone()));
                continue;
            }
            shard.remove(&topic);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
            // Under the lock: a wish that comes now subscribes again behind it.
            if let Some(lane) = lane_of(&topic).filter(|lane| lane.is_subscribed()) {
                lane.subscribe(Subscription { topic, wanted: false });
            }
        }
    }

    /// A topic is subscribed.
    pub fn subscribed(&self, topic: &str, lane: u64) {
        let mut shard = self.shard(topic).lock();
        let Some(entry) = shard.get_mut(topic).filter(|entry| entry.lane == lane) else { return };
        entry.is_live = true;
        let Entry { waiting, moving, .. } = entry;
        waiting.drain(..).chain(moving.drain(..)).for_each(|waiting| _ = waiting.send(true));
    }

    /// A topic was not subscribed. Wishes that were fulfilled before stay.
    pub fn refused(&self, topic: &str, lane: u64) {
        let mut shard = self.shard(topic).lock();
        let Some(entry) = shard.get_mut(topic).filter(|entry| entry.lane == lane) else { return };
        if !entry.fail() {
            shard.remove(topic);
        }
    }

    /// Nothing of a lane is subscribed any more.
    pub fn lane_lost(&self, lane: u64) {
        for shard in &self.shards {
            shard.lock().retain(|_, entry| entry.lane != lane || entry.fail());
        }
    }

    /// What is wanted from now on by this lane, out of what `is_of` says is its own.
    pub fn topics_of(&self, lane: u64, is_of: impl Fn(&str) -> bool) -> Vec<String> {
        let mut topics = Vec::new();
        for shard in &self.shards {
            for (topic, entry) in shard.lock().iter_mut().filter(|(topic, _)| is_of(topic)) {
                entry.lane = lane;
                entry.is_live = false;
                topics.push(topic.clone());
            }
        }
        topics
    }

    /// Moves what has another lane now to it; what moved to a lane that works is told.
    pub fn rehome(&self, lane_of: impl Fn(&str) -> Option<Arc<Lane>>) -> Vec<oneshot::Receiver<bool>> {
        let mut moved = Vec::new();
        for shard in &self.shards {
            for (topic, entry) in shard.lock().iter_mut() {
                let Some(lane) = lane_of(topic).filter(|lane| lane.id != entry.lane && lane.is_subscribed()) else {
                    continue;
                };
                entry.lane = lane.id;
                entry.is_live = false;
                let (told, tells) = oneshot::channel();
                entry.moving.push(told);
                lane.subscribe(Subscription { topic: topic.clone(), wanted: true });
                moved.push(tells);
            }
        }
        moved
    }

    /// The channel of a topic, if this node is subscribed to it. What it is told is noted.
    pub fn channel(&self, topic: &str) -> Option<(AppId, ChannelName)> {
        let shard = self.shard(topic).lock();
        shard.get(topic).map(|entry| (entry.app.clone(), entry.channel.clone()))
    }

    pub fn heard(&self, topic: &str, heard: Heard) {
        if let Some(entry) = self.shard(topic).lock().get_mut(topic) {
            entry.heard = Some(heard);
        }
    }

    pub fn last_heard(&self, topic: &str) -> Option<Heard> {
        self.shard(topic).lock().get(topic)?.heard.clone()
    }

    /// Whether what is published to a topic arrives here.
    pub fn is_live(&self, topic: &str) -> bool {
        self.shard(topic).lock().get(topic).is_some_and(|entry| entry.is_live)
    }
}

impl Entry {
    /// Those who wait are told that it failed, and whether anybody else wants it is said.
    fn fail(&mut self) -> bool {
        self.is_live = false;
        self.moving.clear();
        self.count = self.count.saturating_sub(self.waiting.len());
        self.waiting.drain(..).for_each(|waiting| _ = waiting.send(false));
        self.count > 0
    }
}
