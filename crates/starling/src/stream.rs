//! `GET /sse`: server-sent events. Section 7 of the contract.
//!
//! The session is opened without a socket and subscribed to its channels; when all of them are granted, the socket is
//! taken out of HTTP's hands and the worker writes the stream to it, behind a head of our own. Where the socket is not
//! ours (in somebody else's HTTP server), a task carries the stream into the response.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use starling_core::{ChannelName, CloseReason, ErrorCode, Position, Refusal, Reply, Start, Subscribe};
use starling_proto::native::{Cursor, STREAM_PROTOCOL, StreamSession, ready_event};
use tokio::sync::mpsc;

use crate::cors::{self, with_cors};
use crate::gzip;
use crate::http::{Body, refusal_response, text_response};
use crate::listener::Exit;
use crate::mailbox::{Gone, Mailbox, Opening, new_names};
use crate::options::LiveOptions;
use crate::shared::Shared;
use crate::upgrade::{Refused, admit, enter, new_identity, parameter, parameters, request_credentials, text};
use crate::worker::{Fetched, Framing, Stamper};

/// Parts of a stream that wait for somebody else's HTTP server.
const PARTS: usize = 4;

/// Answers a request for `/sse`.
pub(crate) async fn serve<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body> {
    let live = shared.live.load_full();
    if request.method() == Method::OPTIONS {
        return cors::preflight(&live.origins, request.headers());
    }
    if request.method() != Method::GET {
        return method_not_allowed("GET, OPTIONS");
    }
    let headers = request.headers().clone();
    let response = stream(shared, &live, request, client).await.unwrap_or_else(|response| *response);
    with_cors(&live.origins, &headers, response)
}

async fn stream<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    mut request: Request<B>,
    client: IpAddr,
) -> Result<Response<Body>, Refused> {
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    let permit = enter(shared, live, headers, client)?;
    let channels = channels(query).map_err(refused)?;
    let cursor = presented_cursor(headers, query);
    let is_named = parameter(query, "named").is_some_and(|named| named == "1");
    let claims = request_credentials(shared, live, headers, query).await.map_err(refused)?;
    let (connection, key) = new_names(shared, claims.is_some());
    let identity = new_identity(live, STREAM_PROTOCOL, connection);
    let owner_user = claims.as_ref().map(|claims| starling_core::UserId::from(&*claims.user));
    let admitted = admit(shared, live, identity, claims, false).await.map_err(|it| it.response())?;
    // A task that carries the stream completes its events; a worker does so from the second channel on.
    let is_single = channels.len() == 1 && request.extensions().get::<Exit>().is_some();
    let is_zipped = gzip::takes_gzip(headers);
    let framing = if is_single && is_zipped { Framing::Zipped } else { Framing::Stream };
    let opening = Opening {
        key: key.clone(),
        owner: (admitted.identity.app.clone(), owner_user),
        framing,
        patience: live.handshake_timeout,
        session: Box::new(StreamSession { is_named, is_single }),
        permit,
        is_guest: false,
    };
    let gone = |Gone| refused(Gone.into());
    let mailbox = Mailbox::open(shared, admitted, opening).await.map_err(gone)?;
    let joined = match join(&mailbox, &channels, cursor.as_ref()).await {
        Ok(joined) => joined,
        Err(refusal) => {
            mailbox.close(CloseReason::Normal);
            return Err(refused(refusal));
        }
    };
    let ready = json!({ "connectionId": &*key, "channels": joined.channels });
    let ready = ready_event(&joined.cursor, ready.to_string().as_bytes());
    let cursor = (!is_single).then_some((joined.cursor, is_zipped));
    let ready = if is_zipped { gzip::part(ready.bytes()) } else { ready.bytes().clone() };
    let cors = live.origins.response_headers(text(request.headers(), header::ORIGIN));
    match request.extensions_mut().remove::<Exit>() {
        Some(exit) => {
            let mut head = BytesMut::from(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n\
                 X-Accel-Buffering: no\r\nVary: Accept-Encoding\r\nConnection: close\r\n",
            );
            for (name, value) in cors {
                head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            if is_zipped {
                head.extend_from_slice(b"Content-Encoding: gzip\r\n");
            }
            head.extend_from_slice(b"\r\n");
            if is_zipped {
                head.extend_from_slice(&gzip::STREAM_HEAD);
            }
            head.extend_from_slice(&ready);
            match exit.take(move |socket| mailbox.attach(socket, head.freeze(), cursor)).await {}
        }
        None => Ok(carried(mailbox, ready, cursor, is_zipped)),
    }
}

/// A response into which a task carries the stream.
fn carried(mailbox: Mailbox, ready: Bytes, cursor: Option<(Cursor, bool)>, is_zipped: bool) -> Response<Body> {
    let (parts, body) = mpsc::channel(PARTS);
    tokio::spawn(async move {
        let mut stamper = cursor.map(|(cursor, is_zipped)| Stamper::new(cursor, is_zipped));
        let mut next = Some(if is_zipped { [&gzip::STREAM_HEAD[..], &ready].concat().into() } else { ready });
        let comment = Bytes::from_static(b":\n\n");
        let comment = if is_zipped { gzip::part(&comment) } else { comment };
        loop {
            if let Some(part) = next.take()
                && parts.send(part).await.is_err()
            {
                return mailbox.close(CloseReason::Lost);
            }
            let fetched = tokio::select! {
                fetched = mailbox.fetch(starling_proto::native::KEEP_ALIVE, true) => fetched,
                () = parts.closed() => return mailbox.close(CloseReason::Lost),
            };
            let stamped = |stamper: &mut Option<Stamper>, bytes: Bytes| match stamper {
                Some(stamper) => stamper.stamp(&bytes),
                None => bytes,
            };
            match fetched {
                Ok(Some(Fetched::Waiting(bytes, _))) => next = Some(stamped(&mut stamper, bytes)),
                // Fetching often enough keeps the session; the client hears a comment.
                Ok(None) => next = Some(comment.clone()),
                Ok(Some(Fetched::Closed(bytes, ..))) => {
                    // The client may be gone, and then nobody misses it.
                    let _ = parts.send(stamped(&mut stamper, bytes)).await;
                    return;
                }
                Ok(Some(Fetched::Superseded | Fetched::Occupied | Fetched::Moved)) | Err(Gone) => return,
            }
        }
    });
    let mut response = Response::new(Body::streaming(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    gzip::mark(headers, is_zipped);
    response
}

/// What became of a wish for channels.
pub(crate) struct Joined {
    /// Where the stream starts in each.
    pub cursor: Cursor,
    /// `{channel: {epoch, offset, recovered}}`.
    pub channels: Map<String, Value>,
    /// Whether everything after the presented cursor follows.
    pub recovered: bool,
}

/// Makes a connection a member of all these channels, or none is granted.
///
/// # Errors
/// The first refusal.
pub(crate) async fn join(
    mailbox: &Mailbox,
    channels: &[ChannelName],
    presented: Option<&Cursor>,
) -> Result<Joined, Refusal> {
    let mut joined = Joined { cursor: Cursor::default(), channels: Map::new(), recovered: true };
    for channel in channels {
        let from = presented.and_then(|cursor| cursor.position(channel));
        let start = from.clone().map_or(Start::Live, Start::Recover);
        let subscribe = Subscribe { start, ..Subscribe::live(channel.clone()) };
        let subscribe = starling_core::Request::Subscribe(subscribe);
        // However many channels it names, a client sent one request.
        let is_first = joined.channels.is_empty();
        match if is_first { mailbox.ask(subscribe).await? } else { mailbox.ask_on(subscribe).await? } {
            Reply::Subscribed { position, recovered, .. } => joined.note(channel, presented, from, position, recovered),
            Reply::Refused { refusal, .. } if refusal.is(ErrorCode::AlreadySubscribed) => {}
            Reply::Refused { refusal, .. } => return Err(refusal),
            _ => return Err(Refusal::new(ErrorCode::Internal, "a subscription was answered by something else")),
        }
    }
    Ok(joined)
}

impl Joined {
    fn note(
        &mut self,
        channel: &ChannelName,
        presented: Option<&Cursor>,
        from: Option<Position>,
        head: Option<Position>,
        recovered: Option<bool>,
    ) {
        let mut entry = Map::new();
        if let Some(head) = &head {
            entry.insert("epoch".into(), head.epoch.as_str().into());
            entry.insert("offset".into(), head.offset.into());
        }
        if presented.is_some() {
            // A channel that the cursor does not know may have had messages since.
            let recovered = recovered.unwrap_or(false);
            entry.insert("recovered".into(), recovered.into());
            self.recovered &= recovered;
        }
        let start = if recovered == Some(true) { from } else { head };
        if let Some(start) = start {
            self.cursor.set(channel.as_str(), start.epoch.as_str(), start.offset);
        }
        self.channels.insert(channel.as_str().to_owned(), entry.into());
    }
}

/// The channels that a request asks for, each once. None is a session of its user's messages, and of what is subscribed
/// to through `/send`.
pub(crate) fn channels(query: &str) -> Result<Vec<ChannelName>, Refusal> {
    let mut channels: Vec<ChannelName> = Vec::new();
    for name in parameters(query, "channel") {
        let channel =
            ChannelName::parse(&name).map_err(|error| Refusal::new(ErrorCode::InvalidChannel, error.to_string()))?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    Ok(channels)
}

/// The cursor that a client brings. The header of a client that comes back is newer than the address it came to first.
/// One that cannot be read is a cursor from which nothing can be recovered.
fn presented_cursor(headers: &HeaderMap, query: &str) -> Option<Cursor> {
    let last = text(headers, HeaderName::from_static("last-event-id")).filter(|id| !id.is_empty());
    let cursor = last.map(str::to_owned).or_else(|| parameter(query, "cursor").filter(|text| !text.is_empty()))?;
    Some(Cursor::parse(&cursor).unwrap_or_default())
}

pub(crate) fn refused(refusal: Refusal) -> Refused {
    Box::new(refusal_response(&refusal))
}

pub(crate) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text_response(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
