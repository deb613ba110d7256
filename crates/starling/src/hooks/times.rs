//! How long hooks took to answer, and what came of it, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::HookEvent;

/// Upper bounds of the ranges that are counted, in seconds.
pub(crate) const BOUNDS: [f64; 13] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The act goes ahead.
    Allowed,
    /// The application refused it.
    Rejected,
    /// No usable answer came.
    Failed,
    /// It was not asked: the backend is left alone, or too many questions are under way.
    Skipped,
}

impl Asked {
    /// All of them, in the order of their places in the table.
    pub const ALL: [Self; 4] = [Self::Allowed, Self::Rejected, Self::Failed, Self::Skipped];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Skipped => "not_asked",
        }
    }
}

/// A histogram for each kind of hook and what came of it.
#[derive(Default)]
pub(crate) struct HookTimes([[Ranges; Asked::ALL.len()]; HookEvent::ALL.len()]);

#[derive(Default)]
struct Ranges {
    /// One for each bound, and one for what took longer.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl HookTimes {
    pub fn record(&self, hook: HookEvent, asked: Asked, took: Duration) {
        let ranges = &self.0[hook.index()][asked as usize];
        let seconds = took.as_secs_f64();
        let range = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        ranges.counts[range].fetch_add(1, Ordering::Relaxed);
        ranges.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The sum in seconds, and the counts by range, the unbounded one last.
    pub fn read(&self, hook: HookEvent, asked: Asked) -> (f64, [u64; BOUNDS.len() + 1]) {
        let ranges = &self.0[hook.index()][asked as usize];
        let counts = std::array::from_fn(|range| ranges.counts[range].load(Ordering::Relaxed));
        (ranges.nanos.load(Ordering::Relaxed) as f64 / 1e9, counts)
    }
}
