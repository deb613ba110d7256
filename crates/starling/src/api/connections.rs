//! Looking at one connection, and ending it, on whichever node it is.

use serde::Serialize;
use starling_core::{Control, Refusal, Survey, Target};
use utoipa::ToSchema;

use super::answer::{Answer, ErrorObject, Failure, done, json};
use super::census;
use super::openapi::Refused;
use super::routes::Call;

/// What is known of a connection.
#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
#[serde(rename_all = "camelCase")]
struct ConnectionObject<'a> {
    connection_id: &'a str,
    /// Null for an anonymous connection.
    #[schema(required)]
    user_id: Option<&'a str>,
    /// What it speaks.
    #[schema(example = "native")]
    protocol: &'a str,
    /// What it is subscribed to.
    channels: Vec<&'a str>,
    /// When it connected, in Unix milliseconds.
    connected_at: u64,
}

/// Look at a connection
#[utoipa::path(
    get, path = "/api/connections/{id}", tag = "connections",
    params(("id" = String, Path, description = "Its connection id")),
    responses(
        (status = 200, description = "It is open", body = ConnectionObject<'_>),
        (status = 404, description = "NOT_FOUND: no open connection has this id", body = ErrorObject<'_>),
        Refused,
    ),
)]
pub(super) async fn get_connection(call: Call) -> Answer {
    let survey = find(&call).await?;
    let mut channels: Vec<&str> = survey.channels.iter().map(starling_core::ChannelName::as_str).collect();
    channels.sort_unstable();
    json(&ConnectionObject {
        connection_id: survey.connection.as_str(),
        user_id: survey.user.as_ref().map(starling_core::UserId::as_str),
        protocol: &survey.protocol,
        channels,
        connected_at: survey.connected_at,
    })
}

/// Close a connection
///
/// With close code 4003. It may come back.
#[utoipa::path(
    post, path = "/api/connections/{id}/disconnect", tag = "connections",
    params(("id" = String, Path, description = "Its connection id")),
    responses(
        (status = 204, description = "It is being closed"),
        (status = 404, description = "NOT_FOUND: no open connection has this id", body = ErrorObject<'_>),
        Refused,
    ),
)]
pub(super) async fn disconnect_connection(call: Call) -> Answer {
    let connection = find(&call).await?.connection;
    let control = Control::Disconnect { target: Target::Connection(connection) };
    call.shared.hub.engine().control(&call.app, control).wait().await.map_err(Refusal::from)?;
    done()
}

async fn find(call: &Call) -> Result<Survey, Failure> {
    let absent = || Failure::not_found("no open connection has this id");
    let id = call.names.connection().ok_or_else(absent)?;
    census::find(&call.shared, &call.app, &id).await?.ok_or_else(absent)
}
