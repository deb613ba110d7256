//! `GET /poll`: long-polling. Section 7 of the contract.
//!
//! A session lives between polls for the recovery window. The cursor names it, and says how far its bearer has come: an
//! answer that was lost on its way is given again, and where the session is gone, a new one reads what is missing from
//! the log, on any node.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use starling_core::{ChannelName, CloseReason, ErrorCode, NodeId, Refusal, UserId};
use starling_proto::native::{Cursor, POLL_PROTOCOL, PollSession};

use crate::auth::Claims;
use crate::cors::{self, with_cors};
use crate::gzip;
use crate::http::{Body, json_response};
use crate::mailbox::{Found, Gone, Mailbox, Opening, new_names};
use crate::options::LiveOptions;
use crate::relay;
use crate::shared::Shared;
use crate::stream::{channels, join, method_not_allowed, refused};
use crate::upgrade::{Refused, admit, check_origin, enter, new_identity, parameter, request_credentials};
use crate::worker::{Fetched, Framing, open_envelopes};

/// How long a poll waits unless it says otherwise, in seconds.
const DEFAULT_TIMEOUT: u64 = 25;
/// How long it waits at most, in seconds; more counts as this.
const MAX_TIMEOUT: u64 = 60;

/// What is known of a session between its polls.
#[derive(Debug)]
pub(crate) struct Polled {
    /// Answers that carried something, so far.
    turn: AtomicU64,
    /// The newest of them and its number, until its cursor comes back: it may not have arrived.
    last: Mutex<Option<(u64, Bytes)>>,
    /// Channels that were asked for.
    channels: Mutex<Vec<ChannelName>>,
    /// When the token it was last asked with expires, in Unix milliseconds; 0: never.
    expires_at: AtomicU64,
}

/// Answers a request for `/poll`.
pub(crate) async fn serve<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body> {
    let live = shared.live.load_full();
    if request.method() == Method::OPTIONS {
        return cors::preflight(&live.origins, request.headers());
    }
    if request.method() != Method::GET {
        return method_not_allowed("GET, OPTIONS");
    }
    let (head, _) = request.into_parts();
    if let Some(node) = elsewhere(shared, &head) {
        let response = relay::forward(shared, &head, Bytes::new(), &node, client).await;
        // A node that is gone has left its sessions' messages in the log.
        if response.status() != StatusCode::FORBIDDEN {
            return response;
        }
    }
    let response = match poll(shared, &live, &head, client).await {
        Ok(body) => {
            let compressed = gzip::gzip(&head.headers, &body);
            let is_compressed = compressed.is_some();
            let mut response = json_response(StatusCode::OK, compressed.unwrap_or(body));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            gzip::mark(response.headers_mut(), is_compressed);
            response
        }
        Err(response) => *response,
    };
    with_cors(&live.origins, &head.headers, response)
}

async fn poll(shared: &Arc<Shared>, live: &LiveOptions, head: &Parts, client: IpAddr) -> Result<Bytes, Refused> {
    let headers = &head.headers;
    let query = head.uri.query().unwrap_or_default();
    check_origin(live, headers)?;
    let channels = channels(query).map_err(refused)?;
    let wait = timeout(query).map_err(refused)?;
    // One that cannot be read is a cursor from which nothing can be recovered.
    let presented = parameter(query, "cursor").filter(|text| !text.is_empty());
    let presented = presented.map(|text| Cursor::parse(&text).unwrap_or_default());
    let claims = request_credentials(shared, live, headers, query).await.map_err(refused)?;
    let found = match &presented {
        Some(cursor) => Session::find(shared, cursor, claims.as_ref(), live),
        None => None,
    };
    let session = match found {
        Some(Bearer::Misses(answer)) => return Ok(answer),
        Some(Bearer::GoesOn(session)) => session.go_on(&channels, claims.as_ref()).await?,
        None => {
            let permit = enter(shared, live, headers, client)?;
            Session::open(shared, live, permit, &channels, presented.as_ref(), claims).await?
        }
    };
    // Without a cursor the question is only where to start; and who missed something hears of it at once.
    let wait = if presented.is_some() && session.recovered { wait } else { Duration::ZERO };
    session.answer(wait).await
}

/// The node that has the session which a poll goes on with, where it is another.
fn elsewhere(shared: &Shared, head: &Parts) -> Option<NodeId> {
    if head.extensions.get::<relay::Relayed>().is_some() {
        return None;
    }
    let cursor = Cursor::parse(&parameter(head.uri.query()?, "cursor")?)?;
    match Mailbox::find(shared, cursor.session()?.0) {
        Found::Elsewhere(node) => Some(node),
        Found::Here(..) | Found::Nowhere => None,
    }
}

fn timeout(query: &str) -> Result<Duration, Refusal> {
    let Some(text) = parameter(query, "timeout") else { return Ok(Duration::from_secs(DEFAULT_TIMEOUT)) };
    let invalid = || Refusal::new(ErrorCode::InvalidMessage, "`timeout` is a number of seconds");
    let seconds: f64 = text.parse().map_err(|_| invalid())?;
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(invalid());
    }
    Ok(Duration::from_secs_f64(seconds.min(MAX_TIMEOUT as f64)))
}

/// What a cursor says of its bearer, where the session that it names is there.
enum Bearer {
    /// It got everything so far.
    GoesOn(Session),
    /// It did not get the last answer, which is this.
    Misses(Bytes),
}

/// A session, for the time of one poll.
struct Session {
    mailbox: Mailbox,
    key: Arc<str>,
    polled: Arc<Polled>,
    /// Answers that carried something, as far as the client got them.
    turn: u64,
    cursor: Cursor,
    recovered: bool,
}

impl Session {
    /// The session that a cursor goes on with, if it is still there and its bearer's.
    fn find(shared: &Shared, cursor: &Cursor, claims: Option<&Claims>, live: &LiveOptions) -> Option<Bearer> {
        let (key, turn) = cursor.session()?;
        let Found::Here(mailbox, place) = Mailbox::find(shared, key) else { return None };
        if !place.is_owned_by(claims, live.auth.anonymous) {
            return None;
        }
        let polled = place.polled?;
        let present = polled.turn.load(Ordering::Acquire);
        if present == turn {
            *polled.last.lock() = None;
            let session = Self { mailbox, key: key.into(), polled, turn, cursor: cursor.clone(), recovered: true };
            return Some(Bearer::GoesOn(session));
        }
        let last = polled.last.lock().clone().filter(|(number, _)| *number == present && present == turn + 1);
        if let Some((_, answer)) = last {
            return Some(Bearer::Misses(answer));
        }
        // What else was lost is in the log, if anywhere.
        mailbox.close(CloseReason::Lost);
        None
    }

    async fn open(
        shared: &Arc<Shared>,
        live: &LiveOptions,
        permit: crate::gate::Permit,
        channels: &[ChannelName],
        presented: Option<&Cursor>,
        claims: Option<Claims>,
    ) -> Result<Self, Refused> {
        let (connection, key) = new_names(shared, claims.is_some());
        let identity = new_identity(live, POLL_PROTOCOL, connection);
        let owner_user = claims.as_ref().map(|claims| UserId::from(&*claims.user));
        let expires_at = claims.as_ref().and_then(|claims| claims.expires_at).unwrap_or(0);
        let admitted = admit(shared, live, identity, claims, false).await.map_err(|it| it.response())?;
        let opening = Opening {
            key: key.clone(),
            owner: (admitted.identity.app.clone(), owner_user),
            framing: Framing::Mailbox,
            patience: shared.recovery_window,
            session: Box::new(PollSession),
            permit,
            is_guest: false,
        };
        let mailbox = Mailbox::open(shared, admitted, opening).await.map_err(|Gone| refused(Gone.into()))?;
        let joined = match join(&mailbox, channels, presented).await {
            Ok(joined) => joined,
            Err(refusal) => {
                mailbox.close(CloseReason::Normal);
                return Err(refused(refusal));
            }
        };
        let polled = Arc::new(Polled {
            turn: AtomicU64::new(0),
            last: Mutex::default(),
            channels: Mutex::new(channels.to_vec()),
            expires_at: AtomicU64::new(expires_at),
        });
        shared.sessions.keep_polled(&key, &polled);
        Ok(Self { mailbox, key, polled, turn: 0, cursor: joined.cursor, recovered: joined.recovered })
    }

    /// Renews the session's token if this poll brings another, and subscribes to what is new in it.
    async fn go_on(mut self, channels: &[ChannelName], claims: Option<&Claims>) -> Result<Self, Refused> {
        let expires_at = claims.and_then(|claims| claims.expires_at).unwrap_or(0);
        if let Some(claims) = claims
            && self.polled.expires_at.swap(expires_at, Ordering::AcqRel) != expires_at
        {
            self.mailbox.renew(claims.clone());
        }
        let new: Vec<ChannelName> = {
            let known = self.polled.channels.lock();
            channels.iter().filter(|channel| !known.contains(channel)).cloned().collect()
        };
        if !new.is_empty() {
            let joined = join(&self.mailbox, &new, Some(&self.cursor)).await.map_err(refused)?;
            self.recovered &= joined.recovered;
            for channel in &new {
                if let Some(position) = joined.cursor.position(channel) {
                    self.cursor.set(channel.as_str(), position.epoch.as_str(), position.offset);
                }
            }
            self.polled.channels.lock().extend(new);
        }
        Ok(self)
    }

    /// Waits for something, and answers.
    async fn answer(mut self, wait: Duration) -> Result<Bytes, Refused> {
        let fetched = self.mailbox.fetch(wait, true).await.map_err(|Gone| refused(Gone.into()))?;
        let mut packets = Vec::new();
        let mut is_over = false;
        let mut handed = 0;
        match fetched {
            Some(Fetched::Waiting(bytes, number)) => {
                handed = number;
                open_envelopes(bytes, &mut packets);
            }
            Some(Fetched::Closed(bytes, closing, number)) => {
                handed = number;
                if let Some(refusal) = refusal_of(closing.reason) {
                    return Err(refused(refusal));
                }
                open_envelopes(bytes, &mut packets);
                is_over = true;
            }
            Some(Fetched::Superseded | Fetched::Occupied | Fetched::Moved) | None => {}
        }
        if !packets.is_empty() {
            self.polled.turn.fetch_max(handed, Ordering::AcqRel);
            // An answer before this one went to a poll whose client had gone: several come at once when a node goes on that
            // stood still. What follows it is nothing for this client, whose next poll reads on from the log.
            if handed == self.turn + 1 {
                self.turn = handed;
            } else {
                packets.clear();
            }
        }
        for packet in &packets {
            self.cursor.pass(packet.bytes());
        }
        let cursor = if is_over { self.cursor } else { self.cursor.of_session(&self.key, self.turn) };
        let mut body = Vec::with_capacity(256 + packets.iter().map(|packet| packet.bytes().len() + 1).sum::<usize>());
        body.extend_from_slice(format!(r#"{{"cursor":"{cursor}","messages":["#).as_bytes());
        for (index, packet) in packets.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(packet.bytes());
        }
        body.extend_from_slice(
            format!(r#"],"recovered":{},"connectionId":"{}"}}"#, self.recovered, self.key).as_bytes(),
        );
        let body = Bytes::from(body);
        if !packets.is_empty() && !is_over {
            *self.polled.last.lock() = Some((self.turn, body.clone()));
        }
        Ok(body)
    }
}

/// What a client is told whose session was closed and who must not simply come back.
fn refusal_of(reason: CloseReason) -> Option<Refusal> {
    match reason {
        CloseReason::TokenExpired => Some(Refusal::new(ErrorCode::TokenExpired, "the token has expired")),
        CloseReason::Forbidden => Some(Refusal::new(ErrorCode::Forbidden, "disconnected by the application")),
        CloseReason::TooManyRequests => Some(Refusal::new(ErrorCode::RateLimited, "too many messages")),
        _ => None,
    }
}
