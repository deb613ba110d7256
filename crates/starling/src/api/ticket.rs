//! Tickets for transports that cannot send headers: a token in, a ticket out, within the configured origins.

use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Response};
use serde::Serialize;
use starling_core::{ErrorCode, Refusal};
use utoipa::ToSchema;

use super::Body;
use super::answer::{Answer, ErrorObject, Failure, done, json};
use super::routes::Visit;
use crate::auth::{CorsHeaders, bearer};
use crate::shared::{Shared, unix_ms};

/// Where tickets are issued.
pub(super) const PATH: &str = "/ticket";
/// The name of the way in with a user's token, in the OpenAPI document.
pub(super) const USER: &str = "userToken";

/// A ticket.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
#[serde(rename_all = "camelCase")]
struct TicketObject {
    /// To be passed as `?ticket=`, once; needs no escaping.
    ticket: String,
    /// How long it can be used, in seconds: 30, or less if the token ends earlier.
    expires_in: u64,
}

/// Exchange a token for a ticket
///
/// For a user, not for a backend. The ticket stands for the token on any transport that cannot send headers.
#[utoipa::path(
    post, path = "/ticket", tag = "users",
    security(("userToken" = [])),
    responses(
        (status = 200, description = "A ticket for one use", body = TicketObject),
        (status = 401, description = "No valid token", body = ErrorObject<'_>),
        (status = 403, description = "Not from this origin", body = ErrorObject<'_>),
    ),
)]
pub(super) async fn issue_ticket(visit: Visit) -> Answer {
    let origins = visit.shared.live.load().origins.clone();
    let origin = text(&visit.headers, &ORIGIN);
    if !origins.check(origin).is_allowed() {
        return Ok(with_cors(refused_origin().into_response(), origins.response_headers(origin)));
    }
    let answer = exchange(&visit.shared, text(&visit.headers, &AUTHORIZATION)).await;
    // Also on errors, so that the page can read them.
    Ok(with_cors(answer.unwrap_or_else(Failure::into_response), origins.response_headers(origin)))
}

/// The answer to a browser that asks before it sends the token.
pub(super) fn preflight(shared: &Shared, headers: &HeaderMap) -> Answer {
    let live = shared.live.load();
    let requested = text(headers, &ACCESS_CONTROL_REQUEST_HEADERS);
    let cors = live.origins.preflight_headers(text(headers, &ORIGIN), requested).ok_or_else(refused_origin)?;
    Ok(with_cors(done()?, cors))
}

async fn exchange(shared: &Shared, authorization: Option<&str>) -> Answer {
    let missing =
        || Refusal::new(ErrorCode::AuthRequired, "a ticket needs `Authorization: Bearer` with a user's token");
    let token = authorization.and_then(bearer).ok_or_else(|| Failure::token(missing()))?;
    let claims = shared.auth.verify_fresh(token, unix_ms()).await;
    let claims = claims.map_err(|error| {
        tracing::debug!(%error, "no ticket for this token");
        Failure::token(Refusal::custom(error.code().as_str(), "the token is not valid here"))
    })?;
    let ticket = shared.auth.issue_ticket(&claims, unix_ms()).map_err(|error| {
        tracing::debug!(%error, "no ticket for this token");
        Failure::token(Refusal::custom(error.code().as_str(), "no ticket can be issued for this token"))
    })?;
    json(&TicketObject { ticket: ticket.ticket, expires_in: ticket.expires_in })
}

fn refused_origin() -> Failure {
    Failure::forbidden("this origin may not use the server")
}

fn with_cors(mut response: Response<Body>, cors: CorsHeaders) -> Response<Body> {
    for (name, value) in cors {
        // What comes from the request was checked there; it cannot be anything but a header value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// A header's text. One that is not ASCII is there, but is nothing that could be allowed.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn cors_headers_are_added_to_any_answer() {
        let cors = vec![("access-control-allow-origin", "https://a.example".to_owned()), ("vary", "Origin".to_owned())];
        let response = with_cors(refused_origin().into_response(), cors);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["access-control-allow-origin"], "https://a.example");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}
