//! `GET /app/{key}`: from the request to a session.
//!
//! A client that is turned away gets its WebSocket all the same, and is told why by an error and a close code: from
//! these it learns whether to come back.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use starling_core::{AppId, ConnectionId, Effects};
use starling_hub::Identity;
use starling_proto::Session;
use starling_proto::pusher::{PROTOCOL, PusherSession, TurnedAway, VERSIONS, codes};
use starling_proto::voices::PUSHER;

use crate::auth::AppKeys;
use crate::http::Body;
use crate::options::LiveOptions;
use crate::shared::{Shared, unix_ms};
use crate::upgrade::{self, Admitted, Refused, parameter};
use crate::worker::{forms_of, renamed};

/// Why a client is turned away.
struct Refusal {
    code: u16,
    message: String,
}

impl Refusal {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Answers a request for `/app/{key}`.
pub(crate) async fn connect<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body> {
    accept(shared, request, client).await.unwrap_or_else(|response| *response)
}

async fn accept<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Result<Response<Body>, Refused> {
    let live = shared.live.load_full();
    match admit(shared, &live, &request).await {
        Ok((admitted, session)) => match upgrade::begin(shared, &live, &request, client) {
            Ok(handshake) => Ok(upgrade::switch(shared, request, handshake, admitted, session, None).await),
            Err(response) if is_busy(response.status()) => {
                let refusal = Refusal::new(codes::OVER_CAPACITY, "Over capacity");
                turn_away(shared, &live, request, refusal).await
            }
            Err(response) => Err(response),
        },
        Err(refusal) => turn_away(shared, &live, request, refusal).await,
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

async fn admit<B>(
    shared: &Shared,
    live: &LiveOptions,
    request: &Request<B>,
) -> Result<(Admitted, Box<dyn Session + Send>), Refusal> {
    let key = request.uri().path().strip_prefix("/app/").unwrap_or_default();
    if key.contains('/') {
        return Err(Refusal::new(codes::PATH_NOT_FOUND, "Path not found"));
    }
    let key = percent_decode_str(key).decode_utf8_lossy();
    let Some(app) = live.apps.iter().find(|app| app.key == *key) else {
        let key: String = key.chars().take(64).collect();
        return Err(Refusal::new(codes::UNKNOWN_KEY, format!("App key {key} does not exist")));
    };
    check_version(request.uri().query().unwrap_or_default())?;
    check_quota(shared, app)?;
    let mut identity = Identity {
        app: AppId::from(app.id.as_str()),
        connection: new_socket_id(),
        protocol: PROTOCOL,
        user: None,
        grants: None,
        connected_at: unix_ms(),
        query: None,
    };
    let mut effects = Effects::default();
    if let Some(application) = shared.hub.application() {
        let admission = application.connect(&identity.caller()).wait().await;
        let admission = admission.map_err(|refusal| Refusal::new(codes::UNAUTHORIZED, refusal.message))?;
        if let Some((user, info)) = admission.user {
            identity = renamed(identity, user, info);
        }
        effects = admission.effects;
    }
    let activity_timeout = live.heartbeat.interval.as_secs_f64().ceil() as u32;
    let session = PusherSession::new(shared.pusher.app(app), activity_timeout);
    Ok((Admitted { identity, expires_at: None, admitted: true, effects }, Box::new(session)))
}

/// Clients that do not say what they speak are taken to speak the newest.
fn check_version(query: &str) -> Result<(), Refusal> {
    let Some(version) = parameter(query, "protocol") else { return Ok(()) };
    let number = version.parse().ok().filter(|_| version.bytes().all(|byte| byte.is_ascii_digit()));
    let version: String = version.chars().take(16).collect();
    match number {
        Some(number) if VERSIONS.contains(&number) => Ok(()),
        Some(_) => {
            let message = format!("Unsupported protocol version {version}: 5 to 7 are spoken");
            Err(Refusal::new(codes::UNSUPPORTED_VERSION, message))
        }
        None => Err(Refusal::new(codes::INVALID_VERSION, format!("Invalid version string format: {version:?}"))),
    }
}

fn check_quota(shared: &Shared, app: &AppKeys) -> Result<(), Refusal> {
    let most = app.pusher.max_connections;
    if most == 0 {
        return Ok(());
    }
    let counters = shared.hub.counters().of(&AppId::from(app.id.as_str()));
    let open = |form| counters.connections.of(form).load(std::sync::atomic::Ordering::Relaxed);
    if forms_of(PUSHER).into_iter().map(open).sum::<i64>() < most as i64 {
        return Ok(());
    }
    Err(Refusal::new(codes::OVER_QUOTA, format!("The app is over its quota of {most} connections")))
}

async fn turn_away<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    request: Request<B>,
    refusal: Refusal,
) -> Result<Response<Body>, Refused> {
    let handshake = upgrade::begin_briefly(shared, live, &request)?;
    let identity = upgrade::new_identity(live, PROTOCOL, new_socket_id());
    let admitted = Admitted { identity, expires_at: None, admitted: true, effects: Effects::default() };
    let session = Box::new(TurnedAway::new(refusal.code, refusal.message));
    Ok(upgrade::switch(shared, request, handshake, admitted, session, None).await)
}

/// Two numbers with a point between them, as SDKs check it; nobody guesses them.
fn new_socket_id() -> ConnectionId {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    let number =
        |half: &[u8]| half.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)) % 1_000_000_000_000;
    ConnectionId::new(format!("{}.{}", number(&random[..8]), number(&random[8..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_ids_have_the_form_that_sdks_check() {
        for _ in 0..100 {
            assert!(starling_proto::pusher::is_socket_id(new_socket_id().as_str()));
        }
    }

    #[test]
    fn versions_five_to_seven_are_spoken() {
        for (query, expected) in [
            ("", None),
            ("client=js&protocol=7", None),
            ("protocol=5", None),
            ("protocol=4", Some(4007)),
            ("protocol=8", Some(4007)),
            ("protocol=99999999999", Some(4006)),
            ("protocol=+7", Some(4006)),
            ("protocol=", Some(4006)),
            ("protocol=x", Some(4006)),
        ] {
            assert_eq!(check_version(query).err().map(|refusal| refusal.code), expected, "{query}");
        }
    }
}
