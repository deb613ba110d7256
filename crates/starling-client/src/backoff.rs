//! How long to wait before connecting again.

use std::time::Duration;

/// Exponential backoff with full jitter: a random delay between nothing and a ceiling that doubles with each failure.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// The next delay. `random` is uniform over all numbers.
    pub(crate) fn delay(&mut self, random: u32) -> Duration {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let ceiling = self.base.saturating_mul(doubled).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// As if so many attempts had failed, at least.
    pub(crate) fn skip(&mut self, failures: u32) {
        self.failures = self.failures.max(failures);
    }

    /// The longest that a delay can be.
    pub(crate) fn cap(&self) -> Duration {
        self.cap
    }

    /// Starts over, after a connection that has proven to be stable.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random number, to spread clients that all lost their server at the same moment.
pub(crate) fn random() -> u32 {
    // Without a source of random numbers all clients wait for the longest: slow, but nothing worse.
    getrandom::u32().unwrap_or(u32::MAX)
}

/// A random part of `within`.
pub(crate) fn spread(within: Duration) -> Duration {
    within.mul_f64(f64::from(random()) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_starts_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(500), ms(30_000));
        let ceilings: Vec<_> = (0..8).map(|_| backoff.delay(u32::MAX)).collect();
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        assert_eq!(ceilings, expected.map(ms));
        for _ in 0..100 {
            assert_eq!(backoff.delay(u32::MAX), ms(30_000));
        }
        backoff.reset();
        backoff.skip(2);
        assert_eq!(backoff.delay(u32::MAX), ms(2000));
        backoff.reset();
        assert_eq!(backoff.delay(u32::MAX), ms(500));
        assert_eq!(backoff.delay(0), ms(0), "the jitter is full");
    }
}
