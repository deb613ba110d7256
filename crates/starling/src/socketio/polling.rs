//! Engine.IO's long-polling: `GET` waits for packets, `POST` brings some.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use starling_core::CloseReason;
use starling_proto::OwnedPacket;
use starling_proto::socketio::engine::{self, pack, text, unpack};

use super::{Complaint, Speech, admitted, claims, new_sid, session};
use crate::api::read_body;
use crate::http::Body;
use crate::mailbox::{Found, Gone, Mailbox, Opening};
use crate::options::LiveOptions;
use crate::relay;
use crate::shared::Shared;
use crate::upgrade::{Refused, enter};
use crate::worker::{Fetched, Framing, open_envelopes};

/// Answers a request of a client that polls.
pub(super) async fn answer<B>(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    request: Request<B>,
    client: IpAddr,
    speech: Speech,
    sid: Option<String>,
) -> Result<Response<Body>, Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let (head, body) = request.into_parts();
    let Some(sid) = sid else {
        if head.method != Method::GET {
            return Err(Complaint::BadMethod.response());
        }
        return open(shared, live, &head, client, speech).await;
    };
    let found = Mailbox::find(shared, &sid);
    let is_relayed = head.extensions.get::<relay::Relayed>().is_some();
    match (&head.method, found) {
        (&Method::GET, Found::Here(mailbox, _)) => poll(live, &mailbox).await,
        (&Method::POST, found) => {
            if matches!(found, Found::Nowhere) {
                return Err(Complaint::UnknownSession.response());
            }
            let body = read_body(body, &head.headers, live.max_payload, live.handshake_timeout).await;
            let body = body.map_err(|failure| Box::new(failure.into_response()))?;
            match found {
                Found::Here(mailbox, _) => bring(shared, &mailbox, &sid, &body).await,
                Found::Elsewhere(node) if !is_relayed => Ok(relay::forward(shared, &head, body, &node, client).await),
                Found::Elsewhere(_) | Found::Nowhere => Err(Complaint::UnknownSession.response()),
            }
        }
        (&Method::GET, Found::Elsewhere(node)) if !is_relayed => {
            Ok(relay::forward(shared, &head, Bytes::new(), &node, client).await)
        }
        (&Method::GET, _) => Err(Complaint::UnknownSession.response()),
        _ => Err(Complaint::BadRequest.response()),
    }
}

/// Opens a session, and answers with its handshake.
async fn open(
    shared: &Arc<Shared>,
    live: &LiveOptions,
    head: &Parts,
    client: IpAddr,
    speech: Speech,
) -> Result<Response<Body>, Refused> {
    let permit = enter(shared, live, &head.headers, client)?;
    let query = head.uri.query().unwrap_or_default();
    let claims = claims(shared, live, &head.headers, query).await?;
    let admitted = admitted(shared, live, claims, query, speech).await?;
    let sid = new_sid(shared);
    let opening = Opening {
        key: sid.clone(),
        // Whoever knows the id is the client.
        owner: (admitted.identity.app.clone(), None),
        framing: Framing::Mailbox,
        patience: shared.recovery_window,
        session: session(shared, live, &sid, speech, true),
        permit,
        is_guest: false,
    };
    let opened = Mailbox::open(shared, admitted, opening).await;
    let mailbox = opened.map_err(|Gone| Complaint::UnknownSession.response())?;
    poll(live, &mailbox).await
}

/// Waits for packets. A client that goes away meanwhile is lost, since nobody knows what of the answer it got.
async fn poll(live: &LiveOptions, mailbox: &Mailbox) -> Result<Response<Body>, Refused> {
    let mut visit = Visit { mailbox, is_over: false };
    // The heartbeat comes before that.
    let wait = 2 * (live.heartbeat.interval + live.heartbeat.timeout) + Duration::from_secs(1);
    let fetched = mailbox.fetch(wait, false).await;
    visit.is_over = true;
    let mut packets = Vec::new();
    match fetched {
        Ok(Some(Fetched::Waiting(bytes, _))) => open_envelopes(bytes, &mut packets),
        Ok(Some(Fetched::Closed(bytes, closing, _))) => {
            open_envelopes(bytes, &mut packets);
            match closing.reason {
                // Nobody was waiting when it was lost.
                CloseReason::Lost => return Err(Complaint::UnknownSession.response()),
                CloseReason::Normal if packets.is_empty() => packets.push(text(engine::NOOP)),
                CloseReason::Normal => {}
                _ => packets.push(text(engine::CLOSE)),
            }
        }
        Ok(Some(Fetched::Superseded) | None) => packets.push(text(engine::NOOP)),
        Ok(Some(Fetched::Occupied)) => {
            mailbox.close(CloseReason::ProtocolError);
            return Err(Complaint::BadRequest.response());
        }
        Ok(Some(Fetched::Moved)) => return Err(Complaint::BadRequest.response()),
        Err(Gone) => return Err(Complaint::UnknownSession.response()),
    }
    Ok(plain(pack(&packets)))
}

/// A client that waits.
struct Visit<'a> {
    mailbox: &'a Mailbox,
    is_over: bool,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.mailbox.close(CloseReason::Lost);
        }
    }
}

/// Has the session hear the packets of a body.
async fn bring(shared: &Shared, mailbox: &Mailbox, sid: &str, body: &[u8]) -> Result<Response<Body>, Refused> {
    let packets = std::str::from_utf8(body).ok().and_then(unpack).filter(|packets| packets.iter().all(is_packet));
    let Some(packets) = packets else {
        let (worker, slot) = mailbox.place();
        // A poll that comes now finds nothing.
        shared.sessions.remove(sid, worker, slot);
        mailbox.close(CloseReason::InvalidMessage);
        return Err(Complaint::BadRequest.response());
    };
    mailbox.deposit(packets).await.map_err(|Gone| Complaint::UnknownSession.response())?;
    Ok(plain("ok".to_owned()))
}

/// Whether text begins with a type that a client may send; what it says then is the session's business.
fn is_packet(packet: &OwnedPacket) -> bool {
    match packet {
        OwnedPacket::Text(text) => matches!(text.first(), Some(b'1' | b'3' | b'4' | b'6')),
        OwnedPacket::Binary(_) => true,
    }
}

fn plain(body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(body.into()));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
