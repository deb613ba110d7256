//! `POST /send`: what a client of a stream or of polls says. Section 7 of the contract.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use starling_core::{CloseReason, ConnectionId, Effects, ErrorCode, Refusal, Reply, Request as Wish, Tag, UserId};
use starling_proto::native::{Command, POLL_PROTOCOL, PollSession, json};

use crate::api::read_body;
use crate::auth::Claims;
use crate::cors::{self, with_cors};
use crate::http::{Body, json_response};
use crate::mailbox::{Found, Gone, Mailbox, Opening, new_key};
use crate::options::LiveOptions;
use crate::relay;
use crate::shared::Shared;
use crate::stream::method_not_allowed;
use crate::upgrade::{Admitted, Refused, enter, is_allowed_origin, new_identity, parameter, request_credentials};
use crate::worker::{Framing, identified};

/// How long one answer may take: longer than any hook or engine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers a request for `/send`.
pub(crate) async fn serve<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let live = shared.live.load_full();
    if request.method() == Method::OPTIONS {
        return cors::preflight(&live.origins, request.headers());
    }
    if request.method() != Method::POST {
        return method_not_allowed("POST, OPTIONS");
    }
    let (head, body) = request.into_parts();
    let response = send(shared, &live, &head, body, client).await.unwrap_or_else(|response| *response);
    with_cors(&live.origins, &head.headers, response)
}

async fn send<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    head: &http::request::Parts,
    body: B,
    client: IpAddr,
) -> Result<Response<Body>, Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    // Before the message is read, nobody knows its id.
    let refuse = |refusal: Refusal| answer(&Tag::default(), Reply::Refused { refusal, channel: None });
    if !is_allowed_origin(live, &head.headers) {
        return Err(refuse(Refusal::new(ErrorCode::Forbidden, "this origin is not allowed")));
    }
    let query = head.uri.query().unwrap_or_default();
    let claims = request_credentials(shared, live, &head.headers, query).await.map_err(refuse)?;
    if claims.is_none() && !live.auth.anonymous {
        return Err(refuse(Refusal::new(ErrorCode::AuthRequired, "a token is required")));
    }
    let body = read_body(body, &head.headers, live.max_payload, live.handshake_timeout).await;
    let body = body.map_err(|failure| {
        let mut response = refuse(failure.refusal);
        *response.status_mut() = failure.status;
        response
    })?;
    let invalid = |message: &str| refuse(Refusal::new(ErrorCode::InvalidMessage, message.to_owned()));
    let text = std::str::from_utf8(&body).map_err(|_| invalid("the body is not UTF-8"))?;
    let message = json::parse(text).map_err(|malformed| invalid(&malformed.to_string()))?;
    let (tag, channel) = (message.tag, message.channel);
    let wish = match message.outcome {
        Ok(Command::Request(wish)) => wish,
        Ok(Command::Ping) => return Ok(pong(&tag)),
        Err(refusal) => return Err(answer(&tag, Reply::Refused { refusal, channel })),
    };
    let reply = match parameter(query, "connectionId") {
        Some(key) => {
            if let Found::Elsewhere(node) = Mailbox::find(shared, &key) {
                return Ok(relay::forward(shared, head, body, &node, client).await);
            }
            as_session(shared, live, &key, claims.as_ref(), wish).await
        }
        None => alone(shared, live, head, client, claims.as_ref(), wish).await?,
    };
    match reply {
        Ok(reply @ Reply::Refused { .. }) => Err(answer(&tag, reply)),
        Ok(reply) => Ok(*answer(&tag, reply)),
        Err(refusal) => Err(answer(&tag, Reply::Refused { refusal, channel })),
    }
}

/// As the session of that name, if it is the caller's.
async fn as_session(
    shared: &Shared,
    live: &LiveOptions,
    key: &str,
    claims: Option<&Claims>,
    wish: Wish,
) -> Result<Reply, Refusal> {
    let Found::Here(mailbox, place) = Mailbox::find(shared, key) else {
        return Err(Refusal::new(ErrorCode::Forbidden, "there is no such session"));
    };
    if !place.is_owned_by(claims, live.auth.anonymous) {
        return Err(Refusal::new(ErrorCode::Forbidden, "there is no such session"));
    }
    ask(&mailbox, wish).await
}

/// Without a session: as somebody who comes for this one wish, and is a member of nothing.
async fn alone(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    head: &http::request::Parts,
    client: IpAddr,
    claims: Option<&Claims>,
    wish: Wish,
) -> Result<Result<Reply, Refusal>, Refused> {
    if !matches!(wish, Wish::Publish(_) | Wish::Event { .. } | Wish::History { .. }) {
        let message = "only publish, event and history need no session: give the `connectionId` of one";
        return Ok(Err(Refusal::new(ErrorCode::InvalidMessage, message)));
    }
    let permit = enter(shared, live, &head.headers, client)?;
    let key = new_key(shared);
    let mut identity = new_identity(live, POLL_PROTOCOL, ConnectionId::new(key.clone()));
    if let Some(claims) = claims {
        identity = identified(&identity, claims);
    }
    // Whoever has no name is counted by address.
    let counted = identity.user.clone().unwrap_or_else(|| UserId::new(format!("\0{client}")));
    if !shared.hub.take_user_token(&identity.app, &counted, shared.clock.now()) {
        shared.hub.counters().of(&identity.app).rate_limited.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        return Ok(Err(Refusal::new(ErrorCode::RateLimited, "too many messages; slow down")));
    }
    let opening = Opening {
        key,
        owner: (identity.app.clone(), identity.user.clone()),
        framing: Framing::Mailbox,
        patience: PATIENCE,
        session: Box::new(PollSession),
        permit,
        is_guest: true,
    };
    let admitted = Admitted { identity, expires_at: None, admitted: true, effects: Effects::default() };
    let Ok(mailbox) = Mailbox::open(shared, admitted, opening).await else { return Ok(Err(Gone.into())) };
    let reply = ask(&mailbox, wish).await;
    mailbox.close(CloseReason::Normal);
    Ok(reply)
}

async fn ask(mailbox: &Mailbox, wish: Wish) -> Result<Reply, Refusal> {
    match tokio::time::timeout(PATIENCE, mailbox.ask(wish)).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(Refusal::new(ErrorCode::Internal, "no answer in time")),
    }
}

fn answer(tag: &Tag, reply: Reply) -> Refused {
    let status = match &reply {
        Reply::Refused { refusal, .. } => match refusal.http_status() {
            // What is not there is asked for wrongly: a 404 would say that this path is not there.
            404 => StatusCode::BAD_REQUEST,
            status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        },
        _ => StatusCode::OK,
    };
    let mut body = Vec::new();
    json::write_reply(&mut body, tag, &reply);
    Box::new(json_response(status, body.into()))
}

fn pong(tag: &Tag) -> Response<Body> {
    let id = match tag.0.is_empty() {
        true => String::new(),
        false => format!(r#","id":{}"#, String::from_utf8_lossy(&tag.0)),
    };
    json_response(StatusCode::OK, format!(r#"{{"type":"pong"{id}}}"#).into())
}
