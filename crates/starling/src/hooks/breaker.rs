//! The circuit breaker: a backend that does not answer is left alone, and tried again with one question at a time.
//!
//! ```text
//!             so many failures in a row               the pause is over
//!   closed ─────────────────────────────► open ─────────────────────────► half-open: one probe is asked
//!      ▲                                   ▲                                        │
//!      │                                   └────────────── no answer ───────────────┤
//!      └───────────────────────────────── an answer ────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// See the module's documentation. Time is a parameter.
pub(super) struct Breaker {
    failures_to_open: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Questions in a row that the backend did not answer.
    failures: u32,
    /// When it may be tried again, while it is open.
    open_until: Option<Instant>,
    /// Whether a probe is under way.
    probing: bool,
}

/// Leave to ask one question. Dropped without a word of how it went, it changes nothing.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

/// What the outcome of a question changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The backend is left alone from now on.
    Opened,
    /// The backend is back.
    Closed,
}

impl Breaker {
    pub fn new(failures_to_open: u32, pause: Duration) -> Self {
        Self { failures_to_open: failures_to_open.max(1), pause, state: Mutex::default() }
    }

    /// Leave to ask at `now`; `None`: the backend is left alone.
    pub fn pass(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        let is_probe = match state.open_until {
            None => false,
            Some(until) if now < until || state.probing => return None,
            Some(_) => {
                state.probing = true;
                true
            }
        };
        Some(Pass { breaker: self, is_probe })
    }

    /// Whether the backend is left alone, or only probed.
    pub fn is_open(&self) -> bool {
        self.state.lock().open_until.is_some()
    }
}

impl Pass<'_> {
    /// The backend answered, whatever it said.
    pub fn answered(self) -> Change {
        let mut state = self.breaker.state.lock();
        state.failures = 0;
        // A late answer to an older question says the same as a probe's.
        match state.open_until.take() {
            Some(_) => Change::Closed,
            None => Change::None,
        }
    }

    /// It did not answer.
    pub fn unanswered(self, now: Instant) -> Change {
        let mut state = self.breaker.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.open_until.is_some() {
            // Questions from before it opened fail for a while; only a probe's failure begins a new pause.
            if self.is_probe {
                state.open_until = Some(now + self.breaker.pause);
            }
            return Change::None;
        }
        if state.failures < self.breaker.failures_to_open {
            return Change::None;
        }
        state.open_until = Some(now + self.breaker.pause);
        Change::Opened
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.state.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new(2, PAUSE);
        assert_eq!(breaker.pass(now).unwrap().unanswered(now), Change::None);
        assert_eq!(breaker.pass(now).unwrap().unanswered(now), Change::Opened);
        breaker
    }

    #[test]
    fn it_opens_only_after_failures_in_a_row() {
        let now = Instant::now();
        let breaker = Breaker::new(2, PAUSE);
        for _ in 0..3 {
            breaker.pass(now).unwrap().unanswered(now);
            assert_eq!(breaker.pass(now).unwrap().answered(), Change::None);
        }
        assert!(!breaker.is_open());
        assert!(opened(now).pass(now).is_none());
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(breaker.pass(now + PAUSE / 2).is_none());
        let later = now + PAUSE;
        let probe = breaker.pass(later).unwrap();
        assert!(breaker.pass(later).is_none(), "one at a time");
        assert_eq!(probe.unanswered(later), Change::None);
        assert!(breaker.pass(later).is_none(), "a new pause has begun");
        assert_eq!(breaker.pass(later + PAUSE).unwrap().answered(), Change::Closed);
        assert!(breaker.pass(later + PAUSE).is_some() && !breaker.is_open());
    }

    #[test]
    fn a_probe_that_nobody_waits_for_makes_room_for_the_next() {
        let now = Instant::now();
        let breaker = opened(now);
        drop(breaker.pass(now + PAUSE).unwrap());
        assert!(breaker.pass(now + PAUSE).is_some());
    }

    #[test]
    fn questions_from_before_do_not_prolong_the_pause() {
        let now = Instant::now();
        let breaker = Breaker::new(1, PAUSE);
        let (early, late) = (breaker.pass(now).unwrap(), breaker.pass(now).unwrap());
        assert_eq!(early.unanswered(now), Change::Opened);
        assert_eq!(late.unanswered(now + PAUSE), Change::None);
        assert!(breaker.pass(now + PAUSE).is_some());
    }
}
