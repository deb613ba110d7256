//! The HTTP side of the server: what is asked by a plain request, and answered at once.
//!
//! Owns the HTTP API of section 8 of the contract, `/ticket`, `/healthz`, `/readyz`, `/metrics`, the dashboard and the demo page. What
//! upgrades or streams (`/ws`, `/sse`, `/poll`, `/send`) is not here. Every call is one line in [`routes`], from which
//! the OpenAPI document follows as well.
//!
//! A request is routed and its credentials are checked before any of its body is read; a body is kept up to its limit
//! and not beyond. Nothing here logs a query, a header or a body.

mod answer;
mod body;
pub(crate) mod census;
mod channels;
mod connections;
mod draft;
mod health;
mod metrics;
mod openapi;
mod pages;
mod path;
mod publishing;
mod routes;
mod stats;
mod ticket;
mod users;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use starling_core::AppId;

use crate::shared::Shared;
use answer::{Answer, Failure};
use path::Query;
use routes::{Call, Listener, Serve, Visit};

pub(crate) use crate::http::Body;
pub(crate) use body::read as read_body;

/// Answers a request to the main listener that is neither an upgrade nor a stream.
///
/// `client` is the address to name in logs. Dropped before it is done, a publish may have happened or not.
pub(crate) async fn handle<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    finish(answer(shared, &head, body, Listener::Main).await, &head, client)
}

/// Answers a request to the admin listener, where nobody is asked for credentials: metrics and health.
pub(crate) async fn handle_admin<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    finish(answer(shared, &head, body, Listener::Admin).await, &head, client)
}

async fn answer<B>(shared: &Arc<Shared>, head: &Parts, body: B, listener: Listener) -> Answer
where
    B: hyper::body::Body<Data = Bytes>,
{
    let path = head.uri.path();
    if listener == Listener::Main {
        if path == ticket::PATH && head.method == Method::OPTIONS {
            return Ok(crate::cors::preflight(&shared.live.load().origins, &head.headers));
        }
        if let Some(file) = pages::demo(path).filter(|_| shared.dev) {
            return pages::serve(file, &head.method, &head.headers);
        }
    }
    if let Some(file) = pages::dashboard(path).filter(|_| listener == Listener::Admin || !shared.has_admin_listener) {
        if listener == Listener::Main && !shared.dev {
            app_of(shared, &head.headers)?;
        }
        return pages::serve(file, &head.method, &head.headers);
    }
    let (route, names) = routes::find(&head.method, path, listener, shared.has_admin_listener)?;
    let visit = |app| Visit { shared: shared.clone(), headers: head.headers.clone(), app };
    match route.serve {
        Serve::Open(serve) => serve(visit(None)).await,
        Serve::Scrape(serve) => {
            let open = shared.dev || listener == Listener::Admin;
            let app = if open { None } else { Some(app_of(shared, &head.headers)?) };
            serve(visit(app)).await
        }
        Serve::App(limit, call) => {
            let app = app_of(shared, &head.headers)?;
            let query = Query::parse(head.uri.query().unwrap_or_default())?;
            let (limit, timeout) = {
                let live = shared.live.load();
                (limit.bytes(live.max_payload), live.handshake_timeout)
            };
            let body = body::read(body, &head.headers, limit, timeout).await?;
            call(Call { shared: shared.clone(), app, names, query, body }).await
        }
    }
}

/// The app whose credentials the request carries.
fn app_of(shared: &Shared, headers: &HeaderMap) -> Result<AppId, Failure> {
    let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    shared.auth.app(authorization).map(AppId::new).map_err(Failure::credentials)
}

fn finish(answer: Answer, head: &Parts, client: IpAddr) -> Response<Body> {
    let answer = answer.unwrap_or_else(Failure::into_response);
    let status = answer.status();
    if status.is_client_error() || status.is_server_error() {
        let path = head.uri.path();
        tracing::debug!(%client, method = %head.method, path, status = status.as_u16(), "request not carried out");
    }
    answer
}
