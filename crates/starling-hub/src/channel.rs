//! One worker's part of one channel.

use std::sync::Arc;
use std::time::Duration;

use starling_core::{Delivery, HistoryPolicy, Position, PresenceEvent, Rule};

use crate::broadcast::Broadcast;
use crate::counters::AppCounters;
use crate::interest::ChannelKey;

/// Its members on this worker, and what arrived for them in this turn.
///
/// Members of a channel with a log are either *live*: they have everything up to `cursor`; or *catching up*: they read
/// the log on their own, and go live when what they read meets the cursor.
pub(crate) struct Channel {
    pub key: ChannelKey,
    /// Tells it from all others that the worker has had.
    pub number: u32,
    /// What the channel keeps; none when it is used without a rule (a user channel).
    pub rule: Option<Arc<Rule>>,
    pub counters: Arc<AppCounters>,
    /// Connections, by their place in the table.
    pub live: Vec<u32>,
    pub catching: Vec<Catching>,
    pub watchers: Vec<Watcher>,
    /// Members that are not confirmed yet: they keep the channel from being given up.
    pub joining: u32,
    /// The last message that live members have. None until the head of the log is known.
    pub cursor: Option<Position>,
    pub incoming: Vec<Arc<Broadcast>>,
    pub presence: Vec<Arc<PresenceEvent>>,
    /// What happened since a watcher began to wait for its state.
    pub presence_since: Vec<Arc<PresenceEvent>>,
    /// Whether it is in the list of channels to look at in this turn.
    pub touched: bool,
    /// How often the engine was told that this worker wants the channel.
    pub wishes: u32,
    /// The number of the read, while the log is read for all live members: until then no message that arrives is looked
    /// at.
    pub refilling: Option<u64>,
    /// Since when nobody needs it, in microseconds of the worker's clock.
    pub vacant_since: Option<u64>,
}

/// A member that reads the log.
#[derive(Debug)]
pub(crate) struct Catching {
    pub connection: u32,
    /// Up to where it has everything.
    pub position: Position,
    pub step: Step,
}

/// What a member that reads the log waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// For the page of the log that is read under this number.
    Page(u64),
    /// For its socket to drain.
    Socket,
    /// For the live members to arrive where it is.
    Cursor,
}

/// A member that follows presence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watcher {
    pub connection: u32,
    /// Events up to this version are in the state that it was given; `None`: it waits for that state.
    pub since: Option<u64>,
}

impl Channel {
    pub fn new(key: ChannelKey, rule: Option<Arc<Rule>>, counters: Arc<AppCounters>) -> Self {
        Self {
            key,
            number: 0,
            rule,
            counters,
            live: Vec::new(),
            catching: Vec::new(),
            watchers: Vec::new(),
            joining: 0,
            cursor: None,
            incoming: Vec::new(),
            presence: Vec::new(),
            presence_since: Vec::new(),
            touched: false,
            wishes: 0,
            refilling: None,
            vacant_since: None,
        }
    }

    pub fn history(&self) -> Option<HistoryPolicy> {
        self.rule.as_ref().and_then(|rule| rule.history)
    }

    pub fn delivery(&self) -> Delivery {
        self.rule.as_ref().map_or(Delivery::Drop, |rule| rule.delivery)
    }

    pub fn has_presence(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.presence.is_some())
    }

    /// How long its members stay present after their connection was lost, if at all.
    pub fn grace(&self) -> Option<Duration> {
        let presence = self.rule.as_ref().and_then(|rule| rule.presence)?;
        (!presence.grace.is_zero()).then_some(presence.grace)
    }

    /// Confirmed members.
    pub fn members(&self) -> impl Iterator<Item = u32> {
        self.live.iter().copied().chain(self.catching.iter().map(|catching| catching.connection))
    }

    pub fn member_count(&self) -> usize {
        self.live.len() + self.catching.len()
    }

    pub fn is_vacant(&self) -> bool {
        self.live.is_empty() && self.catching.is_empty() && self.joining == 0
    }
}
