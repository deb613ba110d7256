//! An engine that is watched: its publishes are timed, for the metrics, and what it refuses is told, in the log. Clients
//! only hear that it is not available.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use starling_core::{
    Answer, AppId, ChannelName, Control, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, NodeId,
    Pending, Position, PresenceChange, PresenceSnapshot, Publication, Published, Query, Sink,
};

/// Upper bounds of the ranges that are counted, in seconds: from the memory engine to a broker in trouble.
pub(crate) const BOUNDS: [f64; 10] = [0.000_01, 0.000_1, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// What is refused is told at once, and then no more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How long things took.
#[derive(Default)]
pub(crate) struct Times {
    /// One for each bound, and one for what took longer.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Times {
    fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let range = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[range].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Counts by range, the unbounded one last.
    pub fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|range| self.counts[range].load(Ordering::Relaxed))
    }

    /// The sum of all, in seconds.
    pub fn sum(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// What the engine refused since that was last told.
#[derive(Default)]
struct Refusals {
    count: AtomicU64,
    told: Mutex<Option<Instant>>,
    /// Whether the last that was told is that it refuses.
    is_refusing: AtomicBool,
}

impl Refusals {
    fn refused(&self, act: &'static str, error: &EngineError) {
        let (EngineError::Unavailable(reason) | EngineError::TooLarge(reason)) = error else { return };
        self.count.fetch_add(1, Ordering::Relaxed);
        // Whoever does not get the lock would have nothing else to say.
        let Some(mut told) = self.told.try_lock() else { return };
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            let refused = self.count.swap(0, Ordering::Relaxed);
            self.is_refusing.store(true, Ordering::Relaxed);
            tracing::warn!(act, reason, refused, "the engine refuses what it is asked");
        }
    }

    fn published(&self) {
        if self.is_refusing.load(Ordering::Relaxed) && self.is_refusing.swap(false, Ordering::Relaxed) {
            let refused = self.count.swap(0, Ordering::Relaxed);
            tracing::info!(refused, "the engine takes messages again");
        }
    }
}

/// Passes everything on.
pub(crate) struct WatchedEngine {
    engine: Arc<dyn Engine>,
    times: Arc<Times>,
    refusals: Arc<Refusals>,
}

impl WatchedEngine {
    pub fn new(engine: Arc<dyn Engine>, times: Arc<Times>) -> Self {
        Self { engine, times, refusals: Arc::default() }
    }

    fn watch<T: Send + 'static>(
        &self,
        act: &'static str,
        answer: Pending<Result<T, EngineError>>,
    ) -> Pending<Result<T, EngineError>> {
        let refusals = self.refusals.clone();
        answer.map(move |answer| answer.inspect_err(|error| refusals.refused(act, error)))
    }
}

impl Engine for WatchedEngine {
    fn attach(&self, sink: Arc<dyn Sink>) {
        self.engine.attach(sink);
    }

    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        let start = Instant::now();
        let note = move |times: &Times, refusals: &Refusals, answer: &Result<Published, EngineError>| {
            times.record(start.elapsed());
            match answer {
                Ok(_) => refusals.published(),
                Err(error) => refusals.refused("publish", error),
            }
        };
        match self.engine.publish(publication) {
            Pending::Ready(answer) => {
                note(&self.times, &self.refusals, &answer);
                Pending::Ready(answer)
            }
            later => {
                let (times, refusals) = (self.times.clone(), self.refusals.clone());
                later.map(move |answer| {
                    note(&times, &refusals, &answer);
                    answer
                })
            }
        }
    }

    fn interest(&self, app: &AppId, channel: &ChannelName, wanted: bool) -> Pending<Result<(), EngineError>> {
        self.watch("subscribe", self.engine.interest(app, channel, wanted))
    }

    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Pending<Result<HistoryPage, EngineError>> {
        self.watch("history", self.engine.history(app, channel, policy, range, now))
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        self.watch("clear history", self.engine.clear_history(app, channel))
    }

    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>> {
        self.watch("presence", self.engine.presence(app, channel, change))
    }

    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>> {
        self.watch("members", self.engine.members(app, channel))
    }

    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>> {
        self.watch("order", self.engine.control(app, control))
    }

    fn survey(&self, app: &AppId, query: Query) -> Pending<Result<Vec<Answer>, EngineError>> {
        self.watch("question", self.engine.survey(app, query))
    }

    fn node(&self) -> &NodeId {
        self.engine.node()
    }

    fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Pending<Result<Bytes, EngineError>> {
        self.engine.relay(node, request, timeout)
    }

    fn claim(&self, name: &str, ttl: Duration) -> Pending<Result<bool, EngineError>> {
        self.watch("claim", self.engine.claim(name, ttl))
    }

    fn note(&self, name: &str, value: Bytes, ttl: Duration) -> Pending<Result<(), EngineError>> {
        self.watch("note", self.engine.note(name, value, ttl))
    }

    fn notes(&self, prefix: &str, take: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>> {
        self.watch("notes", self.engine.notes(prefix, take))
    }

    fn is_up(&self) -> bool {
        self.engine.is_up()
    }

    fn sweep(&self, now: u64) {
        self.engine.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_falls_into_the_smallest_range_that_holds_it() {
        let times = Times::default();
        for micros in [1, 10, 11, 1_000, 3_000_000] {
            times.record(Duration::from_micros(micros));
        }
        assert_eq!(times.counts(), [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((times.sum() - 3.001_022).abs() < 1e-9);
    }

    #[test]
    fn what_is_refused_is_told_once_and_that_it_is_over_once() {
        let refusals = Refusals::default();
        let away = EngineError::Unavailable("away".into());
        refusals.refused("publish", &EngineError::NoHistory);
        assert!(!refusals.is_refusing.load(Ordering::Relaxed), "that is no trouble of the engine");
        for _ in 0..3 {
            refusals.refused("publish", &away);
        }
        let is_refusing = || refusals.is_refusing.load(Ordering::Relaxed);
        assert!(is_refusing());
        assert_eq!(refusals.count.load(Ordering::Relaxed), 2, "those after the one that was told");
        refusals.published();
        assert!(!is_refusing());
        refusals.refused("publish", &away);
        assert!(!is_refusing(), "it was told a moment ago");
    }
}
