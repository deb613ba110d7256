//! Requests for a session that another node has: carried there, answered there. No load balancer needs to be sticky.

mod pulse;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};
use starling_core::{ErrorCode, NodeId, Refusal};

use crate::http::{Body, refusal_response};
use crate::shared::Shared;

pub(crate) use pulse::Pulses;

/// How long the other node may take: longer than the longest poll.
const PATIENCE: Duration = Duration::from_secs(70);

/// The head of a request or a response on its way between nodes; the body follows a line end.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The version of this format; others are not understood.
    v: u8,
    /// Method, path and query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    headers: Vec<(String, String)>,
}

const VERSION: u8 = 1;

/// Marks a request that came from another node: it is not sent on again.
#[derive(Clone, Copy)]
pub(crate) struct Relayed;

/// Has another node answer a request. If that node dies meanwhile, the answer is that there is no such session.
pub(crate) async fn forward(
    shared: &Shared,
    head: &Parts,
    body: Bytes,
    node: &NodeId,
    client: IpAddr,
) -> Response<Body> {
    let gone = || refusal_response(&Refusal::new(ErrorCode::Forbidden, "there is no such session"));
    if head.extensions.get::<Relayed>().is_some() {
        return gone();
    }
    let request = Head {
        v: VERSION,
        request: Some((head.method.to_string(), head.uri.to_string())),
        status: None,
        client: Some(client),
        headers: listed(&head.headers),
    };
    let engine = shared.hub.engine();
    let answer = tokio::select! {
        answer = engine.relay(node, join(&request, &body), PATIENCE).wait() => answer.ok(),
        () = shared.pulses.stopped(engine, node) => None,
    };
    match answer.and_then(|answer| response(&answer)) {
        Some(response) => response,
        None => gone(),
    }
}

/// Answers a request that another node sent on.
pub(crate) async fn answer(shared: Arc<Shared>, message: Bytes) -> Bytes {
    if message == pulse::QUESTION {
        return Bytes::new();
    }
    let response = match request(&message) {
        Some((request, client)) => Box::pin(crate::http::main(&shared, request, client)).await,
        None => refusal_response(&Refusal::new(ErrorCode::Internal, "the request was not understood")),
    };
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let head = Head {
        v: VERSION,
        request: None,
        status: Some(head.status.as_u16()),
        client: None,
        headers: listed(&head.headers),
    };
    join(&head, &body)
}

fn request(message: &Bytes) -> Option<(Request<Full<Bytes>>, IpAddr)> {
    let (head, body) = split(message)?;
    let (method, uri) = head.request?;
    let mut request = Request::builder().method(method.as_str()).uri(uri).body(Full::new(body)).ok()?;
    fill(request.headers_mut(), head.headers);
    request.extensions_mut().insert(Relayed);
    Some((request, head.client?))
}

fn response(message: &Bytes) -> Option<Response<Body>> {
    let (head, body) = split(message)?;
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = StatusCode::from_u16(head.status?).ok()?;
    fill(response.headers_mut(), head.headers);
    Some(response)
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_of_this_hop =
        |name: &HeaderName| [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH].contains(name);
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    headers.iter().filter(|(name, _)| !is_of_this_hop(name)).filter_map(text).collect()
}

fn fill(headers: &mut HeaderMap, listed: Vec<(String, String)>) {
    for (name, value) in listed {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
}

fn join(head: &Head, body: &[u8]) -> Bytes {
    let head = serde_json::to_vec(head).expect("names and texts are JSON");
    let mut message = BytesMut::with_capacity(head.len() + 1 + body.len());
    message.put_slice(&head);
    message.put_u8(b'\n');
    message.put_slice(body);
    message.freeze()
}

fn split(message: &Bytes) -> Option<(Head, Bytes)> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&message[..end]).ok()?;
    (head.v == VERSION).then(|| (head, message.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let head = Head {
            v: VERSION,
            request: Some(("POST".into(), "/send?connectionId=a.b".into())),
            status: None,
            client: Some([127, 0, 0, 1].into()),
            headers: vec![("origin".into(), "https://a.example".into())],
        };
        let (request, client) = request(&join(&head, b"a\nb")).unwrap();
        assert_eq!((request.method().as_str(), request.uri().path(), client), ("POST", "/send", [127, 0, 0, 1].into()));
        assert_eq!(request.headers()[header::ORIGIN], "https://a.example");
        assert!(request.extensions().get::<Relayed>().is_some());
        assert!(split(&Bytes::from_static(b"{\"v\":2,\"headers\":[]}\n")).is_none(), "another version");
    }
}
