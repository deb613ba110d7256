//! Whether the process lives, and whether it wants work.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, json_text};
use super::routes::Visit;

/// Where liveness is told.
pub(super) const HEALTH: &str = "/healthz";
/// Where readiness is told.
pub(super) const READINESS: &str = "/readyz";

/// How the server is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Condition {
    /// All is well.
    Ok,
    /// It is going away on purpose and takes no new connections.
    Draining,
    /// The engine is away: publishes are refused.
    EngineUnavailable,
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Health {
    status: Condition,
}

/// Whether the process answers
#[utoipa::path(
    get, path = "/healthz", tag = "meta",
    security(()),
    responses((status = 200, description = "It does", body = Health)),
)]
pub(super) async fn get_health(_: Visit) -> Answer {
    Ok(health(StatusCode::OK, Condition::Ok))
}

/// Whether new work is welcome
#[utoipa::path(
    get, path = "/readyz", tag = "meta",
    security(()),
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 503, description = "A drain has begun, or the engine is lost", body = Health),
    ),
)]
pub(super) async fn get_readiness(visit: Visit) -> Answer {
    Ok(match (visit.shared.is_ready(), visit.shared.is_draining()) {
        (true, _) => health(StatusCode::OK, Condition::Ok),
        (false, true) => health(StatusCode::SERVICE_UNAVAILABLE, Condition::Draining),
        (false, false) => health(StatusCode::SERVICE_UNAVAILABLE, Condition::EngineUnavailable),
    })
}

fn health(status: StatusCode, condition: Condition) -> http::Response<super::Body> {
    let text = serde_json::to_vec(&Health { status: condition }).expect("two words are JSON");
    json_text(status, text)
}
