//! What a user can ask for.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use reqwest::Url;

use crate::backend::base_url;
use crate::config;
use crate::credentials::CredentialArgs;

/// Measures a server with many clients, which check that nothing is lost, repeated or out of order.
///
/// Clients run on one thread of this machine. Ctrl-C ends the run early, with what has been measured; a second one at
/// once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct BenchArgs {
    /// What the clients do
    #[arg(value_name = "SCENARIO")]
    pub scenario: ScenarioName,
    /// The server
    #[arg(long, value_name = "URL", env = "STARLING_URL", default_value = "http://127.0.0.1:8080", value_parser = base_url)]
    pub url: Url,
    /// What the clients speak
    #[arg(long, value_name = "PROTOCOL", default_value = "native")]
    pub protocol: ProtocolName,
    /// Number of connections; for connect, of those that exist at a time [default: fanout, rooms, idle: 1000, echo: 100, connect: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: Option<u32>,
    /// Number of channels, which the connections join in turn, one each [default: fanout: 1, rooms, idle, connect: 100]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=999_999))]
    pub channels: Option<u32>,
    /// Bytes of a message's payload, as JSON
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub payload: u32,
    /// Messages published, requests sent or connections opened in a second, over all channels [default: fanout: 25, rooms: 1000, echo, connect: as many as there are answers]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Instead of a rate: publish the next message as soon as fewer than this number are on their way to some member; fanout and rooms only [default: none]
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: Option<u32>,
    /// How long it is measured: 500ms, 10s, 5m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// How long it runs before it is measured: 0s, 500ms, 10s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration_or_none)]
    pub warmup: Duration,
    /// The server's process on this machine, to measure its processor time and memory [default: not measured]
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Print one JSON object, with units in the names of the numbers
    #[arg(long)]
    pub json: bool,
    /// Name of the channel, or what the names of several begin with: NAME-0000 and so on [default: bench; private-bench for Pusher client events]
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Event of the messages
    #[arg(long, value_name = "EVENT", default_value = "message")]
    pub event: String,
    /// Who publishes [default: client; pusher: pusher-api, sse: api]
    #[arg(long, value_name = "WHO")]
    pub publish: Option<PublishVia>,
    /// Connections that publish beside the members, with native and Socket.IO; each channel has one of them [default: one for every 50 messages a second, at most one for each channel]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub publishers: Option<u32>,
    /// Path and query to connect to, instead of the protocol's own; {channel} stands for the channel's name [default: the protocol's own]
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Token that the connections show: a JWT for Starling [default: signed with --key and --secret or --config if given; otherwise none]
    #[arg(long, value_name = "TOKEN", env = "STARLING_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Certificates to trust under https instead of the system's, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  starling bench fanout --server-pid $(pgrep -x starling)
  starling bench rooms --connections 5000 --channels 500 --rate 5000 --duration 30s --json
  starling bench fanout --protocol socketio --url http://127.0.0.1:3000
  starling bench fanout --protocol pusher --url http://127.0.0.1:6001 --key app-key --secret app-secret --app app-id
How other servers have to behave, and what the figures mean: docs/bench.md.";

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScenarioName {
    /// All connections are in one channel, and get every message
    Fanout,
    /// Connections are spread over many channels; messages go to the channels in turn
    Rooms,
    /// Each connection sends a request and awaits its answer, then sends the next
    Echo,
    /// Connections do nothing: what they cost, and whether they last
    Idle,
    /// Connections come, join a channel, and go
    Connect,
}

/// What the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// Starling's own over WebSocket, at /ws
    Native,
    /// Socket.IO 4 over WebSocket, at /socket.io/
    Socketio,
    /// Phoenix Channels, vsn 2.0.0, at /socket/websocket
    Phoenix,
    /// Pusher Channels, protocol 7, at /app/KEY
    Pusher,
    /// Event streams, at /sse
    Sse,
}

/// Who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PublishVia {
    /// Connections: native and Socket.IO some beside the members, Phoenix and Pusher the first member of each channel
    Client,
    /// A backend: POST /api/publish of Starling
    Api,
    /// A backend: POST /apps/ID/events of Pusher, signed
    PusherApi,
}

impl ScenarioName {
    /// The name on the command line.
    pub fn name(self) -> String {
        name(&self)
    }
}

impl ProtocolName {
    /// The name on the command line.
    pub fn name(self) -> String {
        name(&self)
    }
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| (0.001..=10_000_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number a second, 0.001 to 10000000".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let limits = Duration::from_millis(100)..=Duration::from_secs(86_400);
    let parsed = config::parse_duration(text).filter(|duration| limits.contains(duration));
    parsed.ok_or_else(|| "expected a duration of 100ms to a day, such as 500ms, 10s or 5m".into())
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text) {
        Some(none) if none.is_zero() => Ok(none),
        _ => duration(text),
    }
}
