//! What the server says of itself at one moment, and what two such moments tell of the time between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How far the server's uptime may be from the time that went by: it comes in whole seconds.
const SLACK: Duration = Duration::from_millis(2500);

/// The answer to `GET /api/stats`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub app: String,
    pub version: String,
    pub uptime_seconds: u64,
    pub connections: u64,
    pub channels: u64,
    pub members: u64,
    pub messages: Messages,
    pub rate_limited: u64,
    pub slow_consumers: u64,
    /// On the answering node.
    #[serde(default)]
    pub connections_by_protocol: BTreeMap<String, u64>,
}

/// Messages since the node started.
#[derive(Debug, Clone, Deserialize)]
pub struct Messages {
    pub published: u64,
    pub delivered: u64,
    pub dropped: u64,
    pub conflated: u64,
}

/// A channel with members, as `GET /api/channels` lists it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Channel {
    pub channel: String,
    pub members: u64,
    pub users: u64,
}

/// What the server said at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    pub at: Instant,
    pub stats: Stats,
    /// With most members first.
    pub channels: Vec<Channel>,
    /// Whether there are channels beyond these.
    pub more: bool,
}

/// What is counted: since the start, or a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts<T> {
    pub published: T,
    pub delivered: T,
    pub dropped: T,
    pub conflated: T,
    pub rate_limited: T,
    pub slow_consumers: T,
}

impl Stats {
    pub fn counts(&self) -> Counts<u64> {
        let Messages { published, delivered, dropped, conflated } = self.messages;
        let (rate_limited, slow_consumers) = (self.rate_limited, self.slow_consumers);
        Counts { published, delivered, dropped, conflated, rate_limited, slow_consumers }
    }
}

impl<T: Copy> Counts<T> {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, T); 6] {
        [
            ("published", self.published),
            ("delivered", self.delivered),
            ("dropped", self.dropped),
            ("conflated", self.conflated),
            ("rate limited", self.rate_limited),
            ("slow consumers closed", self.slow_consumers),
        ]
    }
}

/// A sample, and the rates since the one before it.
#[derive(Debug, Clone)]
pub struct View {
    pub sample: Sample,
    /// Absent where the two cannot be compared: the first of all, a node that was restarted, or the answers of two nodes.
    pub per_second: Option<Counts<f64>>,
}

impl View {
    pub fn new(before: Option<&Sample>, sample: Sample) -> Self {
        let per_second = before.and_then(|before| rates(before, &sample));
        Self { sample, per_second }
    }
}

fn rates(before: &Sample, now: &Sample) -> Option<Counts<f64>> {
    let elapsed = now.at.checked_duration_since(before.at).filter(|elapsed| !elapsed.is_zero())?;
    let aged = Duration::from_secs(now.stats.uptime_seconds.checked_sub(before.stats.uptime_seconds)?);
    if aged.abs_diff(elapsed) > SLACK {
        return None;
    }
    let (from, to) = (before.stats.counts(), now.stats.counts());
    let rate = |from: u64, to: u64| Some(to.checked_sub(from)? as f64 / elapsed.as_secs_f64());
    Some(Counts {
        published: rate(from.published, to.published)?,
        delivered: rate(from.delivered, to.delivered)?,
        dropped: rate(from.dropped, to.dropped)?,
        conflated: rate(from.conflated, to.conflated)?,
        rate_limited: rate(from.rate_limited, to.rate_limited)?,
        slow_consumers: rate(from.slow_consumers, to.slow_consumers)?,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn sample(at: Instant, uptime_seconds: u64, delivered: u64) -> Sample {
        let stats = serde_json::json!({
            "app": "1", "version": "0.1.0", "uptimeSeconds": uptime_seconds, "connections": 3, "channels": 2, "members": 4,
            "messages": {"published": 6, "delivered": delivered, "dropped": 1, "conflated": 0},
            "rateLimited": 0, "slowConsumers": 0, "connectionsByProtocol": {"native": 2, "pusher": 1},
        });
        let stats = serde_json::from_value(stats).unwrap();
        let channel = |name: &str, members| Channel { channel: name.into(), members, users: 1 };
        Sample { at, stats, channels: vec![channel("big", 3), channel("small\u{1b}[31m", 1)], more: true }
    }

    #[test]
    fn rates_are_those_between_two_samples_of_one_node() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let rates = |before: Sample, now: Sample| View::new(Some(&before), now).per_second;
        let delivered = |rates: Option<Counts<f64>>| rates.map(|rates| rates.delivered);
        assert_eq!(delivered(rates(sample(start, 10, 100), sample(later, 12, 150))), Some(25.0));
        assert_eq!(delivered(rates(sample(start, 10, 100), sample(later, 1, 150))), None, "restarted");
        assert_eq!(delivered(rates(sample(start, 10, 100), sample(later, 12, 50))), None, "another node");
        assert_eq!(delivered(rates(sample(start, 10, 100), sample(later, 5000, 150))), None, "another node");
        assert!(View::new(None, sample(start, 10, 100)).per_second.is_none());
    }
}
