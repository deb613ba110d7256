//! The main and the admin listener's HTTP: which request goes where.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use starling_core::Refusal;
use tokio::sync::mpsc;

use crate::api;
use crate::handlers::with_head;
use crate::shared::Shared;
use crate::upgrade::{self, joined};
use crate::{phoenix, poll, pusher, send, socketio, stream};

/// The body of a response.
pub(crate) struct Body(Content);

enum Content {
    Whole(Full<Bytes>),
    Parts(mpsc::Receiver<Bytes>),
}

impl Body {
    /// A body that is there as a whole.
    pub fn new(bytes: Bytes) -> Self {
        Self(Content::Whole(Full::new(bytes)))
    }

    /// A body that comes in parts, and ends when its sender is dropped.
    pub fn streaming(parts: mpsc::Receiver<Bytes>) -> Self {
        Self(Content::Parts(parts))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::new(Bytes::new())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Whole(whole) => Pin::new(whole).poll_frame(context),
            Content::Parts(parts) => parts.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(whole) => whole.is_end_stream(),
            Content::Parts(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(whole) => whole.size_hint(),
            Content::Parts(_) => SizeHint::default(),
        }
    }
}

/// Answers a request to the main listener, from a peer at this address.
pub(crate) async fn main<B>(shared: &Arc<Shared>, request: Request<B>, peer: IpAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    // Only an application could ask for the head, and it is not copied for nobody.
    match shared.hub.application() {
        Some(_) => with_head(request, |request| answer(shared, request, peer)).await,
        None => answer(shared, request, peer).await,
    }
}

async fn answer<B>(shared: &Arc<Shared>, request: Request<B>, peer: IpAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    // All lines of it: a proxy may append its own to what the client made up.
    let forwarded = joined(request.headers(), http::HeaderName::from_static("x-forwarded-for"));
    let client = shared.live.load().trusted_proxies.client(peer, forwarded.as_deref());
    match request.uri().path() {
        "/ws" => upgrade::native(shared, request, client).await,
        "/sse" => stream::serve(shared, request, client).await,
        "/poll" => poll::serve(shared, request, client).await,
        "/send" => send::serve(shared, request, client).await,
        "/socket.io/" | "/socket.io" => socketio::serve(shared, request, client, socketio::Speech::SocketIo).await,
        path if shared.engine_io.as_deref() == Some(path) => {
            socketio::serve(shared, request, client, socketio::Speech::EngineIo).await
        }
        path if path.starts_with("/app/") => pusher::connect(shared, request, client).await,
        path if path.starts_with("/apps/") || path.starts_with("/users/") => pusher::api(shared, request).await,
        "/socket/websocket" => phoenix::websocket(shared, request, client).await,
        "/socket/longpoll" => phoenix::longpoll(shared, request, client).await,
        _ => api::handle(shared, request, client).await,
    }
}

/// Answers a request to the admin listener.
pub(crate) async fn admin<B>(shared: &Arc<Shared>, request: Request<B>, peer: IpAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    api::handle_admin(shared, request, peer).await
}

/// A refusal as the contract has it: `{"error":{"code","message"}}`.
pub(crate) fn refusal_response(refusal: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({ "error": { "code": refusal.code, "message": refusal.message } });
    let mut response = json_response(status, body.to_string().into());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A response of JSON text.
pub(crate) fn json_response(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response for people.
pub(crate) fn text_response(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::new(Bytes::from(format!("{message}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
