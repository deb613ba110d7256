//! Requests and their answers, over any number of connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use starling_core::RawJson;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::wire::Answer;

/// Requests that may await an answer on a connection at once. Below the server's default of 50 refusals in a row before
/// it closes, so that a client which meets a rate limit can slow down.
const WINDOW: usize = 32;
/// How long nothing is sent after the server refused a request because of its rate.
const RATE_PAUSE: Duration = Duration::from_millis(500);

pub(super) type Done = oneshot::Sender<Result<Answer, Error>>;

/// What is asked of the server.
#[derive(Debug)]
pub(super) enum Kind {
    /// Written when it is sent, from where the subscription then stands. Asked anew on the next connection.
    Subscribe(String),
    /// With the connection its cause is gone.
    Unsubscribe { channel: String, done: Option<Done> },
    /// Sent again after a lost connection, until it is answered.
    Again { bytes: Bytes, effect: Effect, done: Option<Done> },
    /// Sent once: who asked is told when the connection was lost meanwhile.
    Once { bytes: Bytes, done: Done },
}

/// What else an answer means.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    None,
    /// A message without echo to this channel was taken.
    Silent {
        channel: String,
    },
    /// This connection is in the presence of the channel, with this data if it gave some.
    Entered {
        channel: String,
        data: Option<RawJson>,
    },
}

/// A request that is over.
#[derive(Debug)]
pub(super) enum Over {
    Subscribe(String),
    Unsubscribe(String),
    /// Any other, or none that is known.
    Other(Effect),
}

struct Request {
    kind: Kind,
    is_sent: bool,
}

/// All that awaits an answer, in the order in which it was asked.
pub(super) struct Requests {
    is_connected: bool,
    all: BTreeMap<u64, Request>,
    /// To be sent. Subscriptions go first, because what follows may depend on them.
    urgent: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
    in_flight: usize,
    /// How many may be in flight: fewer after the server complained of the rate.
    window: usize,
    paused_until: Option<Instant>,
    next: u64,
    max_pending: usize,
}

impl Requests {
    /// `max_pending`: requests of the application that may await their answer.
    pub(super) fn new(max_pending: usize) -> Self {
        Self {
            is_connected: false,
            all: BTreeMap::new(),
            urgent: BTreeSet::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            window: WINDOW,
            paused_until: None,
            next: 1,
            max_pending,
        }
    }

    /// The number that the next request will have.
    pub(super) fn next_id(&self) -> u64 {
        self.next
    }

    /// Whether another request of the application is one too many. Those that nobody waits for any more are forgotten.
    pub(super) fn is_full(&mut self) -> bool {
        if self.all.len() < self.max_pending {
            return false;
        }
        self.all.retain(|_, request| request.is_sent || !request.kind.is_abandoned());
        self.all.values().filter(|request| request.kind.is_counted()).count() >= self.max_pending
    }

    /// Messages without echo to a channel that await their acknowledgement.
    pub(super) fn unacknowledged_silent(&self, channel: &str) -> u64 {
        let is_such = |request: &&Request| matches!(&request.kind, Kind::Again { effect: Effect::Silent { channel: to }, .. } if to == channel);
        self.all.values().filter(is_such).count() as u64
    }

    /// Adds a request, to be sent as soon as may be, and returns its number.
    pub(super) fn add(&mut self, kind: Kind) -> u64 {
        let id = self.next;
        self.next += 1;
        self.queue_of(&kind).insert(id);
        self.all.insert(id, Request { kind, is_sent: false });
        id
    }

    fn queue_of(&mut self, kind: &Kind) -> &mut BTreeSet<u64> {
        if matches!(kind, Kind::Subscribe(_)) { &mut self.urgent } else { &mut self.waiting }
    }

    /// There is a connection.
    pub(super) fn connected(&mut self) {
        self.is_connected = true;
        self.window = WINDOW;
    }

    /// It is gone. What was sent waits again, fails with `reason`, or is moot.
    pub(super) fn lost(&mut self, reason: &Error) {
        self.is_connected = false;
        self.in_flight = 0;
        self.paused_until = None;
        self.urgent.clear();
        self.waiting.clear();
        for (id, mut request) in std::mem::take(&mut self.all) {
            match request.kind {
                Kind::Subscribe(_) => {}
                Kind::Unsubscribe { done, .. } => {
                    // What was asked for has come true.
                    if let Some(done) = done {
                        let _ = done.send(Ok(Answer::default()));
                    }
                }
                Kind::Once { done, .. } if request.is_sent => {
                    let _ = done.send(Err(reason.clone()));
                }
                _ if request.kind.is_abandoned() => {}
                _ => {
                    request.is_sent = false;
                    self.waiting.insert(id);
                    self.all.insert(id, request);
                }
            }
        }
    }

    /// Gives up on what was sent and not answered, because sending it again would do the same again.
    pub(super) fn fail_sent(&mut self, reason: &Error) {
        let sent: Vec<u64> = self.all.iter().filter(|(_, request)| request.is_sent).map(|(id, _)| *id).collect();
        for request in sent.into_iter().filter_map(|id| self.all.remove(&id)) {
            request.kind.fail(reason);
        }
    }

    /// Nothing will follow: everyone who waits is told why.
    pub(super) fn end(&mut self, reason: &Error) {
        self.urgent.clear();
        self.waiting.clear();
        for request in std::mem::take(&mut self.all).into_values() {
            request.kind.fail(reason);
        }
    }

    /// The next request that may be sent now, which thereby counts as sent unless it is [`moot`](Self::moot).
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, &Kind)> {
        if !self.is_connected || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        while self.in_flight < self.window {
            let id = self.urgent.pop_first().or_else(|| self.waiting.pop_first())?;
            match self.all.get_mut(&id) {
                Some(request) if !request.kind.is_abandoned() => {
                    request.is_sent = true;
                    self.in_flight += 1;
                    return Some((id, &self.all[&id].kind));
                }
                _ => {
                    self.all.remove(&id);
                }
            }
        }
        None
    }

    /// A request that turned out to be needless when it was to be sent.
    pub(super) fn moot(&mut self, id: u64) {
        if self.all.remove(&id).is_some_and(|request| request.is_sent) {
            self.in_flight -= 1;
        }
    }

    /// The answer to a request. One to an unknown number is to a request that was given up.
    pub(super) fn answered(&mut self, id: u64, answer: &mut Answer) -> Over {
        let Some(request) = self.take_sent(id) else { return Over::Other(Effect::None) };
        self.window = WINDOW.min(self.window + 1);
        match request.kind {
            Kind::Subscribe(channel) => Over::Subscribe(channel),
            Kind::Unsubscribe { channel, done } => {
                if let Some(done) = done {
                    let _ = done.send(Ok(Answer::default()));
                }
                Over::Unsubscribe(channel)
            }
            Kind::Again { effect, done, .. } => {
                let position = answer.position.clone();
                if let Some(done) = done {
                    let _ = done.send(Ok(std::mem::take(answer)));
                }
                answer.position = position;
                Over::Other(effect)
            }
            Kind::Once { done, .. } => {
                let _ = done.send(Ok(std::mem::take(answer)));
                Over::Other(Effect::None)
            }
        }
    }

    /// The refusal of a request, which is over unless only its rate was refused.
    pub(super) fn refused(&mut self, id: u64, error: Error, is_rate: bool, now: Instant) -> Over {
        if is_rate {
            self.slow_down(id, now);
            return Over::Other(Effect::None);
        }
        let Some(Request { kind, .. }) = self.take_sent(id) else { return Over::Other(Effect::None) };
        match kind {
            Kind::Subscribe(channel) => Over::Subscribe(channel),
            Kind::Unsubscribe { channel, done } => {
                if let Some(done) = done {
                    let _ = done.send(Err(error));
                }
                Over::Unsubscribe(channel)
            }
            kind => {
                kind.fail(&error);
                Over::Other(Effect::None)
            }
        }
    }

    fn take_sent(&mut self, id: u64) -> Option<Request> {
        self.all.get(&id).filter(|request| request.is_sent)?;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.all.remove(&id)
    }

    /// Sends a request again that came too fast, a little later and with fewer beside it.
    fn slow_down(&mut self, id: u64, now: Instant) {
        self.paused_until = Some(now + RATE_PAUSE);
        self.window = (self.window / 2).max(1);
        let Some(request) = self.all.get_mut(&id).filter(|request| request.is_sent) else { return };
        request.is_sent = false;
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_subscribe = matches!(request.kind, Kind::Subscribe(_));
        if is_subscribe { &mut self.urgent } else { &mut self.waiting }.insert(id);
    }

    /// Ends a pause whose time has come.
    pub(super) fn tick(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| now < *until);
    }

    /// When [`next`](Self::next) may have something again, after a pause.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Whether a request is on its way that would be lost with the connection.
    pub(super) fn awaits_once(&self) -> bool {
        self.all.values().any(|request| request.is_sent && matches!(request.kind, Kind::Once { .. }))
    }

    /// Whether no request of the application awaits its answer, and nothing waits to be sent.
    pub(super) fn is_settled(&self) -> bool {
        self.urgent.is_empty() && self.waiting.is_empty() && !self.all.values().any(|request| request.kind.is_counted())
    }
}

impl Kind {
    /// Whether the application waits for the answer.
    fn is_counted(&self) -> bool {
        matches!(self, Self::Again { done: Some(_), .. } | Self::Once { .. })
    }

    /// Whether it did, and does no longer.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Again { done: Some(done), .. } | Self::Once { done, .. } => done.is_closed(),
            // Leaving is done also when nobody waits for it.
            Self::Again { done: None, .. } | Self::Subscribe(_) | Self::Unsubscribe { .. } => false,
        }
    }

    fn fail(self, reason: &Error) {
        let done = match self {
            Self::Subscribe(_) => None,
            Self::Unsubscribe { done, .. } | Self::Again { done, .. } => done,
            Self::Once { done, .. } => Some(done),
        };
        if let Some(done) = done {
            let _ = done.send(Err(reason.clone()));
        }
    }
}
