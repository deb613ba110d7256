//! One subscription: how far it has come, and what its subscriber is told.

use starling_core::{Position, RawJson, Refusal};
use starling_proto::native::Encoding;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::log::Log;
use crate::error::Error;
use crate::presence::{LiveMembers, Members};
use crate::subscription::{Item, SubscribeOptions};
use crate::wire::{Answer, Fields};

/// Distinguishes successive subscriptions to one channel.
pub(crate) type MemberId = u64;

/// A subscription that the server agreed to.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: MemberId,
    pub(crate) items: mpsc::Receiver<Item>,
    pub(crate) members: watch::Receiver<Members>,
    /// Where the log stood.
    pub(crate) position: Option<Position>,
}

pub(crate) type Opening = oneshot::Sender<Result<Opened, Error>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection.
    Offline,
    /// Waits until the server has agreed that an earlier subscription to the channel is over.
    Behind,
    /// Asked with this request. What comes before the answer belongs to an earlier subscription.
    Asked(u64),
    Live,
    /// To be asked again then.
    Retry(Instant),
}

pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) items: mpsc::Sender<Item>,
    pub(super) stage: Stage,
    pub(super) log: Log,
    /// Messages to begin with, until the first one has come.
    rewind: u32,
    wants_presence: bool,
    members: LiveMembers,
    /// What was entered into presence, to be entered again; the inner none is the token's `info`.
    own: Option<Option<RawJson>>,
    /// Until the first agreement of the server.
    waiting: Option<(Opening, mpsc::Receiver<Item>, watch::Receiver<Members>)>,
}

impl Member {
    /// `queue`: items that may wait for the subscriber.
    pub(super) fn new(id: MemberId, options: SubscribeOptions, queue: usize, opening: Opening) -> Self {
        let (items, received) = mpsc::channel(queue);
        let (members, watched) = LiveMembers::new();
        let mut log = Log::default();
        let rewind = if options.since.is_some() { 0 } else { options.rewind };
        log.start(options.since, 0);
        Self {
            id,
            items,
            stage: Stage::Offline,
            log,
            rewind,
            wants_presence: options.presence,
            members,
            own: options.enter.map(Some),
            waiting: Some((opening, received, watched)),
        }
    }

    /// Whether nobody waits for it or listens to it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.waiting.as_ref().map_or_else(|| self.items.is_closed(), |(opening, ..)| opening.is_closed())
    }

    pub(super) fn write(&self, id: u64, channel: &str, encoding: Encoding) -> bytes::Bytes {
        let recover = self.log.position().map(Into::into);
        let fields = Fields {
            id: Some(id),
            channel: Some(channel),
            rewind: (self.rewind > 0 && recover.is_none()).then_some(self.rewind),
            recover,
            presence: self.wants_presence.then_some(true),
            ..Fields::new("subscribe")
        };
        fields.data(self.own.as_ref().and_then(Option::as_ref)).write(encoding)
    }

    /// The server agreed; what the subscriber is told of it is in `items`. `false`: nobody wanted it any more.
    pub(super) fn agreed(&mut self, answer: Answer, items: &mut Vec<Item>) -> bool {
        self.stage = Stage::Live;
        let was_asked = self.log.position().is_some();
        let is_first = self.waiting.is_none();
        let recovered = was_asked && answer.recovered == Some(true);
        if !recovered {
            // Another log, or another place in it. With a rewind, the messages before this place are yet to come.
            self.log.start(answer.position.clone(), if was_asked { 0 } else { self.rewind });
        }
        if was_asked || is_first {
            items.push(Item::Recovered(recovered));
        }
        match self.waiting.take() {
            Some((opening, items, members)) => {
                let position = self.log.position().cloned();
                opening.send(Ok(Opened { id: self.id, items, members, position })).is_ok()
            }
            None => true,
        }
    }

    /// The server did not agree, and whoever waited is told so. `false`: nobody waited.
    pub(super) fn refused(&mut self, refusal: &Refusal) -> bool {
        match self.waiting.take() {
            Some((opening, ..)) => {
                let _ = opening.send(Err(Error::Refused(refusal.clone())));
                true
            }
            None => false,
        }
    }

    /// A message has come: nothing is rewound to any more.
    pub(super) fn begun(&mut self) {
        self.rewind = 0;
    }

    pub(super) fn members(&self) -> &LiveMembers {
        &self.members
    }

    /// This connection was entered, or left, at the wish of the application.
    pub(super) fn own(&mut self, own: Option<Option<RawJson>>) {
        self.own = own;
    }

    /// Whether it has to be entered again with a request of its own, because a subscription can only name data.
    pub(super) fn enters_as_user(&self) -> bool {
        matches!(self.own, Some(None))
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        self.stage = Stage::Offline;
        self.members.pause();
    }

    /// The client ends.
    pub(super) fn end(self, reason: &Error) {
        if let Some((opening, ..)) = self.waiting {
            let _ = opening.send(Err(reason.clone()));
        }
    }
}
