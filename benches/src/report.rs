//! The result of one scenario, for people and for programs.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{histogram::Histogram, tally::Faults};

/// What one run of a scenario measured. Fields that a scenario does not measure are absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// Connections that were open.
    pub connections: usize,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// Operations in the window: deliveries, answers, or connections.
    pub operations: u64,
    /// Operations per second.
    pub rate: f64,
    /// Processor seconds of the server per million operations.
    pub server_cpu: Option<f64>,
    /// Share of one core that the server used.
    pub server_load: Option<f64>,
    /// Share of one core that the clients used; near 1, they are the limit and not the server.
    pub client_load: f64,
    /// Bytes of a received message.
    pub message_bytes: usize,
    /// Latency from publish to receipt.
    pub latency: Option<Latency>,
    /// The same while one member does not read.
    pub latency_stalled: Option<Latency>,
    /// The p99 latency with the stalled member, as a ratio to that just before; the median over the windows.
    pub stall_ratio: Option<f64>,
    /// Server memory.
    pub memory: Option<Memory>,
    /// What went wrong.
    pub faults: Faults,
}

/// Quantiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the messages were faster.
    pub p50: u64,
    /// 99 of 100 were faster.
    pub p99: u64,
    /// All were as fast.
    pub max: u64,
}

impl Latency {
    /// The quantiles of `histogram`.
    pub fn of(histogram: &Histogram) -> Self {
        let micros = |quantile| histogram.quantile(quantile).as_micros() as u64;
        Self { p50: micros(0.5), p99: micros(0.99), max: micros(1.0) }
    }
}

/// Resident memory of the server in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Memory {
    /// Before the first connection.
    pub before: u64,
    /// With all connections open and idle.
    pub idle: u64,
    /// At the end of the wait after all were closed, if they were.
    pub after: Option<u64>,
    /// What one connection costs.
    pub per_connection: f64,
    /// The share of the growth that was given back at the end.
    pub returned: Option<f64>,
    /// Seconds until nine tenths were given back.
    pub seconds_to_nine_tenths: Option<f64>,
}

impl Report {
    /// Sets operations and all figures that derive from a window of this length.
    pub fn set_window(&mut self, window: Duration, operations: u64, server: Option<Duration>, client: Duration) {
        let seconds = window.as_secs_f64();
        self.seconds = seconds;
        self.operations = operations;
        self.rate = operations as f64 / seconds;
        self.server_cpu = server.map(|cpu| cpu.as_secs_f64() * 1e6 / operations.max(1) as f64);
        self.server_load = server.map(|cpu| cpu.as_secs_f64() / seconds);
        self.client_load = client.as_secs_f64() / seconds;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} connections", self.scenario, self.connections)?;
        if self.operations > 0 {
            write!(f, ", {} operations in {:.1} s ({:.0}/s)", self.operations, self.seconds, self.rate)?;
            write!(f, ", clients {:.0} % of a core", self.client_load * 100.0)?;
        }
        if let (Some(cpu), Some(load)) = (self.server_cpu, self.server_load) {
            write!(f, "\n  server: {cpu:.2} s of processor per million, {:.0} % of a core", load * 100.0)?;
        }
        if self.message_bytes > 0 {
            write!(f, "\n  message: {} bytes", self.message_bytes)?;
        }
        for (name, latency) in [("latency", self.latency), ("latency, one stalled", self.latency_stalled)] {
            if let Some(Latency { p50, p99, max }) = latency {
                write!(f, "\n  {name}: p50 {p50} µs, p99 {p99} µs, max {max} µs")?;
            }
        }
        if let Some(ratio) = self.stall_ratio {
            write!(f, "\n  p99 with one stalled: {ratio:.2} times that before")?;
        }
        if let Some(memory) = self.memory {
            write!(f, "\n  memory: {} KiB before, {} KiB idle", memory.before / 1024, memory.idle / 1024)?;
            write!(f, ", {:.0} B per connection", memory.per_connection)?;
            if let (Some(after), Some(returned)) = (memory.after, memory.returned) {
                write!(f, "; {} KiB after, {:.0} % returned", after / 1024, returned * 100.0)?;
            }
            if let Some(seconds) = memory.seconds_to_nine_tenths {
                write!(f, " (nine tenths after {seconds:.0} s)")?;
            }
        }
        let Faults { lost, repeated, reordered, errors } = self.faults;
        write!(f, "\n  lost {lost}, repeated {repeated}, reordered {reordered}, errors {errors}")
    }
}
