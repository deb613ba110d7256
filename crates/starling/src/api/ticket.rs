//! Tickets for transports that cannot send headers: a token in, a ticket out, within the configured origins.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, ORIGIN};
use serde::Serialize;
use starling_core::{ErrorCode, Refusal};
use utoipa::ToSchema;

use super::answer::{Answer, ErrorObject, Failure, json};
use super::routes::Visit;
use crate::auth::bearer;
use crate::cors::with_cors;
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
        return Ok(with_cors(&origins, &visit.headers, refused_origin().into_response()));
    }
    let answer = exchange(&visit.shared, text(&visit.headers, &AUTHORIZATION)).await;
    // Also on errors, so that the page can read them.
    Ok(with_cors(&origins, &visit.headers, answer.unwrap_or_else(Failure::into_response)))
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

/// A header's text. One that is not ASCII is there, but is nothing that could be allowed.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
