//! The scenarios: what the clients do, and what is measured meanwhile.

mod connect;
mod echo;
mod fanout;
mod idle;
mod publishes;
mod stall;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    fleet::{Fleet, Transport},
    process::CpuTime,
    report::Report,
};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Scenario {
    /// 1000 members of one channel, 25 publishes a second.
    FanoutRate,
    /// 1000 members of one channel, 4 publishes on their way.
    Fanout,
    /// 10,000 members of one channel, 2 publishes on their way.
    Fanout10k,
    /// 1000 channels of 10 members, 16 publishes on their way.
    Rooms,
    /// 100 connections, each publishing to nobody and awaiting the acknowledgement.
    Echo,
    /// Connect, subscribe, close; 32 at a time.
    Connect,
    /// 15,000 connections with one subscription each, which then leave.
    Idle,
    /// 1000 members of one channel, 1000 publishes a second, with and without a member that does not read.
    Stall,
}

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the server listens.
    pub server: SocketAddr,
    /// The server's process, if its processor time and memory are to be measured.
    pub server_pid: Option<u32>,
    /// What members speak; publishers always speak WebSocket.
    pub transport: Transport,
    /// How the server's certificate is trusted, if it is to be spoken to over TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Whether the clients never sleep, so that the server never has to wake them.
    pub spins: bool,
    /// How long the scenario runs before anything is measured.
    pub warmup: Duration,
    /// How long it is measured.
    pub window: Duration,
    /// Bytes of a payload, quotes included.
    pub payload: usize,
    /// Connections, instead of the scenario's own number.
    pub connections: Option<usize>,
    /// Publishes on their way, instead of the scenario's own number.
    pub in_flight: Option<usize>,
    /// Publishes a second, instead of the scenario's own number.
    pub rate: Option<u32>,
    /// How long `idle` watches the memory after the connections have left.
    pub watch: Duration,
}

impl Scenario {
    /// The name on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Runs the scenario.
    ///
    /// # Errors
    /// Fails when the server refuses, closes or stops answering, and when the system does.
    pub fn run(self, plan: &Plan) -> Result<Report> {
        let mut report = match self {
            Self::FanoutRate => fanout::run(plan, 1, 1000, fanout::Pace::PerSecond(plan.rate.unwrap_or(25))),
            Self::Fanout => fanout::run(plan, 1, 1000, fanout::Pace::InFlight(plan.in_flight.unwrap_or(4))),
            Self::Fanout10k => fanout::run(plan, 1, 10_000, fanout::Pace::InFlight(plan.in_flight.unwrap_or(2))),
            Self::Rooms => fanout::run(plan, 1000, 10_000, fanout::Pace::InFlight(plan.in_flight.unwrap_or(16))),
            Self::Echo => echo::run(plan),
            Self::Connect => connect::run(plan),
            Self::Idle => idle::run(plan),
            Self::Stall => stall::run(plan),
        }?;
        report.scenario = self.name();
        Ok(report)
    }
}

impl Plan {
    fn fleet(&self) -> Result<Fleet> {
        let mut fleet = Fleet::new(self.server, self.tls.clone())?;
        fleet.spins = self.spins;
        Ok(fleet)
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

    /// Ends the window, in which `operations` were counted.
    fn stop(&self, report: &mut Report, operations: u64) -> Result<()> {
        let window = self.started.elapsed();
        let server = self.server_pid.map(CpuTime::of).transpose()?.map(|now| now.since(&self.server));
        let client = CpuTime::of(std::process::id())?.since(&self.client);
        report.set_window(window, operations, server, client);
        Ok(())
    }
}
