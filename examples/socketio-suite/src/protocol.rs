//! What the suites of the protocols expect to be there.

use std::sync::Arc;
use std::time::Duration;

use starling::Options;
use starling::core::{AppId, Application, Caller, ChannelName, Decision, Effects, Payload, Pending, RawJson, Refusal};

use super::emission;

struct Protocol;

/// Heartbeats as the suites time them, or every so many milliseconds with so many for the answer, and no sessions to
/// resume: the suites know no `pid`.
pub fn configure(options: &mut Options, heartbeat: Option<(u64, u64)>) {
    let (interval, timeout) = heartbeat.unwrap_or((300, 200));
    options.application = Some(Arc::new(Protocol));
    options.engine_io = Some("/engine.io/".to_owned());
    options.recovery_window = Duration::ZERO;
    options.live.auth.timeout = 2 * Duration::from_millis(interval + timeout);
    options.live.heartbeat.interval = Duration::from_millis(interval);
    options.live.heartbeat.timeout = Duration::from_millis(timeout);
}

impl Application for Protocol {
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
