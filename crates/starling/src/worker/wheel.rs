//! One coarse timer wheel per worker: heartbeats, timeouts and token expiry of all its connections.

use starling_hub::Slot;

/// The wheel's resolution, in milliseconds.
pub(crate) const TICK_MS: u64 = 100;

/// How far ahead an entry can be: 51 seconds. What is due later is looked at then, and put off again.
const BUCKETS: usize = 512;

/// Connections by the tick at which they want to be looked at.
pub(crate) struct Wheel {
    buckets: Vec<Vec<(Slot, u32)>>,
    /// The first tick that was not handed out yet.
    next: u32,
    entries: usize,
}

impl Wheel {
    pub fn new(now: u32) -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), next: now, entries: 0 }
    }

    /// Has `slot` handed out at `tick`, or as far ahead as possible. Returns the tick at which it will be.
    pub fn schedule(&mut self, slot: Slot, tick: u32) -> u32 {
        let tick = tick.clamp(self.next, self.next + BUCKETS as u32 - 1);
        self.buckets[tick as usize % BUCKETS].push((slot, tick));
        self.entries += 1;
        tick
    }

    /// Hands out what is due at `now` or before, with the tick for which it was scheduled.
    pub fn due(&mut self, now: u32, into: &mut Vec<(Slot, u32)>) {
        if self.entries == 0 {
            self.next = self.next.max(now + 1);
            return;
        }
        while self.next <= now {
            let bucket = &mut self.buckets[self.next as usize % BUCKETS];
            self.entries -= bucket.len();
            into.append(bucket);
            if bucket.capacity() > 64 {
                *bucket = Vec::new();
            }
            self.next += 1;
        }
    }

    /// The tick of the next entry.
    pub fn next_due(&self) -> Option<u32> {
        if self.entries == 0 {
            return None;
        }
        (self.next..self.next + BUCKETS as u32).find(|tick| !self.buckets[*tick as usize % BUCKETS].is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: u32) -> Slot {
        Slot { index, generation: 1 }
    }

    #[test]
    fn entries_come_out_when_they_are_due() {
        let mut wheel = Wheel::new(10);
        wheel.schedule(slot(1), 12);
        wheel.schedule(slot(2), 5);
        assert_eq!(wheel.schedule(slot(3), 10_000), 10 + BUCKETS as u32 - 1, "as far ahead as possible");
        assert_eq!(wheel.next_due(), Some(10), "the past is now");
        let mut due = Vec::new();
        wheel.due(11, &mut due);
        assert_eq!(due, [(slot(2), 10)]);
        due.clear();
        wheel.due(600, &mut due);
        assert_eq!(due.iter().map(|(slot, _)| slot.index).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(wheel.next_due(), None);
    }
}
