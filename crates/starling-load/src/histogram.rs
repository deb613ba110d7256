//! Latencies, kept as counts in buckets that are at most 1 % wide.

use std::time::Duration;

/// Buckets for each doubling, as a power of two.
const FINENESS: u32 = 7;

/// Counts of durations, from 1 µs to hours.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let bucket = bucket_of(duration.as_micros() as u64);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The duration that the share `quantile` (0 to 1) of all stayed within; zero if there are none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = (self.total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(floor_of(bucket));
            }
        }
        Duration::ZERO
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.total
    }
}

// Values below 2^FINENESS have a bucket each; above, the leading FINENESS + 1 bits choose it.
fn bucket_of(micros: u64) -> usize {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(FINENESS + 1);
    ((u64::from(shift) << FINENESS) + (micros >> shift)) as usize
}

fn floor_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> FINENESS).saturating_sub(1);
    (bucket - (shift << FINENESS)) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_one_percent_below_its_values() {
        for micros in (0..1_000).chain([4_095, 4_096, 65_537, 10_000_000, 3_600_000_000]) {
            let floor = floor_of(bucket_of(micros));
            assert!(floor <= micros && micros as f64 <= floor as f64 * 1.01, "{micros} became {floor}");
        }
    }

    #[test]
    fn quantiles_count_from_the_shortest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=100).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        assert_eq!(histogram.quantile(0.5), Duration::from_micros(50));
        assert_eq!(histogram.quantile(0.99), Duration::from_micros(99));
        assert_eq!(histogram.total(), 100);
    }
}
