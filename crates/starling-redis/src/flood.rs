//! Lines of the log that somebody else can cause at will: the first is written, the others are counted.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two lines.
const WINDOW: Duration = Duration::from_secs(10);

/// One kind of line.
#[derive(Default)]
pub(crate) struct Flood {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the last line was written, if that is less than a window ago.
    since: Option<Instant>,
    unwritten: u64,
}

impl Flood {
    /// Whether this one is written, with its details; otherwise it is counted.
    pub fn admits(&self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        if state.since.is_some() {
            state.unwritten += 1;
            return false;
        }
        state.since = Some(now);
        true
    }

    /// How many more there were, where that is to be written now. To be called often.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.since?) < WINDOW {
            return None;
        }
        let unwritten = std::mem::take(&mut state.unwritten);
        state.since = (unwritten > 0).then_some(now);
        (unwritten > 0).then_some(unwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_written_and_the_rest_is_counted() {
        let flood = Flood::default();
        let start = Instant::now();
        assert_eq!(flood.due_at(start), None);
        assert!(flood.admits_at(start));
        for _ in 0..1000 {
            assert!(!flood.admits_at(start + WINDOW / 2));
        }
        assert_eq!(flood.due_at(start + WINDOW / 2), None);
        assert_eq!(flood.due_at(start + WINDOW), Some(1000));
        assert!(!flood.admits_at(start + WINDOW), "a flood that goes on is only counted");
        assert_eq!(flood.due_at(start + WINDOW * 2), Some(1));
        assert_eq!(flood.due_at(start + WINDOW * 3), None, "over");
        assert!(flood.admits_at(start + WINDOW * 3), "the next one has its details again");
    }
}
