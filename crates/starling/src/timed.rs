//! An engine whose publishes are timed, for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_core::{
    Answer, AppId, ChannelName, Control, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, NodeId,
    Pending, Position, PresenceChange, PresenceSnapshot, Publication, Published, Query, Sink,
};

/// Upper bounds of the ranges that are counted, in seconds: from the memory engine to a broker in trouble.
pub(crate) const BOUNDS: [f64; 10] = [0.000_01, 0.000_1, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

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

/// Passes everything on, and times publishes.
pub(crate) struct TimedEngine {
    pub engine: Arc<dyn Engine>,
    pub times: Arc<Times>,
}

impl Engine for TimedEngine {
    fn attach(&self, sink: Arc<dyn Sink>) {
        self.engine.attach(sink);
    }

    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        let start = Instant::now();
        match self.engine.publish(publication) {
            Pending::Ready(result) => {
                self.times.record(start.elapsed());
                Pending::Ready(result)
            }
            later => {
                let times = self.times.clone();
                later.map(move |result| {
                    times.record(start.elapsed());
                    result
                })
            }
        }
    }

    fn interest(&self, app: &AppId, channel: &ChannelName, wanted: bool) -> Pending<Result<(), EngineError>> {
        self.engine.interest(app, channel, wanted)
    }

    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Pending<Result<HistoryPage, EngineError>> {
        self.engine.history(app, channel, policy, range, now)
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        self.engine.clear_history(app, channel)
    }

    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>> {
        self.engine.presence(app, channel, change)
    }

    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>> {
        self.engine.members(app, channel)
    }

    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>> {
        self.engine.control(app, control)
    }

    fn survey(&self, app: &AppId, query: Query) -> Pending<Result<Vec<Answer>, EngineError>> {
        self.engine.survey(app, query)
    }

    fn node(&self) -> &NodeId {
        self.engine.node()
    }

    fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Pending<Result<Bytes, EngineError>> {
        self.engine.relay(node, request, timeout)
    }

    fn claim(&self, name: &str, ttl: Duration) -> Pending<Result<bool, EngineError>> {
        self.engine.claim(name, ttl)
    }

    fn note(&self, name: &str, value: Bytes, ttl: Duration) -> Pending<Result<(), EngineError>> {
        self.engine.note(name, value, ttl)
    }

    fn notes(&self, prefix: &str, take: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>> {
        self.engine.notes(prefix, take)
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
}
