//! Families of samples, and the two text formats in which they are told.

use std::fmt;

use http::HeaderValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up. Its samples get `_total` after the family's name.
    Counter,
    /// How often values fell into which range.
    Histogram,
}

/// A sample's value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    /// Of a histogram: the sum, and each range's upper bound and count.
    Ranges(f64, Vec<(f64, u64)>),
}

/// All families of one scrape.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<Family>);

/// Samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    kind: Kind,
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels, Value)>,
}

type Labels = Vec<(&'static str, String)>;

impl Families {
    /// Begins a family. One without samples is told all the same.
    pub fn add(&mut self, kind: Kind, name: &'static str, help: &'static str) -> &mut Family {
        self.0.push(Family { kind, name, help, samples: Vec::new() });
        self.0.last_mut().expect("pushed in the line above")
    }

    /// Writes them all.
    pub fn write(self, format: Format) -> Result<String, fmt::Error> {
        let counters: Vec<&str> =
            self.0.iter().filter(|family| family.kind == Kind::Counter).map(|family| family.name).collect();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Self(self.0)));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(match format {
            Format::OpenMetrics => out,
            Format::Prometheus => to_prometheus(&out, &counters),
        })
    }
}

impl Family {
    /// Adds a sample.
    pub fn sample<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: impl Into<Value>) {
        let labels = labels.map(|(name, value)| (name, value.to_owned())).into();
        self.samples.push((labels, value.into()));
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                match labels.is_empty() {
                    true => encode(&mut metric, family.kind, value)?,
                    false => encode(&mut metric.encode_family(labels)?, family.kind, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
    match (kind, value) {
        (Kind::Gauge, Value::Whole(value)) => metric.encode_gauge(value),
        (Kind::Gauge, Value::Real(value)) => metric.encode_gauge(value),
        (Kind::Counter, Value::Whole(value)) => metric.encode_counter(value, NO_EXEMPLAR),
        (Kind::Counter, Value::Real(value)) => metric.encode_counter(value, NO_EXEMPLAR),
        (Kind::Histogram, Value::Ranges(sum, ranges)) => {
            let count = ranges.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(*sum, count, ranges, None)
        }
        (Kind::Histogram, _) | (_, Value::Ranges(..)) => unreachable!("ranges belong to histograms"),
    }
}

/// In which of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain; version=0.0.4`, which everything understands.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`, for those who ask for it.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for. Prometheus names what it prefers first, and OpenMetrics only when it takes it.
    pub fn wanted(accept: Option<&HeaderValue>) -> Self {
        let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The older format differs in two things: a counter's family has the name of its samples, and nothing marks the end.
fn to_prometheus(open_metrics: &str, counters: &[&str]) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                out.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Families {
        let mut families = Families::default();
        families.add(Kind::Gauge, "up", "Whether it is up.").sample([], 1_u64);
        families.add(Kind::Counter, "said", "What was said.").sample([("app", "1"), ("why", "a\"b")], 7_u64);
        families.add(Kind::Counter, "cpu_seconds", "Time.").sample([], 1.5);
        families.add(Kind::Histogram, "slow_seconds", "Nothing yet.");
        families
    }

    #[test]
    fn prometheus_text() {
        let expected = "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\
            # HELP said_total What was said.\n# TYPE said_total counter\nsaid_total{app=\"1\",why=\"a\\\"b\"} 7\n\
            # HELP cpu_seconds_total Time.\n# TYPE cpu_seconds_total counter\ncpu_seconds_total 1.5\n\
            # HELP slow_seconds Nothing yet.\n# TYPE slow_seconds histogram\n";
        assert_eq!(families().write(Format::Prometheus).unwrap(), expected);
    }

    #[test]
    fn open_metrics_text() {
        let text = families().write(Format::OpenMetrics).unwrap();
        assert!(text.contains("# TYPE said counter\nsaid_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_format_is_negotiated() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, expected) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            (Some(prometheus), Format::OpenMetrics),
        ] {
            let accept = accept.map(HeaderValue::from_static);
            assert_eq!(Format::wanted(accept.as_ref()), expected, "{accept:?}");
        }
    }
}
