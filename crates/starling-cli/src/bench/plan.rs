//! From what was asked for to what the clients do.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::ServerName;
use serde_json::json;
use starling_load::api::Api;
use starling_load::scenario::{Pace, Plan, Publisher, Scenario};
use starling_load::target::{App, Identity, Protocol, Target, Tls, trust};

use super::options::{BenchArgs, ProtocolName, PublishVia, ScenarioName};
use crate::credentials::Credentials;
use crate::failure::Failure;

/// The user that tokens are signed for.
const USER: &str = "bench";
/// How often a connection publishes in a second unless it is asked for: Starling's default limit is 100.
const PUBLISHES: f64 = 50.0;
/// How much longer than the run a token is good for.
const TOKEN_SPARE: Duration = Duration::from_secs(3600);

/// The scenario and its plan. Finds the server: the first connection is made here.
///
/// # Errors
///
/// A usage failure for options that do not fit together, or that the server cannot be reached.
pub fn plan(args: &BenchArgs) -> Result<(Scenario, Plan), Failure> {
    let publish = publish_via(args)?;
    if (args.scenario, args.protocol) == (ScenarioName::Echo, ProtocolName::Sse) {
        return Err(Failure::Usage("event streams answer nothing: echo is for the other protocols".into()));
    }
    let protocol = protocol(args.protocol);
    let measures_publishes = matches!(args.scenario, ScenarioName::Fanout | ScenarioName::Rooms);
    let needs_app = protocol == Protocol::Pusher || (measures_publishes && publish != PublishVia::Client);
    let app = match needs_app || args.credentials.are_given() {
        true => Some(app(args)?),
        false => None,
    };
    let token = match (&args.token, &app) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(app)) if args.credentials.are_given() && protocol != Protocol::Pusher => Some(sign(args, app)?),
        _ => None,
    };
    let publisher = match (publish, &app) {
        (PublishVia::Api, Some(app)) => Publisher::Backend(Api::Starling(app.clone())),
        (PublishVia::PusherApi, Some(app)) => Publisher::Backend(Api::Pusher(app.clone())),
        _ if matches!(protocol, Protocol::Phoenix | Protocol::Pusher) => Publisher::Member,
        _ => Publisher::Outsiders(publishers(args)),
    };
    let identity =
        Identity { protocol, path: path(args)?, token, app, event: name_without_escapes("--event", &args.event)? };
    let mut plan = Plan {
        target: Target {
            address: ([0, 0, 0, 0], 0).into(),
            authority: String::new(),
            prefix: String::new(),
            tls: None,
        },
        identity: Arc::new(identity),
        server_pid: args.server_pid,
        publisher,
        pace: pace(args)?,
        connections: args.connections.map_or_else(|| default_connections(args.scenario), |n| n as usize),
        channels: args.channels.map_or_else(|| default_channels(args.scenario), |n| n as usize),
        channel: channel(args, publish)?,
        payload: args.payload as usize,
        warmup: args.warmup,
        window: args.duration,
        watch: Duration::ZERO,
        spins: false,
    };
    let least = plan.shortest_payload();
    if plan.payload < least {
        let message = format!("--payload must be at least {least} bytes, to have room for what proves the order");
        return Err(Failure::Usage(message));
    }
    if measures_publishes && plan.connections < plan.channels {
        let message = format!("{} connections cannot fill {} channels", plan.connections, plan.channels);
        return Err(Failure::Usage(message));
    }
    if let Some(pid) = args.server_pid {
        starling_load::process::resident(pid).with_context(|| format!("cannot measure process {pid}"))?;
    }
    plan.target = target(args)?;
    let scenario = match args.scenario {
        ScenarioName::Fanout | ScenarioName::Rooms => Scenario::Fanout,
        ScenarioName::Echo => Scenario::Echo,
        ScenarioName::Idle => Scenario::Idle,
        ScenarioName::Connect => Scenario::Connect,
    };
    Ok((scenario, plan))
}

fn protocol(name: ProtocolName) -> Protocol {
    match name {
        ProtocolName::Native => Protocol::Native,
        ProtocolName::Socketio => Protocol::SocketIo,
        ProtocolName::Phoenix => Protocol::Phoenix,
        ProtocolName::Pusher => Protocol::Pusher,
        ProtocolName::Sse => Protocol::Sse,
    }
}

fn default_connections(scenario: ScenarioName) -> usize {
    match scenario {
        ScenarioName::Fanout | ScenarioName::Rooms | ScenarioName::Idle => 1000,
        ScenarioName::Echo => 100,
        ScenarioName::Connect => 32,
    }
}

fn default_channels(scenario: ScenarioName) -> usize {
    match scenario {
        ScenarioName::Fanout | ScenarioName::Echo => 1,
        ScenarioName::Rooms | ScenarioName::Idle | ScenarioName::Connect => 100,
    }
}

fn pace(args: &BenchArgs) -> Result<Pace, Failure> {
    let default = match args.scenario {
        ScenarioName::Fanout => Pace::PerSecond(25.0),
        ScenarioName::Rooms => Pace::PerSecond(1000.0),
        ScenarioName::Echo | ScenarioName::Connect | ScenarioName::Idle => Pace::InFlight(1),
    };
    match (args.rate, args.in_flight) {
        (Some(_), _) if args.scenario == ScenarioName::Idle => {
            Err(Failure::Usage("--rate means nothing for idle connections".into()))
        }
        (Some(rate), _) => Ok(Pace::PerSecond(rate)),
        (None, Some(most)) if matches!(args.scenario, ScenarioName::Fanout | ScenarioName::Rooms) => {
            Ok(Pace::InFlight(most as usize))
        }
        (None, Some(_)) => Err(Failure::Usage("--in-flight is for fanout and rooms".into())),
        (None, None) => Ok(default),
    }
}

/// Few enough that a connection publishes at most [`PUBLISHES`] times a second, but never more than channels.
fn publishers(args: &BenchArgs) -> usize {
    let channels = args.channels.map_or_else(|| default_channels(args.scenario), |n| n as usize);
    let wanted = match (args.publishers, pace(args)) {
        (Some(wanted), _) => wanted as usize,
        (None, Ok(Pace::PerSecond(rate))) => (rate / PUBLISHES).ceil() as usize,
        (None, _) => 1,
    };
    wanted.clamp(1, channels)
}

fn publish_via(args: &BenchArgs) -> Result<PublishVia, Failure> {
    match (args.publish, args.protocol) {
        (Some(PublishVia::Client), ProtocolName::Sse) => {
            Err(Failure::Usage("event streams cannot publish: --publish api, or pusher-api".into()))
        }
        (Some(via), _) => Ok(via),
        (None, ProtocolName::Pusher) => Ok(PublishVia::PusherApi),
        (None, ProtocolName::Sse) => Ok(PublishVia::Api),
        (None, _) => Ok(PublishVia::Client),
    }
}

fn channel(args: &BenchArgs, publish: PublishVia) -> Result<String, Failure> {
    let client_events = args.protocol == ProtocolName::Pusher && publish == PublishVia::Client;
    let name = args.channel.as_deref().unwrap_or(if client_events { "private-bench" } else { "bench" });
    if client_events && !["private-", "presence-"].iter().any(|prefix| name.starts_with(prefix)) {
        let message = "client events of Pusher need a --channel that begins with private- or presence-";
        return Err(Failure::Usage(message.into()));
    }
    name_without_escapes("--channel", name)
}

/// Names are written into messages as they are.
fn name_without_escapes(option: &str, name: &str) -> Result<String, Failure> {
    if name.is_empty() || name.len() > 200 || name.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        let message = format!("{option} takes 1 to 200 bytes without quotes, backslashes and control characters");
        return Err(Failure::Usage(message));
    }
    Ok(name.to_owned())
}

fn path(args: &BenchArgs) -> Result<Option<String>, Failure> {
    match &args.path {
        Some(path) if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err(Failure::Usage("--path begins with a slash and has no white space".into()))
        }
        path => Ok(path.clone()),
    }
}

fn app(args: &BenchArgs) -> Result<App, Failure> {
    let Credentials { id, key, secret, .. } = Credentials::find(&args.credentials, &args.url)?;
    Ok(App { id, key, secret })
}

/// A token that lets its user into every channel, as far as the app's secret goes.
fn sign(args: &BenchArgs, app: &App) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let expiry = now + args.warmup + args.duration + TOKEN_SPARE;
    let mut claims =
        json!({"sub": USER, "iat": now.as_secs(), "exp": expiry.as_secs(), "subscribe": ["*"], "publish": ["*"]});
    if args.credentials.names_an_app() {
        claims["app"] = app.id.clone().into();
    }
    let key = EncodingKey::from_secret(app.secret.as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).context("cannot sign a token")?)
}

fn target(args: &BenchArgs) -> Result<Target, Failure> {
    let url = &args.url;
    let host = url.host_str().context("the URL has no host")?;
    let port = url.port_or_known_default().context("the URL has no port")?;
    let address = Target::resolve(host, port)?;
    let authority = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let tls = match url.scheme() {
        "https" => {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
            let name = name.with_context(|| format!("{host} is no name for a certificate"))?;
            Some(Tls { config: trust(args.ca.as_deref())?, name })
        }
        _ => None,
    };
    Ok(Target { address, authority, prefix: url.path().trim_end_matches('/').to_owned(), tls })
}
