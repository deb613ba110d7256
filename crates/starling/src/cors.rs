//! What browsers are told about who may use the server: section 3 of the contract, `[origins]`.

use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Response, StatusCode};
use starling_core::{ErrorCode, Refusal};

use crate::auth::{CorsHeaders, Origins};
use crate::http::{Body, refusal_response};

/// Adds to any response, errors included, what lets an allowed page read it.
pub(crate) fn with_cors(origins: &Origins, request: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    add(&mut response, origins.response_headers(origin(request)));
    response
}

/// The answer to a browser that asks before it sends a request.
pub(crate) fn preflight(origins: &Origins, request: &HeaderMap) -> Response<Body> {
    let requested = text(request, &ACCESS_CONTROL_REQUEST_HEADERS);
    match origins.preflight_headers(origin(request), requested) {
        Some(cors) => {
            let mut response = Response::new(Body::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            add(&mut response, cors);
            response
        }
        None => refused(),
    }
}

/// The answer to a page that may not use the server.
pub(crate) fn refused() -> Response<Body> {
    refusal_response(&Refusal::new(ErrorCode::Forbidden, "this origin is not allowed"))
}

fn origin(request: &HeaderMap) -> Option<&str> {
    text(request, &ORIGIN)
}

/// A header's text. One that is not ASCII is there, but is nothing that could be allowed.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn add(response: &mut Response<Body>, cors: CorsHeaders) {
    for (name, value) in cors {
        // What comes from the request was checked there; it cannot be anything but a header value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}
