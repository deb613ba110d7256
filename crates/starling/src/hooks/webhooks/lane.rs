//! A lane: events that are delivered one batch after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{ChannelName, Pending};
use tokio::sync::{Notify, watch};

use super::{Event, What};
use crate::shared::unix_ms;

/// Something that waits in a lane.
pub(super) enum Item {
    Event(Arc<Event>),
    /// Told only if other nodes say so; what they say is not known yet.
    IfSettled(Arc<Event>, watch::Receiver<Option<bool>>),
    /// The number of a channel's members, as it is when its turn comes.
    Count(ChannelName),
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Lane {
    state: Mutex<State>,
    /// There is enough for a whole batch.
    pub full: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Item, usize)>,
    /// The latest number of members of each channel that has a [`Item::Count`] in the queue.
    counts: HashMap<ChannelName, Count>,
    /// Whether a task delivers.
    is_running: bool,
}

/// Members of a channel: here, and on other nodes.
pub(super) struct Count {
    pub here: u64,
    pub elsewhere: Pending<u64>,
}

/// What is delivered together.
#[derive(Default)]
pub(super) struct Batch {
    pub events: Vec<Arc<Event>>,
    /// Places in the queue that it gives back once it is dealt with.
    pub items: usize,
    /// Bytes that it gives back.
    pub bytes: usize,
}

impl Lane {
    /// Adds an item of a size. Says whether a task must be started to deliver it.
    #[must_use]
    pub fn push(&self, item: Item, size: usize, enough: usize) -> bool {
        let mut state = self.state.lock();
        state.queue.push_back((item, size));
        if state.queue.len() == enough {
            self.full.notify_one();
        }
        !std::mem::replace(&mut state.is_running, true)
    }

    /// Replaces the number of a channel's members if one waits already; otherwise gives it back.
    pub fn replace_count(&self, channel: &ChannelName, count: Count) -> Option<Count> {
        match self.state.lock().counts.get_mut(channel) {
            Some(waiting) => {
                *waiting = count;
                None
            }
            None => Some(count),
        }
    }

    /// Notes the number of members that an [`Item::Count`], which is pushed next, stands for.
    pub fn note_count(&self, channel: ChannelName, count: Count) {
        self.state.lock().counts.insert(channel, count);
    }

    /// Whether there is enough for a whole batch.
    pub fn has(&self, enough: usize) -> bool {
        self.state.lock().queue.len() >= enough
    }

    /// The next batch; `None` when nothing waits, after which the task ends and the next push starts another.
    pub async fn take(&self, max_events: usize, max_bytes: usize) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.items < max_events {
            let room = if batch.items == 0 { usize::MAX } else { max_bytes.saturating_sub(batch.bytes) };
            let Some((told, size)) = self.next(room, batch.items == 0) else { break };
            batch.items += 1;
            batch.bytes += size;
            batch.events.extend(told.settled().await);
        }
        (batch.items > 0).then_some(batch)
    }

    fn next(&self, room: usize, ends: bool) -> Option<(Told, usize)> {
        let mut state = self.state.lock();
        if state.queue.front().is_none_or(|(_, size)| *size > room) {
            if ends {
                state.is_running = false;
                state.queue = VecDeque::new();
                // Not emptied: a count may be noted whose item is pushed next.
                state.counts.shrink_to_fit();
            }
            return None;
        }
        let (item, size) = state.queue.pop_front()?;
        let told = match item {
            Item::Event(event) => Told::Known(event),
            Item::IfSettled(event, settled) => Told::IfSettled(event, settled),
            Item::Count(channel) => match state.counts.remove(&channel) {
                Some(count) => Told::Count(channel, count),
                None => Told::Nothing,
            },
        };
        Some((told, size))
    }
}

/// What is told of an item, once it is known.
enum Told {
    Known(Arc<Event>),
    IfSettled(Arc<Event>, watch::Receiver<Option<bool>>),
    Count(ChannelName, Count),
    Nothing,
}

impl Told {
    async fn settled(self) -> Option<Arc<Event>> {
        match self {
            Self::Known(event) => Some(event),
            Self::Nothing => None,
            Self::IfSettled(event, mut settled) => {
                // Whoever asked is gone only with the whole runtime.
                let is_told = settled.wait_for(Option::is_some).await.is_ok_and(|told| *told == Some(true));
                is_told.then_some(event)
            }
            Self::Count(channel, Count { here, elsewhere }) => {
                let count = here + elsewhere.wait().await;
                Some(Arc::new(Event { ts: unix_ms(), what: What::SubscriptionCount { channel, count } }))
            }
        }
    }
}
