//! The log of one channel, and the message ids that its publishers chose.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use starling_core::{Epoch, HistoryPage, HistoryPolicy, HistoryRange, Message, MessageId, Position, Published};

/// Messages by offset, bounded by size and age.
pub(super) struct Log {
    epoch: Epoch,
    /// Without holes: the last one has offset `top`.
    messages: VecDeque<Arc<Message>>,
    top: u64,
    policy: HistoryPolicy,
    /// When it was last published to or read, in Unix milliseconds.
    used: u64,
}

impl Log {
    pub fn create() -> Box<Self> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).expect("the system has random numbers");
        let epoch = random.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Box::new(Self {
            epoch: Epoch::new(epoch),
            messages: VecDeque::new(),
            top: 0,
            policy: HistoryPolicy { size: 1, ttl: std::time::Duration::ZERO },
            used: 0,
        })
    }

    /// An empty log in the place of another, that is forgotten no sooner than that one.
    pub fn create_after(before: Option<&Self>) -> Box<Self> {
        let mut log = Self::create();
        if let Some(before) = before {
            log.policy = before.policy;
            log.used = before.used;
        }
        log
    }

    pub fn head(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.top }
    }

    /// The position of the message that [`Log::append`] takes next.
    pub fn assign(&mut self, policy: HistoryPolicy) -> Position {
        self.policy = policy;
        Position { epoch: self.epoch.clone(), offset: self.top + 1 }
    }

    pub fn append(&mut self, message: Arc<Message>) {
        self.top += 1;
        let now = message.ts;
        self.messages.push_back(message);
        self.trim(now);
    }

    /// Notes that somebody needs the log, kept by this policy.
    pub fn keep(&mut self, policy: HistoryPolicy, now: u64) {
        self.policy = policy;
        self.trim(now);
    }

    fn trim(&mut self, now: u64) {
        self.used = self.used.max(now);
        while self.messages.len() > self.policy.size {
            self.messages.pop_front();
        }
        let ttl = self.policy.ttl.as_millis() as u64;
        while self.messages.front().is_some_and(|oldest| oldest.ts.saturating_add(ttl) <= now) {
            self.messages.pop_front();
        }
        if self.messages.capacity() > 64 && self.messages.len() < self.messages.capacity() / 4 {
            self.messages.shrink_to(self.messages.len() * 2);
        }
    }

    /// Drops what is too old, and says whether the log itself may be forgotten: empty, and unused for its ttl.
    pub fn expire(&mut self, now: u64) -> bool {
        let used = self.used;
        self.trim(now);
        self.used = used;
        self.messages.is_empty() && used.saturating_add(self.policy.ttl.as_millis() as u64) <= now
    }

    pub fn page(&self, range: HistoryRange) -> HistoryPage {
        let oldest = self.top + 1 - self.messages.len() as u64;
        let first = range.after.map_or(oldest, |after| after.saturating_add(1).max(oldest));
        let end = range.before.map_or(self.top + 1, |before| before.min(self.top + 1));
        let available = end.saturating_sub(first) as usize;
        let count = available.min(range.limit);
        let start = if range.after.is_some() { first } else { end.saturating_sub(count as u64) };
        let skip = start.saturating_sub(oldest) as usize;
        let messages = self.messages.iter().skip(skip).take(count).cloned().collect();
        HistoryPage { messages, head: self.head(), oldest }
    }
}

/// How many of a channel's message ids are remembered at most; the oldest go first.
const RECENT: usize = 100_000;

/// Message ids that publishers chose, with the answers they got.
#[derive(Default)]
pub(super) struct Recent {
    answers: HashMap<MessageId, (Published, u64), RandomState>,
    order: VecDeque<(MessageId, u64)>,
}

impl Recent {
    pub fn get(&self, id: &MessageId, now: u64) -> Option<Published> {
        self.answers.get(id).filter(|(_, until)| *until > now).map(|(published, _)| published.clone())
    }

    pub fn insert(&mut self, published: Published, until: u64, now: u64) {
        self.expire(now);
        if self.order.len() >= RECENT {
            self.forget_oldest();
        }
        self.order.push_back((published.id.clone(), until));
        self.answers.insert(published.id.clone(), (published, until));
    }

    fn forget_oldest(&mut self) {
        if let Some((id, until)) = self.order.pop_front()
            && self.answers.get(&id).is_some_and(|(_, latest)| *latest == until)
        {
            self.answers.remove(&id);
        }
    }

    /// Drops what is too old, and says whether nothing is left.
    pub fn expire(&mut self, now: u64) -> bool {
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            self.forget_oldest();
        }
        if self.order.capacity() > 64 && self.order.len() < self.order.capacity() / 4 {
            self.order.shrink_to(self.order.len() * 2);
            self.answers.shrink_to(self.order.len() * 2);
        }
        self.order.is_empty()
    }
}
