//! Placeholder while the real one is being written.
use crate::http::{Body, text_response};
use crate::shared::Shared;
use http::{Request, Response, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;
pub(crate) async fn handle<B>(shared: &Arc<Shared>, request: Request<B>, _client: IpAddr) -> Response<Body> {
    match request.uri().path() {
        "/readyz" if shared.is_ready() => text_response(StatusCode::OK, "ok"),
        _ => text_response(StatusCode::NOT_FOUND, "no"),
    }
}
pub(crate) async fn handle_admin<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body> {
    handle(shared, request, client).await
}
