//! The scenarios: what the clients do, and what is measured meanwhile.

mod connect;
mod echo;
mod fanout;
mod idle;
mod publishes;
mod stall;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    api::Api,
    fleet::Fleet,
    process::CpuTime,
    report::Report,
    target::{Identity, Target},
    watch::{Stage, Watch},
};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// Messages to the members of one channel, or of many.
    Fanout,
    /// Each connection asks, and awaits the answer.
    Echo,
    /// Connect, subscribe, close.
    Connect,
    /// Connections that do nothing, and then leave.
    Idle,
    /// [`Fanout`](Self::Fanout) to one channel with and without a member that does not read.
    Stall,
}

/// When the next message is published, or the next request sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many times a second, over all channels.
    PerSecond(f64),
    /// As soon as fewer than so many are on their way.
    InFlight(usize),
}

/// Who publishes.
#[derive(Debug, Clone)]
pub enum Publisher {
    /// So many connections beside the members, which join no channel; the channels take them in turn.
    Outsiders(usize),
    /// The first member of each channel.
    Member,
    /// A backend, over an HTTP API.
    Backend(Api),
}

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// The clients.
    pub identity: Arc<Identity>,
    /// The server's process, if its processor time and memory are to be measured. It runs on this machine.
    pub server_pid: Option<u32>,
    /// Who publishes, where the scenario publishes to members.
    pub publisher: Publisher,
    /// When.
    pub pace: Pace,
    /// Connections; those that exist at a time, for [`Scenario::Connect`].
    pub connections: usize,
    /// Channels that the connections join in turn.
    pub channels: usize,
    /// The name of the only channel, or what the names of several begin with: `NAME-0000` and so on.
    pub channel: String,
    /// Bytes of a payload, as JSON; at least [`shortest_payload`](Plan::shortest_payload).
    pub payload: usize,
    /// How long the scenario runs before anything is measured.
    pub warmup: Duration,
    /// How long it is measured.
    pub window: Duration,
    /// How long [`Scenario::Idle`] watches the memory after the connections have left.
    pub watch: Duration,
    /// Whether the clients never sleep, so that the server never has to wake them.
    pub spins: bool,
}

impl Scenario {
    /// Runs the scenario.
    ///
    /// # Errors
    /// Fails when the server refuses, closes or does not answer before anything could be measured, and when the system
    /// does. What happens later is in [`Report::failure`].
    pub fn run(self, plan: &Plan, watch: &mut dyn Watch) -> Result<Report> {
        let mut report = match self {
            Self::Fanout => fanout::run(plan, watch),
            Self::Echo => echo::run(plan, watch),
            Self::Connect => connect::run(plan, watch),
            Self::Idle => idle::run(plan, watch),
            Self::Stall => stall::run(plan, watch),
        }?;
        report.stopped_early = watch.wants_stop();
        Ok(report)
    }
}

impl Plan {
    /// The shortest payload in bytes that has room for a stamp.
    pub fn shortest_payload(&self) -> usize {
        crate::stamp::STAMP_LEN + self.overhead()
    }

    /// Bytes of the stamp and its padding.
    fn text_len(&self) -> usize {
        self.payload.max(self.shortest_payload()) - self.overhead()
    }

    fn overhead(&self) -> usize {
        match &self.publisher {
            Publisher::Backend(api) => api.overhead(),
            _ => crate::session::overhead(self.identity.protocol),
        }
    }

    fn fleet(&self) -> Result<Fleet> {
        let mut fleet = Fleet::new(self.target.clone(), self.identity.clone())?;
        fleet.spins = self.spins;
        Ok(fleet)
    }

    /// One channel has the name that was asked for, so that a server can tell what to do with it.
    fn channel_names(&self) -> Vec<String> {
        if self.channels == 1 {
            return vec![self.channel.clone()];
        }
        (0..self.channels).map(|channel| format!("{}-{channel:04}", self.channel)).collect()
    }

    fn memory(&self) -> Result<Option<u64>> {
        self.server_pid.map(crate::process::resident).transpose()
    }
}

/// A stretch of time in a stage, told to the watch.
struct Stretch {
    stage: Stage,
    start: Instant,
    length: Duration,
}

impl Stretch {
    fn new(stage: Stage, length: Duration) -> Self {
        Self { stage, start: Instant::now(), length }
    }

    /// How long the next turn may take; `None` when the time is over, or the watch wants to stop.
    fn left(&self, watch: &mut dyn Watch) -> Option<Duration> {
        const GLANCE: Duration = Duration::from_millis(100);
        let elapsed = self.start.elapsed();
        watch.see(self.stage, elapsed.min(self.length).as_millis() as u64, self.length.as_millis() as u64);
        let left = self.length.checked_sub(elapsed).filter(|left| !left.is_zero())?;
        (!watch.wants_stop()).then_some(left.min(GLANCE))
    }
}

/// Time and processor time at the start of a window.
#[derive(Debug)]
struct Meter {
    started: Instant,
    server_pid: Option<u32>,
    server: CpuTime,
    client: CpuTime,
}

impl Meter {
    fn start(server_pid: Option<u32>) -> Result<Self> {
        let server = server_pid.map(CpuTime::of).transpose()?.unwrap_or_default();
        Ok(Self { started: Instant::now(), server_pid, server, client: CpuTime::of(std::process::id())? })
    }

    /// Ends the window, in which `operations` were counted. A server that is gone used no measurable time.
    fn stop(&self, report: &mut Report, operations: u64) -> Result<()> {
        let window = self.started.elapsed();
        let server = self.server_pid.and_then(|pid| CpuTime::of(pid).ok()).map(|now| now.since(&self.server));
        let client = CpuTime::of(std::process::id())?.since(&self.client);
        report.set_window(window, operations, server, client);
        Ok(())
    }
}
