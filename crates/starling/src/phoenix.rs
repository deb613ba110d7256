//! Phoenix Channels over HTTP: `/socket/websocket` and `/socket/longpoll`.
//!
//! What is asked of a newcomer is the same for both: a version that is spoken here, and a token in the socket's
//! parameters or, from phoenix.js 1.8 on, beside the subprotocol `phoenix`. Whoever is not let in gets 403, which is all
//! that the official client understands.
//!
//! A client without a token is let in where connections are anonymous, and under `when = "first_message"`, where a join
//! must bring one.

mod longpoll;
mod session_token;
mod websocket;

use http::header;
use http::{HeaderMap, StatusCode};
use starling_core::{ErrorCode, Refusal};
use starling_proto::phoenix::Serializer;

use crate::auth::{AuthPolicy, AuthWhen, Claims, Offer, Proof};
use crate::http::refusal_response;
use crate::options::LiveOptions;
use crate::shared::Shared;
use crate::upgrade::{Refused, identify, parameter, text};

pub(crate) use longpoll::longpoll;
pub(crate) use websocket::websocket;

/// The subprotocol that phoenix.js offers beside its token.
const SUBPROTOCOL: &str = "phoenix";
/// What stands in front of the token among the subprotocols.
const TOKEN_PREFIX: &str = "base64url.bearer.phx.";
/// The version of a client that does not say.
const DEFAULT_VSN: &str = "1.0.0";

/// The serializer that the socket's parameters ask for; `binary`: whether the transport brings bytes to the client.
fn serializer(query: &str, binary: bool) -> Result<Serializer, Refused> {
    let vsn = parameter(query, "vsn");
    let meta = matches!(parameter(query, "meta").as_deref(), Some("1" | "true"));
    Serializer::negotiate(vsn.as_deref().unwrap_or(DEFAULT_VSN), binary, meta)
        .ok_or_else(|| forbidden(&Refusal::new(ErrorCode::Forbidden, "this vsn is not spoken here")))
}

/// Who a newcomer is, if it says. `token` is the one that stands beside the subprotocol or in a header of its own.
async fn claims(
    shared: &Shared,
    live: &LiveOptions,
    headers: &HeaderMap,
    query: &str,
    token: Option<&str>,
) -> Result<Option<Claims>, Refused> {
    let (ticket, parameter) = (parameter(query, "ticket"), parameter(query, "token"));
    let offer = Offer {
        authorization: text(headers, header::AUTHORIZATION),
        subprotocols: None,
        ticket: ticket.as_deref(),
        // The session token of a long-polling client without a user stands in the same place.
        token: parameter.as_deref().filter(|token| !token.is_empty() && !session_token::is_meant(token)),
    };
    // The parameters are the only place that older clients have.
    let policy = AuthPolicy { query_token: true, ..live.auth };
    match token.map(Proof::Token).or_else(|| offer.proof(&policy)) {
        Some(proof) => identify(&shared.auth, proof).await.map(Some).map_err(|refusal| forbidden(&refusal)),
        None => Ok(None),
    }
}

/// Whether a token may come with a join.
fn may_come_later(live: &LiveOptions) -> bool {
    live.auth.when == AuthWhen::FirstMessage
}

/// What a refused client gets, whatever the reason.
fn forbidden(refusal: &Refusal) -> Refused {
    let mut response = refusal_response(refusal);
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().remove(header::WWW_AUTHENTICATE);
    Box::new(response)
}
