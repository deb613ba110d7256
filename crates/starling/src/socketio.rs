//! `/socket.io/`: Socket.IO over Engine.IO, by WebSocket, by long-polling, and from one to the other.
//!
//! What a client may do is decided when it enters its first namespace, with the token that it sends then. A token on
//! the request itself counts as well; then a namespace needs none.

mod polling;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use starling_hub::Identity;
use starling_proto::Session;
use starling_proto::socketio::engine::Handshake;
use starling_proto::socketio::{EngineSession, PROTOCOL, SocketIoSession, UpgradeSession};

use crate::auth::{AuthWhen, Claims};
use crate::cors::{self, with_cors};
use crate::http::{Body, json_response};
use crate::mailbox::{Found, Mailbox, new_key};
use crate::options::LiveOptions;
use crate::shared::Shared;
use crate::upgrade::{
    Admitted, Refused, admit, begin, check_origin, is_upgrade, new_identity, parameter, request_credentials, switch,
    switch_for,
};
use crate::worker::new_connection_id;

/// What is spoken on top of Engine.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    SocketIo,
    /// Nothing: the application gets what there is.
    EngineIo,
}

/// Why a request is refused, as Engine.IO's clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest,
    Forbidden,
    UnsupportedVersion,
}

impl Complaint {
    fn response(self) -> Refused {
        let (code, message) = match self {
            Self::UnknownTransport => (0, "Transport unknown"),
            Self::UnknownSession => (1, "Session ID unknown"),
            Self::BadMethod => (2, "Bad handshake method"),
            Self::BadRequest => (3, "Bad request"),
            Self::Forbidden => (4, "Forbidden"),
            Self::UnsupportedVersion => (5, "Unsupported protocol version"),
        };
        let status = if self == Self::Forbidden { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        Box::new(json_response(status, Bytes::from(body)))
    }
}

/// Answers a request to the path of Engine.IO.
pub(crate) async fn serve<B>(
    shared: &Arc<Shared>,
    request: Request<B>,
    client: IpAddr,
    speech: Speech,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let live = shared.live.load_full();
    if request.method() == Method::OPTIONS {
        return cors::preflight(&live.origins, request.headers());
    }
    let headers = request.headers().clone();
    let answer = answer(shared, &live, request, client, speech).await;
    with_cors(&live.origins, &headers, answer.unwrap_or_else(|response| *response))
}

async fn answer<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    request: Request<B>,
    client: IpAddr,
    speech: Speech,
) -> Result<Response<Body>, Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    check_origin(live, request.headers()).map_err(|_| Complaint::Forbidden.response())?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    if parameter(&query, "EIO").as_deref() != Some("4") {
        return Err(Complaint::UnsupportedVersion.response());
    }
    let sid = parameter(&query, "sid").filter(|sid| !sid.is_empty());
    match parameter(&query, "transport").as_deref() {
        Some("polling") => polling::answer(shared, live, request, client, speech, sid).await,
        Some("websocket") if !is_upgrade(&request) => Err(Complaint::BadRequest.response()),
        Some("websocket") => match sid {
            None => open(shared, live, request, client, speech).await,
            Some(sid) => upgrade(shared, live, request, client, &sid).await,
        },
        _ => Err(Complaint::UnknownTransport.response()),
    }
}

/// Opens a session on a WebSocket.
async fn open<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    request: Request<B>,
    client: IpAddr,
    speech: Speech,
) -> Result<Response<Body>, Refused> {
    let handshake = begin(shared, live, &request, client)?;
    let query = request.uri().query().unwrap_or_default();
    let claims = claims(shared, live, request.headers(), query).await?;
    let admitted = admitted(shared, live, claims, query, speech).await?;
    let session = session(shared, live, new_connection_id().as_str(), speech, false);
    Ok(switch(shared, request, handshake, admitted, session, None).await)
}

/// Has a WebSocket take over a session that polls.
async fn upgrade<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    request: Request<B>,
    client: IpAddr,
    sid: &str,
) -> Result<Response<Body>, Refused> {
    let Found::Here(mailbox, _) = Mailbox::find(shared, sid) else {
        return Err(Complaint::UnknownSession.response());
    };
    let handshake = begin(shared, live, &request, client)?;
    // It is nobody until it takes over, and has as long for that as for an authentication.
    let identity = new_identity(live, PROTOCOL, new_connection_id());
    let admitted = Admitted { identity, expires_at: None, admitted: false, effects: Default::default() };
    let session = Box::new(UpgradeSession::default());
    Ok(switch_for(shared, request, handshake, admitted, session, None, Some(&mailbox)).await)
}

/// Whom the request vouches for, if it does.
async fn claims(
    shared: &Shared,
    live: &LiveOptions,
    headers: &http::HeaderMap,
    query: &str,
) -> Result<Option<Claims>, Refused> {
    if live.auth.when == AuthWhen::FirstMessage {
        // Only what CONNECT brings counts.
        return Ok(None);
    }
    let claims = request_credentials(shared, live, headers, query).await;
    claims.map_err(|refusal| Box::new(crate::http::refusal_response(&refusal)))
}

/// Who the client is so far. Without claims it comes in with its first namespace, or at once where there are none.
async fn admitted(
    shared: &Shared,
    live: &LiveOptions,
    claims: Option<Claims>,
    query: &str,
    speech: Speech,
) -> Result<Admitted, Refused> {
    let identity = Identity { query: own_query(query), ..new_identity(live, PROTOCOL, new_connection_id()) };
    if claims.is_some() || speech == Speech::EngineIo {
        return admit(shared, live, identity, claims, false).await.map_err(|refused| refused.response());
    }
    Ok(Admitted { identity, expires_at: None, admitted: false, effects: Default::default() })
}

/// What of a query the client's own program put there. Credentials are nobody else's business.
fn own_query(query: &str) -> Option<Arc<str>> {
    const NOT_ITS_OWN: [&str; 8] = ["EIO", "transport", "sid", "t", "b64", "j", "token", "ticket"];
    let name = |pair: &str| pair.split_once('=').map_or(pair.len(), |(name, _)| name.len());
    let own = query.split('&').filter(|pair| !pair.is_empty() && !NOT_ITS_OWN.contains(&&pair[..name(pair)]));
    let own = own.collect::<Vec<_>>().join("&");
    (!own.is_empty()).then(|| own.into())
}

fn session(shared: &Shared, live: &LiveOptions, sid: &str, speech: Speech, upgrades: bool) -> Box<dyn Session + Send> {
    let handshake = Handshake {
        sid: sid.into(),
        upgrades,
        ping_interval: live.heartbeat.interval,
        ping_timeout: live.heartbeat.timeout,
        max_payload: live.max_payload,
    };
    match speech {
        Speech::SocketIo if shared.opaque_tokens => Box::new(SocketIoSession::new(handshake).with_opaque_tokens()),
        Speech::SocketIo => Box::new(SocketIoSession::new(handshake)),
        Speech::EngineIo => Box::new(EngineSession::new(handshake)),
    }
}

/// A name for a session that polls.
fn new_sid(shared: &Shared) -> Arc<str> {
    new_key(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_known_by_what_is_not_the_protocols_own() {
        for (query, own) in [
            ("EIO=4&transport=polling&t=abc", None),
            ("", None),
            ("EIO=4&a=b&transport=websocket&token=secret&c&sid=x&ticket=y", Some("a=b&c")),
            ("tokens=1&EIO=4", Some("tokens=1")),
        ] {
            assert_eq!(own_query(query).as_deref(), own, "{query}");
        }
    }
}
