//! The HTTP API: which request is which call, who may make it, and what it is answered.
//!
//! A request's signature is checked before any of its body is read. A repetition within the signature's 600 seconds is
//! carried out, as on the real service: two equal events in one second have equal signatures.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use starling_core::{AppId, Control, Target, UserId};
use starling_proto::pusher::App;

use super::event;
use super::look;
use super::signature::{self, Parameters, Unauthorized};
use crate::api::read_body;
use crate::auth::AppKeys;
use crate::http::{Body, json_response, text_response};
use crate::shared::{Shared, unix_ms};
use crate::upgrade::parameter;

/// Names and fields around the data of one event, in bytes.
const ENVELOPE: usize = 64 << 10;

/// A call that was not carried out, with a sentence for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub status: StatusCode,
    pub message: String,
}

impl Failure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400: the request is not of its form.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Unauthorized> for Failure {
    fn from(unauthorized: Unauthorized) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, unauthorized.to_string())
    }
}

impl From<starling_core::Refusal> for Failure {
    fn from(refusal: starling_core::Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, refusal.message)
    }
}

/// JSON text.
pub(super) type Answer = Result<Vec<u8>, Failure>;

/// A call whose sender is known.
pub(super) struct Call {
    pub shared: Arc<Shared>,
    pub id: AppId,
    pub keys: AppKeys,
    pub app: Arc<App>,
    pub parameters: Parameters,
    pub body: Bytes,
}

/// Answers a request under `/apps/`.
pub(crate) async fn serve<B>(shared: &Arc<Shared>, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes>,
{
    match answer(shared, request).await {
        Ok(json) => json_response(StatusCode::OK, json.into()),
        Err(Failure { status, message }) => {
            tracing::debug!(status = status.as_u16(), message, "request not carried out");
            text_response(status, &message)
        }
    }
}

async fn answer<B>(shared: &Arc<Shared>, request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    let live = shared.live.load_full();
    let Some((keys, rest)) = address(&live.apps, path, query) else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "There is no app of this id"));
    };
    let app = shared.pusher.app(keys).now();
    let route = Route::find(&head.method, rest)?;
    let parameters = signature::check(&app, head.method.as_str(), path, query, unix_ms() / 1000)?;
    // In JSON within JSON, a byte may be written as six.
    let limit = route.events().saturating_mul(keys.pusher.max_payload.saturating_mul(6).saturating_add(ENVELOPE));
    let body = read_body(body, &head.headers, limit, live.handshake_timeout).await;
    let body = body.map_err(|failure| Failure::new(failure.status, failure.refusal.message))?;
    signature::check_body(&parameters, &body)?;
    let call =
        Call { shared: shared.clone(), id: AppId::from(keys.id.as_str()), keys: keys.clone(), app, parameters, body };
    drop(live);
    match route {
        Route::Trigger => event::trigger(&call).await,
        Route::TriggerBatch => event::trigger_batch(&call).await,
        Route::Channels => look::channels(&call).await,
        Route::Channel(channel) => look::channel(&call, &channel).await,
        Route::Users(channel) => look::users(&call, &channel).await,
        Route::Terminate(user) => terminate(&call, &user).await,
    }
}

/// The app that a request is about, and the rest of its path. The official Python SDK leaves the app out of the path
/// with which it ends a user's connections: there the key tells.
fn address<'a, 'p>(apps: &'a [AppKeys], path: &'p str, query: &str) -> Option<(&'a AppKeys, &'p str)> {
    if let Some((id, rest)) = path.strip_prefix("/apps/").and_then(|rest| rest.split_once('/')) {
        return apps.iter().find(|app| app.id == id).map(|app| (app, rest));
    }
    let key = parameter(query, "auth_key")?;
    let rest = path.strip_prefix('/').filter(|rest| rest.starts_with("users/"))?;
    apps.iter().find(|app| app.key == key).map(|app| (app, rest))
}

/// The calls.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Trigger,
    TriggerBatch,
    Channels,
    Channel(String),
    Users(String),
    Terminate(String),
}

impl Route {
    fn find(method: &Method, path: &str) -> Result<Self, Failure> {
        let name = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let (wanted, route) = match parts[..] {
            ["events"] => (Method::POST, Self::Trigger),
            ["batch_events"] => (Method::POST, Self::TriggerBatch),
            ["channels"] => (Method::GET, Self::Channels),
            ["channels", channel] => (Method::GET, Self::Channel(name(channel))),
            ["channels", channel, "users"] => (Method::GET, Self::Users(name(channel))),
            ["users", user, "terminate_connections"] => (Method::POST, Self::Terminate(name(user))),
            _ => return Err(Failure::new(StatusCode::NOT_FOUND, "There is no such resource")),
        };
        if *method != wanted {
            return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("This resource takes {wanted}")));
        }
        Ok(route)
    }

    /// How many events its body may hold.
    fn events(&self) -> usize {
        if *self == Self::TriggerBatch { event::MAX_BATCH } else { 1 }
    }
}

/// Ends every connection of a user, wherever it is and whatever it speaks.
async fn terminate(call: &Call, user: &str) -> Answer {
    if user.is_empty() || user.len() > starling_proto::pusher::MAX_USER_ID {
        return Err(Failure::invalid("Invalid user id"));
    }
    let control = Control::Disconnect { target: Target::User(UserId::from(user)) };
    let done = call.shared.hub.engine().control(&call.id, control).wait().await;
    done.map_err(starling_core::Refusal::from)?;
    Ok(b"{}".to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_call() {
        let find = |method: &Method, path: &str| Route::find(method, path).map_err(|failure| failure.status.as_u16());
        for (method, path, expected) in [
            (Method::POST, "events", Ok(Route::Trigger)),
            (Method::POST, "batch_events", Ok(Route::TriggerBatch)),
            (Method::GET, "channels", Ok(Route::Channels)),
            (Method::GET, "channels/presence-a%3Db", Ok(Route::Channel("presence-a=b".into()))),
            (Method::GET, "channels/presence-a/users", Ok(Route::Users("presence-a".into()))),
            (Method::POST, "users/a%20b/terminate_connections", Ok(Route::Terminate("a b".into()))),
            (Method::GET, "events", Err(405)),
            (Method::GET, "nothing", Err(404)),
            (Method::GET, "", Err(404)),
        ] {
            assert_eq!(find(&method, path), expected, "{method} {path}");
        }
    }
}
