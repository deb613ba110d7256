//! The scenarios of `docs/performance.md`: those of `starling-load`, each with its numbers.

use std::{sync::Arc, time::Duration};

use starling_load::{
    api::Api,
    scenario::{Pace, Plan, Publisher, Scenario},
    target::{App, Identity, Protocol, Target},
};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Load {
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

/// What members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// The native protocol over WebSocket.
    Websocket,
    /// Event streams; messages are published over the HTTP API.
    Sse,
}

impl Load {
    /// The name on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What the clients do.
    pub fn scenario(self) -> Scenario {
        match self {
            Self::FanoutRate | Self::Fanout | Self::Fanout10k | Self::Rooms => Scenario::Fanout,
            Self::Echo => Scenario::Echo,
            Self::Connect => Scenario::Connect,
            Self::Idle => Scenario::Idle,
            Self::Stall => Scenario::Stall,
        }
    }

    /// The plan with this scenario's own numbers; `app` publishes where members cannot.
    pub fn plan(self, target: Target, transport: Transport, app: App) -> Plan {
        let (connections, channels, pace) = match self {
            Self::FanoutRate => (1000, 1, Pace::PerSecond(25.0)),
            Self::Fanout => (1000, 1, Pace::InFlight(4)),
            Self::Fanout10k => (10_000, 1, Pace::InFlight(2)),
            Self::Rooms => (10_000, 1000, Pace::InFlight(16)),
            Self::Echo => (100, 1, Pace::InFlight(1)),
            Self::Connect => (32, 1000, Pace::InFlight(1)),
            Self::Idle => (15_000, 1000, Pace::InFlight(1)),
            Self::Stall => (1000, 1, Pace::PerSecond(1000.0)),
        };
        let (protocol, publisher) = match transport {
            Transport::Websocket => (Protocol::Native, Publisher::Outsiders(1)),
            Transport::Sse => (Protocol::Sse, Publisher::Backend(Api::Starling(app))),
        };
        // How long the server has to come to rest before its memory counts; the other scenarios take what is asked for.
        let rest = Duration::from_secs(5);
        Plan {
            target,
            identity: Arc::new(Identity::anonymous(protocol)),
            server_pid: None,
            publisher,
            pace,
            connections,
            channels,
            // The rule for this name is `delivery = "drop"`, so that the member that stalls stays.
            channel: if self == Self::Stall { "stall" } else { "bench" }.to_owned(),
            payload: 128,
            warmup: rest,
            window: rest,
            watch: Duration::from_secs(60),
            spins: false,
        }
    }
}
