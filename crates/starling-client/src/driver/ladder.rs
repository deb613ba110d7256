//! Which transport to use next. The same policy as the TypeScript client's.

use std::time::Duration;

use crate::transport::Transport;

/// Failures of a transport that never proved itself before another one is tried.
const PATIENCE_OPENING: u32 = 1;
/// The same for connections that open and are then cut before they prove stable.
const PATIENCE_CUT: u32 = 2;
/// Failures in a row of one that has proved itself: most likely the server is away.
const PATIENCE_PROVEN: u32 = 3;
/// The longest between two attempts to return to the best transport.
const UPGRADE_CAP: Duration = Duration::from_secs(600);

/// What became of a connection over a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It could not be opened.
    Opening,
    /// It was cut before it proved stable.
    Cut,
}

/// Transports from best to worst. Failures lead a rung down, from the last one back to the first; a connection that
/// stays is kept, and the best transport is tried beside it from time to time.
#[derive(Debug)]
pub(crate) struct Ladder {
    transports: Vec<Transport>,
    proven: Vec<bool>,
    rung: usize,
    /// On this rung, in a row.
    failures: u32,
    /// Rungs that were left since the last connection.
    left: usize,
    upgrade_after: Duration,
    upgrade_delay: Duration,
}

impl Ladder {
    /// On the first of these transports, of which there is at least one. `upgrade_after`: how long a fallback is used
    /// before the best transport is tried beside it; it doubles with each try.
    pub(crate) fn new(transports: Vec<Transport>, upgrade_after: Duration) -> Self {
        let proven = vec![false; transports.len()];
        Self { transports, proven, rung: 0, failures: 0, left: 0, upgrade_after, upgrade_delay: upgrade_after }
    }

    /// The transport to use.
    pub(crate) fn transport(&self) -> Transport {
        self.transports[self.rung]
    }

    /// The one to return to.
    pub(crate) fn best(&self) -> Transport {
        self.transports[0]
    }

    /// The path was at fault. Returns whether there is a transport that was not tried since the last connection.
    pub(crate) fn failed(&mut self, how: Failed) -> bool {
        self.failures += 1;
        let patience = match how {
            _ if self.proven[self.rung] => PATIENCE_PROVEN,
            Failed::Opening => PATIENCE_OPENING,
            Failed::Cut => PATIENCE_CUT,
        };
        if self.failures >= patience {
            self.move_to((self.rung + 1) % self.transports.len());
            self.left += 1;
        }
        self.left < self.transports.len()
    }

    /// There is a connection.
    pub(crate) fn connected(&mut self) {
        self.left = 0;
    }

    /// The present connection proved stable.
    pub(crate) fn stable(&mut self) {
        self.proven[self.rung] = true;
        self.failures = 0;
        if self.rung == 0 {
            self.upgrade_delay = self.upgrade_after;
        }
    }

    /// The best transport works again, as was proved beside the present one.
    pub(crate) fn returned(&mut self) {
        self.move_to(0);
    }

    /// How long to use the present transport before the best one is tried beside it; `None` on the best one.
    pub(crate) fn next_upgrade(&mut self) -> Option<Duration> {
        if self.rung == 0 {
            return None;
        }
        let delay = self.upgrade_delay;
        self.upgrade_delay = (delay * 2).min(UPGRADE_CAP.max(self.upgrade_after));
        Some(delay)
    }

    fn move_to(&mut self, rung: usize) {
        self.rung = rung;
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Poll, Sse, WebSocket};

    fn ladder() -> Ladder {
        Ladder::new(Transport::ALL.to_vec(), Duration::from_secs(15))
    }

    #[test]
    fn what_cannot_be_opened_is_followed_by_the_next_and_the_last_by_the_first() {
        let mut ladder = ladder();
        let tried: Vec<_> = (0..4).map(|_| (ladder.transport(), ladder.failed(Failed::Opening))).collect();
        assert_eq!(tried, [(WebSocket, true), (Sse, true), (Poll, false), (WebSocket, false)]);
        let mut alone = Ladder::new(vec![WebSocket], Duration::from_secs(15));
        assert!(!alone.failed(Failed::Opening));
        assert_eq!(alone.transport(), WebSocket);
    }

    #[test]
    fn what_opens_and_is_cut_has_a_second_chance() {
        let mut ladder = ladder();
        ladder.connected();
        ladder.failed(Failed::Cut);
        assert_eq!(ladder.transport(), WebSocket);
        ladder.failed(Failed::Cut);
        assert_eq!(ladder.transport(), Sse);
    }

    #[test]
    fn what_has_proved_itself_is_tried_more_often() {
        let mut ladder = ladder();
        ladder.connected();
        ladder.stable();
        for _ in 0..2 {
            ladder.failed(Failed::Opening);
            assert_eq!(ladder.transport(), WebSocket);
        }
        ladder.failed(Failed::Opening);
        assert_eq!(ladder.transport(), Sse);
    }

    #[test]
    fn the_way_back_is_tried_ever_more_rarely_until_it_lasts() {
        let mut ladder = ladder();
        assert_eq!(ladder.next_upgrade(), None);
        ladder.failed(Failed::Opening);
        let seconds: Vec<_> = (0..8).map(|_| ladder.next_upgrade().unwrap().as_secs()).collect();
        assert_eq!(seconds, [15, 30, 60, 120, 240, 480, 600, 600]);
        ladder.stable();
        assert_eq!(ladder.next_upgrade().unwrap().as_secs(), 600, "another transport than the best");
        ladder.returned();
        assert_eq!((ladder.transport(), ladder.next_upgrade()), (WebSocket, None));
        ladder.stable();
        assert!(ladder.failed(Failed::Cut));
        (0..2).for_each(|_| assert!(ladder.failed(Failed::Cut)));
        assert_eq!((ladder.transport(), ladder.next_upgrade().unwrap().as_secs()), (Sse, 15));
    }
}
