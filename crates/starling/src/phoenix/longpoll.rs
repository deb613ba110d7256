//! `/socket/longpoll`: GET opens a session or fetches what waits in it, POST brings what the client says.
//!
//! The official client reads a `status` in the body and not the one of HTTP, which is 200 all along: 410 with a token
//! begins a session, 200 brings messages, 204 none within [`WINDOW`], 403 refuses. A session lives between requests for
//! the recovery window. What was fetched by a client that went away meanwhile is lost, as with a real server.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use starling_core::{CloseReason, UserId};
use starling_proto::OwnedPacket;
use starling_proto::json_text::{write_number, write_text};
use starling_proto::phoenix::{PROTOCOL, PhoenixSession};

use super::{claims, may_come_later, serializer, session_token};
use crate::api::read_body;
use crate::cors::{self, with_cors};
use crate::http::{Body, text_response};
use crate::mailbox::{Found, Gone, Mailbox, Opening, new_key};
use crate::options::LiveOptions;
use crate::relay;
use crate::shared::{Shared, unix_ms};
use crate::upgrade::{Refused, admit, check_origin, enter, new_identity, parameters, text};
use crate::worker::{Fetched, Framing, new_connection_id, open_envelopes};

/// How long a poll waits for a message: half of what the official client waits for an answer.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a session token is good beyond the recovery window: it is made anew with each poll.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);
/// A body, in bytes, and the messages in it.
const MAX_BODY: usize = 10 << 20;
const MAX_MESSAGES: usize = 1000;

/// What a poll of a session that is no more is told. Clients of 1.7 take 410 for the beginning of a session at any time, and
/// would not join their channels again; after 500 they do, in a new session.
const SESSION_GONE: u16 = 500;

/// Where newer clients show their tokens, to keep them out of URLs.
const SESSION_HEADER: &str = "x-phoenix-longpoll-token";
const USER_HEADER: &str = "x-phoenix-authtoken";

/// What the body of an answer says.
struct Answer {
    status: u16,
    token: Option<String>,
    messages: Vec<OwnedPacket>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, token: None, messages: Vec::new() }
    }

    fn into_response(self) -> Response<Body> {
        let mut body = Vec::with_capacity(256 + self.messages.iter().map(|it| it.bytes().len() + 16).sum::<usize>());
        body.extend_from_slice(b"{\"status\":");
        write_number(&mut body, u64::from(self.status));
        if let Some(token) = &self.token {
            body.extend_from_slice(b",\"token\":");
            write_text(&mut body, token);
            body.extend_from_slice(b",\"messages\":[");
            // This session's serializer writes nothing but text.
            let texts = self.messages.iter().filter_map(|packet| std::str::from_utf8(packet.bytes()).ok());
            for (at, message) in texts.enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                write_text(&mut body, message);
            }
            body.push(b']');
        }
        body.push(b'}');
        let mut response = Response::new(Body::new(body.into()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        // With its token in a header, the URL is the same for every session.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Answers a request for `/socket/longpoll`.
pub(crate) async fn longpoll<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let live = shared.live.load_full();
    if request.method() == Method::OPTIONS {
        return cors::preflight(&live.origins, request.headers());
    }
    let (head, body) = request.into_parts();
    let response = serve(shared, &live, &head, body, client).await.unwrap_or_else(|response| *response);
    with_cors(&live.origins, &head.headers, response)
}

async fn serve<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    head: &Parts,
    body: B,
    client: IpAddr,
) -> Result<Response<Body>, Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    if check_origin(live, &head.headers).is_err() {
        let mut response = Answer::status(403).into_response();
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Err(Box::new(response));
    }
    let tokens = Tokens::of(head);
    let name = tokens.session.as_deref().and_then(|token| session_token::verify(secret(live), token, now()));
    let found = name.map(|name| (name, Mailbox::find(shared, name)));
    if head.method == Method::POST {
        let Some((_, found)) = found else { return Ok(Answer::status(410).into_response()) };
        let body = read_body(body, &head.headers, MAX_BODY, live.handshake_timeout).await;
        let body = body.map_err(|failure| Box::new(failure.into_response()))?;
        return match found {
            Found::Here(mailbox, _) => {
                let packets = packets(&head.headers, body, live.max_payload)?;
                let heard = mailbox.deposit(packets.into()).await;
                Ok(Answer::status(if heard.is_ok() { 200 } else { 410 }).into_response())
            }
            Found::Elsewhere(node) => {
                let response = relay::forward(shared, head, body, &node, client).await;
                Ok(if response.status() == StatusCode::OK { response } else { Answer::status(410).into_response() })
            }
            Found::Nowhere => Ok(Answer::status(410).into_response()),
        };
    }
    if head.method != Method::GET {
        return Err(Box::new(text_response(StatusCode::BAD_REQUEST, "GET fetches, POST sends")));
    }
    match found {
        Some((name, Found::Here(mailbox, _))) => Ok(poll(shared, live, name, &mailbox).await.into_response()),
        Some((_, Found::Elsewhere(node))) => {
            let response = relay::forward(shared, head, Bytes::new(), &node, client).await;
            let is_answered = response.status() == StatusCode::OK;
            Ok(if is_answered { response } else { Answer::status(SESSION_GONE).into_response() })
        }
        Some((_, Found::Nowhere)) => Ok(Answer::status(SESSION_GONE).into_response()),
        None => open(shared, live, head, &tokens, client).await,
    }
}

/// Opens a session, which the client learns by 410.
async fn open(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    head: &Parts,
    tokens: &Tokens,
    client: IpAddr,
) -> Result<Response<Body>, Refused> {
    let query = head.uri.query().unwrap_or_default();
    let forbidden = |_| Box::new(Answer::status(403).into_response());
    let serializer = serializer(query, false).map_err(forbidden)?;
    let permit = enter(shared, live, &head.headers, client)?;
    let claims = claims(shared, live, &head.headers, query, tokens.user.as_deref()).await.map_err(forbidden)?;
    let owner = claims.as_ref().map(|claims| UserId::from(&*claims.user));
    let identity = new_identity(live, PROTOCOL, new_connection_id());
    let admitted = admit(shared, live, identity, claims, may_come_later(live))
        .await
        .map_err(|_| Box::new(Answer::status(403).into_response()))?;
    let key = new_key(shared);
    let opening = Opening {
        key: key.clone(),
        owner: (admitted.identity.app.clone(), owner),
        framing: Framing::Mailbox,
        patience: shared.recovery_window,
        session: Box::new(PhoenixSession::new(serializer)),
        permit,
        is_guest: false,
    };
    Mailbox::open(shared, admitted, opening).await.map_err(|Gone| Box::new(Answer::status(500).into_response()))?;
    let token = Some(fresh_token(shared, live, &key));
    Ok(Answer { status: 410, token, messages: Vec::new() }.into_response())
}

async fn poll(shared: &Shared, live: &LiveOptions, name: &str, mailbox: &Mailbox) -> Answer {
    let token = Some(fresh_token(shared, live, name));
    let mut messages = Vec::new();
    let status = match mailbox.fetch(WINDOW, true).await {
        Ok(Some(Fetched::Waiting(bytes, _))) => {
            open_envelopes(bytes, &mut messages);
            200
        }
        Ok(Some(Fetched::Superseded | Fetched::Occupied | Fetched::Moved) | None) => 204,
        Ok(Some(Fetched::Closed(bytes, closing, _))) => {
            open_envelopes(bytes, &mut messages);
            match closing.reason {
                _ if !messages.is_empty() => 200,
                CloseReason::Forbidden => 403,
                _ => SESSION_GONE,
            }
        }
        Err(Gone) => SESSION_GONE,
    };
    Answer { status, token, messages }
}

/// The messages of a body.
fn packets(headers: &HeaderMap, body: Bytes, max_payload: usize) -> Result<VecDeque<OwnedPacket>, Refused> {
    let refused = |status, why| Box::new(text_response(status, why));
    let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, "a message is larger than max_payload");
    let media = text(headers, header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    // Other media are one message, whatever they say; clients before 1.7 send application/json.
    let is_lines = media.trim().eq_ignore_ascii_case("application/x-ndjson");
    let mut packets = VecDeque::new();
    for line in body.split(|byte| is_lines && *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        if packets.len() == MAX_MESSAGES {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "a body has at most 1000 messages"));
        }
        let packet = match line[0] {
            b'[' | b'{' => OwnedPacket::Text(body.slice_ref(line)),
            _ if !is_lines => OwnedPacket::Text(body.slice_ref(line)),
            _ => {
                let bytes = STANDARD.decode(line).map_err(|_| refused(StatusCode::BAD_REQUEST, "a line is base64"))?;
                OwnedPacket::Binary(bytes.into())
            }
        };
        if packet.bytes().len() > max_payload {
            return Err(too_large());
        }
        packets.push_back(packet);
    }
    Ok(packets)
}

/// The tokens of a request. Clients of 1.7 put both into the query: the user's first, the session's last.
struct Tokens {
    user: Option<String>,
    session: Option<String>,
}

impl Tokens {
    fn of(head: &Parts) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let last = parameters(head.uri.query().unwrap_or_default(), "token").last();
        Self {
            user: header(USER_HEADER),
            session: header(SESSION_HEADER).or_else(|| last.filter(|token| session_token::is_meant(token))),
        }
    }
}

fn fresh_token(shared: &Shared, live: &LiveOptions, name: &str) -> String {
    let lifetime = shared.recovery_window + TOKEN_MARGIN;
    session_token::sign(secret(live), name, now() + lifetime.as_secs())
}

/// What session tokens are signed with: the first app's secret, which all nodes have.
fn secret(live: &LiveOptions) -> &str {
    live.apps.first().map_or("", |app| &app.secret)
}

/// Unix seconds.
fn now() -> u64 {
    unix_ms() / 1000
}
