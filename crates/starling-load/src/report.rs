//! The result of one scenario, for people and for programs.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{histogram::Histogram, tally::Faults};

/// The most texts that [`Problems`] tells apart.
const KINDS: usize = 10;

/// What one run of a scenario measured. Fields that a scenario does not measure are absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was run.
    pub scenario: String,
    /// What was spoken.
    pub protocol: String,
    /// What an operation is: `deliveries`, `answers` or `connections`.
    pub operation: String,
    /// Connections that were open.
    pub connections: usize,
    /// Channels that they were in.
    pub channels: usize,
    /// Bytes of a payload, as JSON.
    pub payload_bytes: usize,
    /// Bytes of a received message, without its frame.
    pub message_bytes: usize,
    /// Length of the measured window.
    #[serde(rename = "durationSeconds")]
    pub seconds: f64,
    /// Messages published, or requests sent, in the window.
    pub published: u64,
    /// Operations in the window.
    pub operations: u64,
    /// Operations per second.
    #[serde(rename = "operationsPerSecond")]
    pub rate: f64,
    /// Latency from when it was due to its receipt, answer or readiness.
    #[serde(rename = "latencyMicros", skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The same while one member does not read.
    #[serde(rename = "latencyStalledMicros", skip_serializing_if = "Option::is_none")]
    pub latency_stalled: Option<Latency>,
    /// The p99 latency with the stalled member, as a ratio to that just before; the median over the windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_ratio: Option<f64>,
    /// What went wrong.
    #[serde(flatten)]
    pub faults: Faults,
    /// The kinds of errors.
    pub problems: Vec<Problem>,
    /// Processor seconds of the server per million operations, which is the same as microseconds per operation.
    #[serde(rename = "serverCpuMicrosPerOperation", skip_serializing_if = "Option::is_none")]
    pub server_cpu: Option<f64>,
    /// Processor seconds that the server used in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_seconds: Option<f64>,
    /// Cores that the server kept busy.
    #[serde(rename = "serverCpuCores", skip_serializing_if = "Option::is_none")]
    pub server_load: Option<f64>,
    /// Cores that the clients kept busy; near 1, they are the limit and not the server.
    #[serde(rename = "clientCpuCores")]
    pub client_load: f64,
    /// Server memory.
    #[serde(rename = "serverMemory", skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Whether the run was ended before its time.
    pub stopped_early: bool,
    /// Why the run could not go on, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Quantiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were as fast.
    pub p50: u64,
    /// 90 of 100 were as fast.
    pub p90: u64,
    /// 99 of 100 were as fast.
    pub p99: u64,
    /// 999 of 1000 were as fast.
    pub p999: u64,
    /// All were as fast.
    pub max: u64,
}

impl Latency {
    /// The quantiles of `histogram`.
    pub fn of(histogram: &Histogram) -> Self {
        let micros = |quantile| histogram.quantile(quantile).as_micros() as u64;
        Self { p50: micros(0.5), p90: micros(0.9), p99: micros(0.99), p999: micros(0.999), max: micros(1.0) }
    }
}

/// Resident memory of the server in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Before the first connection.
    pub before_bytes: u64,
    /// With all connections open.
    pub idle_bytes: u64,
    /// What one connection costs.
    #[serde(rename = "bytesPerConnection")]
    pub per_connection: f64,
    /// At the end of the wait after all were closed, if they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_bytes: Option<u64>,
    /// The share of the growth that was given back at the end.
    #[serde(rename = "returnedShare", skip_serializing_if = "Option::is_none")]
    pub returned: Option<f64>,
    /// Seconds until nine tenths were given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_nine_tenths: Option<f64>,
}

impl Memory {
    /// The growth from `before` to `now` with so many `connections`.
    pub fn new(before: u64, now: u64, connections: usize) -> Self {
        let per_connection = now.saturating_sub(before) as f64 / connections.max(1) as f64;
        let (after_bytes, returned, seconds_to_nine_tenths) = (None, None, None);
        Self { before_bytes: before, idle_bytes: now, per_connection, after_bytes, returned, seconds_to_nine_tenths }
    }
}

/// One kind of error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What the server said, or what happened.
    pub text: String,
    /// How often.
    pub count: u64,
}

/// Errors by their text, the first few kinds apart.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    counts: BTreeMap<String, u64>,
}

impl Problems {
    /// Counts an error.
    pub fn note(&mut self, text: &str) {
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
            return;
        }
        let text = if self.counts.len() < KINDS { text } else { "others" };
        *self.counts.entry(text.to_owned()).or_default() += 1;
    }

    /// The most frequent first.
    pub fn into_list(self) -> Vec<Problem> {
        let mut list: Vec<_> = self.counts.into_iter().map(|(text, count)| Problem { text, count }).collect();
        list.sort_by_key(|problem| std::cmp::Reverse(problem.count));
        list
    }
}

impl Report {
    /// Sets operations and all figures that derive from a window of this length.
    pub fn set_window(&mut self, window: Duration, operations: u64, server: Option<Duration>, client: Duration) {
        let seconds = window.as_secs_f64();
        self.seconds = seconds;
        self.operations = operations;
        self.rate = operations as f64 / seconds;
        self.server_cpu = server.map(|cpu| cpu.as_secs_f64() * 1e6 / operations.max(1) as f64);
        self.server_cpu_seconds = server.map(|cpu| cpu.as_secs_f64());
        self.server_load = server.map(|cpu| cpu.as_secs_f64() / seconds);
        self.client_load = client.as_secs_f64() / seconds;
    }

    /// Connections that are held cost no processor time each.
    pub(crate) fn set_idle_cpu(&mut self) {
        self.server_cpu = None;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, connections, operation, operations, seconds, rate, .. } = self;
        write!(f, "{scenario}: {connections} connections")?;
        if self.channels > 1 {
            write!(f, " in {} channels", self.channels)?;
        }
        write!(f, ", {operations} {operation} in {seconds:.1} s ({rate:.0}/s)")?;
        write!(f, ", clients {:.0} % of a core", self.client_load * 100.0)?;
        if let Some(load) = self.server_load {
            write!(f, "\n  server: {:.0} % of a core", load * 100.0)?;
        }
        if let Some(cpu) = self.server_cpu {
            write!(f, ", {cpu:.2} µs of processor each ({cpu:.2} s per million)")?;
        }
        if self.message_bytes > 0 {
            write!(f, "\n  message: {} bytes, payload {}", self.message_bytes, self.payload_bytes)?;
        }
        for (name, latency) in [("latency", self.latency), ("latency, one stalled", self.latency_stalled)] {
            if let Some(Latency { p50, p90, p99, p999, max }) = latency {
                let ms = |micros: u64| micros as f64 / 1000.0;
                write!(f, "\n  {name}, ms: p50 {:.2}, p90 {:.2}, p99 {:.2}", ms(p50), ms(p90), ms(p99))?;
                write!(f, ", p99.9 {:.2}, max {:.2}", ms(p999), ms(max))?;
            }
        }
        if let Some(ratio) = self.stall_ratio {
            write!(f, "\n  p99 with one stalled: {ratio:.2} times that before")?;
        }
        if let Some(memory) = self.memory {
            let (before, idle) = (memory.before_bytes / 1024, memory.idle_bytes / 1024);
            write!(f, "\n  server memory: {before} KiB before, {idle} KiB with all")?;
            write!(f, ", {:.0} bytes per connection", memory.per_connection)?;
            if let (Some(after), Some(returned)) = (memory.after_bytes, memory.returned) {
                write!(f, "; {} KiB after, {:.0} % returned", after / 1024, returned * 100.0)?;
            }
            if let Some(seconds) = memory.seconds_to_nine_tenths {
                write!(f, " (nine tenths after {seconds:.0} s)")?;
            }
        }
        let Faults { lost, repeated, reordered, errors } = self.faults;
        write!(f, "\n  lost {lost}, repeated {repeated}, reordered {reordered}, errors {errors}")?;
        for Problem { text, count } in &self.problems {
            write!(f, "\n    {count} × {text}")?;
        }
        if self.stopped_early {
            write!(f, "\n  stopped early")?;
        }
        Ok(())
    }
}
