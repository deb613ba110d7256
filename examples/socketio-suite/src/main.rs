//! A server with the handlers that the public protocol suites ask for: Engine.IO 4 at `/engine.io/` and Socket.IO 5 at
//! `/socket.io/`. Listens where the first argument says, by default on 127.0.0.1:3000.

use std::sync::Arc;
use std::time::Duration;

use starling::auth::{AppKeys, Origins};
use starling::core::{
    AppId, Application, Caller, ChannelName, Decision, Effects, Emission, Payload, Pending, RawJson, Refusal,
};
use starling::{Options, Server};

/// What the suites expect to be there.
struct Suite;

impl Application for Suite {
    fn accepts(&self, _app: &AppId, scope: &ChannelName) -> bool {
        scope.as_str() == "/custom#"
    }

    /// Whoever connects to a namespace is told what it sent along.
    fn enter(
        &self,
        _caller: &Caller,
        scope: Option<&ChannelName>,
        params: Option<&RawJson>,
    ) -> Pending<Result<Effects, Refusal>> {
        let sent = Payload::Json(params.cloned().unwrap_or_else(RawJson::empty_object));
        Pending::Ready(Ok(Effects { emit: vec![emission(scope, "auth", sent)], ..Effects::default() }))
    }

    fn event(
        &self,
        _caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        let decision = match event {
            "message" => Decision {
                effects: Effects {
                    emit: vec![emission(channel, "message-back", payload.clone())],
                    ..Effects::default()
                },
                ..Decision::default()
            },
            "message-with-ack" => Decision { reply: Some(payload.clone()), ..Decision::default() },
            _ => return None,
        };
        Some(Pending::Ready(Ok(decision)))
    }
}

fn emission(channel: Option<&ChannelName>, event: &str, payload: Payload) -> Emission {
    Emission { channel: channel.cloned(), event: event.into(), payload, ack: None }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let mut options = Options::default();
    options.listen = vec![address.parse()?];
    options.application = Some(Arc::new(Suite));
    options.engine_io = Some("/engine.io/".to_owned());
    // The suites send tokens that are none.
    options.opaque_tokens = true;
    // No session can be resumed: the suites know no `pid`.
    options.recovery_window = Duration::ZERO;
    options.live.apps = vec![AppKeys::new("1", "suite", "a secret that nobody uses")];
    options.live.origins = Origins::any();
    options.live.auth.anonymous = true;
    options.live.auth.timeout = Duration::from_secs(1);
    options.live.heartbeat.interval = Duration::from_millis(300);
    options.live.heartbeat.timeout = Duration::from_millis(200);
    options.live.max_payload = 1_000_000;
    let server = Server::start(options)?;
    println!("listening on {}", server.addresses()[0]);
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
