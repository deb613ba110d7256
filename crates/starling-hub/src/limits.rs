//! Rate limits: the generic cell rate algorithm (ITU-T I.371), whose whole state is one number.

/// The moment at which something happens, read once per turn of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds on a clock that never goes back.
    pub micros: u64,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
}

/// A token bucket: so many a second in the long run, so many at once after a rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket will be full again, in microseconds; earlier than now: it is full.
    full_at: u64,
}

impl Bucket {
    /// Takes one token at `now`, or says that there is none. A rate of 0 has no limit.
    pub fn take(&mut self, now: Now, per_second: u32, burst: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let cost = 1_000_000 / u64::from(per_second).min(1_000_000);
        let capacity = cost * u64::from(burst.max(1));
        let full_at = self.full_at.max(now.micros) + cost;
        if full_at > now.micros + capacity {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// Whether it is full, so that forgetting it changes nothing.
    pub fn is_full(&self, now: Now) -> bool {
        self.full_at <= now.micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Now {
        Now { micros, unix_ms: 0 }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::default();
        let start = 5_000_000;
        for n in 0..3 {
            assert!(bucket.take(at(start), 10, 3), "token {n} of the burst");
        }
        assert!(!bucket.take(at(start), 10, 3));
        assert!(!bucket.take(at(start + 99_999), 10, 3), "the next token takes a tenth of a second");
        assert!(bucket.take(at(start + 100_000), 10, 3));
        assert!(!bucket.is_full(at(start + 100_000)));
        assert!(bucket.is_full(at(start + 400_000)));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = Bucket::default();
        assert!((0..1000).all(|_| bucket.take(at(0), 0, 0)));
    }
}
