//! From an HTTP request to a WebSocket connection on a worker.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use starling_core::{AppId, CloseReason, ConnectionId, Effects, ErrorCode, Protocol, Refusal};
use starling_hub::{Identity, Slot};
use starling_proto::Session;
use starling_proto::native::{self, Encoding, NativeSession};
use starling_proto::websocket::{Deflate, handshake};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::auth::{AuthWhen, Authenticator, Claims, Offer, Proof, TokenCode};
use crate::cors;
use crate::gate::{Full, Permit};
use crate::http::{Body, refusal_response, text_response};
use crate::listener::{Exit, RawSocket, Stream};
use crate::mailbox::Mailbox;
use crate::options::LiveOptions;
use crate::shared::{Shared, unix_ms};
use crate::worker::{Newcomer, Transport, identified, new_connection_id, renamed};

/// A response that refuses.
pub(crate) type Refused = Box<Response<Body>>;

/// A WebSocket handshake that can be answered with 101, and the place of its connection.
pub(crate) struct Handshake {
    accept: String,
    deflate: Option<(Deflate, String)>,
    permit: Permit,
}

/// Who a newcomer is, and what is to happen once it is in.
pub(crate) struct Admitted {
    pub identity: Identity,
    /// When its token expires, in Unix milliseconds.
    pub expires_at: Option<u64>,
    /// Whether it may do anything but authenticate.
    pub admitted: bool,
    pub effects: Effects,
}

/// Why a newcomer may not come in.
pub(crate) enum NotAdmitted {
    /// It has no credentials, and needs some.
    Anonymous,
    /// The application refused it.
    Refused(Refusal),
}

impl NotAdmitted {
    /// In words.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Anonymous => Refusal::new(ErrorCode::AuthRequired, "a token is required"),
            Self::Refused(refusal) => refusal,
        }
    }

    /// As the native paths say it: 401, or 403 whatever code the application chose.
    pub fn response(self) -> Refused {
        let is_refused = matches!(self, Self::Refused(_));
        let mut response = refusal_response(&self.refusal());
        if is_refused {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        Box::new(response)
    }
}

/// Whether a request asks for a WebSocket.
pub(crate) fn is_upgrade<B>(request: &Request<B>) -> bool {
    has_token(request.headers(), header::UPGRADE, "websocket")
}

/// Answers a request for `/ws`: with 101 and a connection on a worker, or with a reason why not.
pub(crate) async fn native<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body> {
    accept_native(shared, request, client).await.unwrap_or_else(|response| *response)
}

async fn accept_native<B>(
    shared: &Arc<Shared>,
    request: Request<B>,
    client: IpAddr,
) -> Result<Response<Body>, Refused> {
    let live = shared.live.load_full();
    let handshake = begin(shared, &live, &request, client)?;
    let encoding = encoding(request.headers());
    let claims = credentials(shared, &live, &request).await?;
    let may_come_later = live.auth.when != AuthWhen::Upgrade;
    let identity = new_identity(&live, native::PROTOCOL, new_connection_id());
    let admitted = admit(shared, &live, identity, claims, may_come_later).await.map_err(NotAdmitted::response)?;
    let session = Box::new(NativeSession::new(encoding.unwrap_or(Encoding::Json)));
    Ok(switch(shared, request, handshake, admitted, session, encoding.map(Encoding::subprotocol)).await)
}

/// Checks a WebSocket handshake: its form, its origin, and whether there is a place for its connection.
pub(crate) fn begin<B>(
    shared: &Shared,
    live: &LiveOptions,
    request: &Request<B>,
    client: IpAddr,
) -> Result<Handshake, Refused> {
    let (accept, deflate) = check(request, live)?;
    let permit = enter(shared, live, request.headers(), client)?;
    Ok(Handshake { accept, deflate, permit })
}

/// The same for a client that is turned away after the handshake: it gets a place even where there is none.
pub(crate) fn begin_briefly<B>(
    shared: &Shared,
    live: &LiveOptions,
    request: &Request<B>,
) -> Result<Handshake, Refused> {
    let (accept, deflate) = check(request, live)?;
    check_origin(live, request.headers())?;
    Ok(Handshake { accept, deflate, permit: shared.gate.enter_briefly() })
}

/// Checks a request's origin, and takes a place for a connection.
pub(crate) fn enter(
    shared: &Shared,
    live: &LiveOptions,
    headers: &HeaderMap,
    client: IpAddr,
) -> Result<Permit, Refused> {
    check_origin(live, headers)?;
    if shared.is_draining() {
        return Err(busy(Full::Node));
    }
    shared.gate.enter(client, live, shared.clock.now()).map_err(busy)
}

/// A connection of which nothing is known yet, of the first app.
pub(crate) fn new_identity(live: &LiveOptions, protocol: Protocol, connection: ConnectionId) -> Identity {
    let app = live.apps.first().map_or_else(|| AppId::from(""), |app| AppId::from(app.id.as_str()));
    Identity { app, connection, protocol, user: None, grants: None, connected_at: unix_ms(), query: None }
}

/// Finds out whether a newcomer may come in, and asks the application. `may_come_later`: without claims it may still
/// authenticate by message.
pub(crate) async fn admit(
    shared: &Shared,
    live: &LiveOptions,
    mut identity: Identity,
    claims: Option<Claims>,
    may_come_later: bool,
) -> Result<Admitted, NotAdmitted> {
    let admitted = claims.is_some() || live.auth.anonymous;
    if !admitted && !may_come_later {
        return Err(NotAdmitted::Anonymous);
    }
    let expires_at = claims.as_ref().and_then(|claims| claims.expires_at);
    if let Some(claims) = &claims {
        identity = identified(&identity, claims);
    }
    let mut effects = Effects::default();
    if admitted && let Some(application) = shared.hub.application() {
        let admission = application.connect(&identity.caller()).wait().await.map_err(NotAdmitted::Refused)?;
        if let Some((user, info)) = admission.user {
            identity = renamed(identity, user, info);
        }
        effects = admission.effects;
    }
    Ok(Admitted { identity, expires_at, admitted, effects })
}

/// Answers with 101, and gives the socket to a worker.
pub(crate) async fn switch<B>(
    shared: &Arc<Shared>,
    request: Request<B>,
    handshake: Handshake,
    admitted: Admitted,
    session: Box<dyn Session + Send>,
    subprotocol: Option<&str>,
) -> Response<Body> {
    switch_for(shared, request, handshake, admitted, session, subprotocol, None).await
}

/// The same, for a WebSocket that wants to take over the session of a mailbox; `session` does the asking.
pub(crate) async fn switch_for<B>(
    shared: &Arc<Shared>,
    mut request: Request<B>,
    handshake: Handshake,
    admitted: Admitted,
    session: Box<dyn Session + Send>,
    subprotocol: Option<&str>,
    taking_over: Option<&Mailbox>,
) -> Response<Body> {
    let Handshake { accept, deflate, permit } = handshake;
    let mut headers = vec![
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    headers.extend(subprotocol.map(|subprotocol| (header::SEC_WEBSOCKET_PROTOCOL, subprotocol)));
    let parameters = deflate.as_ref().map(|(_, parameters)| (header::SEC_WEBSOCKET_EXTENSIONS, parameters.as_str()));
    headers.extend(parameters);
    let arriving = Arriving {
        admitted,
        session,
        deflate: deflate.as_ref().map(|(deflate, _)| *deflate),
        permit,
        candidate_of: taking_over.map(Mailbox::place),
    };
    let shared = shared.clone();
    if let Some(exit) = request.extensions_mut().remove::<Exit>() {
        let mut head = String::from("HTTP/1.1 101 Switching Protocols\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        match exit.take(move |socket| hand_over(&shared, socket, head.into(), arriving)).await {}
    }
    let mut response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let response = response.body(Body::default()).expect("all of these are valid header values");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => match take_apart(upgraded) {
                Ok(socket) => return hand_over(&shared, socket, Bytes::new(), arriving),
                Err(error) => tracing::warn!(%error, "an upgraded connection could not be taken over"),
            },
            Err(error) => tracing::debug!(%error, "a client went away during the upgrade"),
        }
        // The application let it in, and must learn that it is gone.
        if let (true, Some(application)) = (arriving.admitted.admitted, shared.hub.application()) {
            application.disconnected(&arriving.admitted.identity.caller(), CloseReason::Lost);
        }
    });
    response
}

/// A WebSocket connection that is about to be one.
struct Arriving {
    admitted: Admitted,
    session: Box<dyn Session + Send>,
    deflate: Option<Deflate>,
    permit: Permit,
    /// The worker and the connection that it wants to take over.
    candidate_of: Option<(usize, Slot)>,
}

/// Checks the opening handshake (RFC 6455 section 4.2.1).
fn check<B>(request: &Request<B>, live: &LiveOptions) -> Result<(String, Option<(Deflate, String)>), Refused> {
    let headers = request.headers();
    if request.method() != Method::GET {
        let mut response = text_response(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket handshake is a GET");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Err(Box::new(response));
    }
    if !is_upgrade(request) || !has_token(headers, header::CONNECTION, "upgrade") {
        let mut response = text_response(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint");
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        return Err(Box::new(response));
    }
    if text(headers, header::SEC_WEBSOCKET_VERSION) != Some(handshake::VERSION) {
        let mut response = text_response(StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here");
        let version = HeaderValue::from_static(handshake::VERSION);
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(Box::new(response));
    }
    let key = text(headers, header::SEC_WEBSOCKET_KEY).filter(|key| handshake::is_valid_key(key));
    let Some(key) = key else {
        return Err(Box::new(text_response(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is 16 bytes in base64")));
    };
    let offers = joined(headers, header::SEC_WEBSOCKET_EXTENSIONS);
    let deflate = offers.filter(|_| live.compression).and_then(|offers| handshake::negotiate(&offers));
    Ok((handshake::accept_key(key), deflate))
}

/// 403 for a page that may not use this server.
pub(crate) fn check_origin(live: &LiveOptions, headers: &HeaderMap) -> Result<(), Refused> {
    if is_allowed_origin(live, headers) { Ok(()) } else { Err(Box::new(cors::refused())) }
}

/// Whether the page that the request comes from may use this server.
pub(crate) fn is_allowed_origin(live: &LiveOptions, headers: &HeaderMap) -> bool {
    live.origins.check(text(headers, header::ORIGIN)).is_allowed()
}

/// The user that the request itself vouches for, if it does.
pub(crate) async fn credentials<B>(
    shared: &Shared,
    live: &LiveOptions,
    request: &Request<B>,
) -> Result<Option<Claims>, Refused> {
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    let (ticket, token) = (parameter(query, "ticket"), parameter(query, "token"));
    let subprotocols = joined(headers, header::SEC_WEBSOCKET_PROTOCOL);
    let offer = Offer {
        authorization: text(headers, header::AUTHORIZATION),
        subprotocols: subprotocols.as_deref(),
        ticket: ticket.as_deref(),
        token: token.as_deref(),
    };
    match offer.upgrade_proof(&live.auth) {
        Some(proof) => {
            identify(&shared.auth, proof).await.map(Some).map_err(|refusal| Box::new(refusal_response(&refusal)))
        }
        None => Ok(None),
    }
}

/// The user that a request vouches for that is no upgrade, and has no other moment to do so.
pub(crate) async fn request_credentials(
    shared: &Shared,
    live: &LiveOptions,
    headers: &HeaderMap,
    query: &str,
) -> Result<Option<Claims>, Refusal> {
    let (ticket, token) = (parameter(query, "ticket"), parameter(query, "token"));
    let offer = Offer {
        authorization: text(headers, header::AUTHORIZATION),
        subprotocols: None,
        ticket: ticket.as_deref(),
        token: token.as_deref(),
    };
    match offer.proof(&live.auth) {
        Some(proof) => identify(&shared.auth, proof).await.map(Some),
        None => Ok(None),
    }
}

/// Whom a proof stands for.
pub(crate) async fn identify(auth: &Authenticator, proof: Proof<'_>) -> Result<Claims, Refusal> {
    let (code, message) = match proof {
        Proof::Token(token) => match auth.verify_fresh(token, unix_ms()).await {
            Ok(claims) => return Ok(claims),
            Err(error) => (error.code(), error.to_string()),
        },
        Proof::Ticket(ticket) => match auth.redeem(ticket, unix_ms()).await {
            Ok(claims) => return Ok(claims),
            Err(error) => (error.code(), error.to_string()),
        },
    };
    let code = match code {
        TokenCode::Expired => ErrorCode::TokenExpired,
        TokenCode::Invalid => ErrorCode::TokenInvalid,
    };
    Err(Refusal::new(code, message))
}

/// Gives the socket to a worker, which writes `head` first.
fn hand_over(shared: &Shared, socket: RawSocket, head: Bytes, arriving: Arriving) {
    let Arriving { admitted, session, deflate, permit, candidate_of } = arriving;
    let Admitted { identity, expires_at, admitted, effects } = admitted;
    let transport =
        Transport::WebSocket { socket, head, deflate, candidate_of: candidate_of.map(|(_, connection)| connection) };
    let newcomer = Newcomer { transport, session, identity, expires_at, admitted, effects, permit, is_guest: false };
    match candidate_of {
        Some((worker, _)) => shared.assign_to(worker, newcomer),
        None => shared.assign(newcomer),
    }
}

/// Takes the socket out of hyper's hands, where HTTP is not spoken by our own listener.
fn take_apart(upgraded: Upgraded) -> std::io::Result<RawSocket> {
    // A copy, because the original keeps hyper's whole read buffer alive.
    let copied = |bytes: &Bytes| if bytes.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(bytes) };
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let (stream, tls) = parts.io.into_inner().take_apart()?;
            return Ok(RawSocket { stream, tls, read_ahead: copied(&parts.read_buf) });
        }
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        Ok(parts) => {
            let (stream, tls) = parts.io.into_inner().take_apart()?;
            Ok(RawSocket { stream, tls, read_ahead: copied(&parts.read_buf) })
        }
        #[cfg(feature = "axum")]
        Err(upgraded) => crate::embed::axum::take_apart(upgraded),
        #[cfg(not(feature = "axum"))]
        Err(_) => Err(std::io::Error::other("neither a TCP nor a TLS stream")),
    }
}

/// The encoding that the client asks for by its subprotocol, the first that is known.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let offered = joined(headers, header::SEC_WEBSOCKET_PROTOCOL)?;
    offered.split(',').find_map(|name| Encoding::from_subprotocol(name.trim()))
}

/// The answer where there is no room.
pub(crate) fn busy(full: Full) -> Refused {
    let (status, message) = match full {
        Full::Node => (StatusCode::SERVICE_UNAVAILABLE, "no more connections are taken now"),
        Full::Address => (StatusCode::TOO_MANY_REQUESTS, "too many connections from this address"),
        Full::Rate => (StatusCode::TOO_MANY_REQUESTS, "too many new connections from this address"),
    };
    let mut response = text_response(status, message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Box::new(response)
}

/// A header's value, if it is text.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A list header's lines as one (RFC 9110 section 5.3).
pub(crate) fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Whether a list header has a token, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

/// A query parameter, decoded; the first of its name.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    parameters(query, name).next()
}

/// All query parameters of a name, decoded.
pub(crate) fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = || percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
        (key == name).then(decoded)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(parameter("a=1&ticket=x%2By+z&ticket=2", "ticket").as_deref(), Some("x+y z"));
        assert_eq!(parameter("tickets=1", "ticket"), None);
    }

    #[test]
    fn the_first_known_subprotocol_is_spoken() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "bearer.a.b, starling.v1.msgpack".parse().unwrap());
        assert_eq!(encoding(&headers), Some(Encoding::Msgpack));
    }
}
