//! Opens a connection and authenticates it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_core::Refusal;
use starling_proto::native::{Encoding, msgpack};
use tokio::time::{Instant, timeout_at};

use crate::builder::Settings;
use crate::client::Status;
use crate::connector::Connector;
use crate::error::{Blame, ConnectError, Error, Failure, Lost};
use crate::transport::{self, Frame, ReadError, Socket, Transport};
use crate::wire::{Fields, Incoming};

/// How long before a token expires a new one is asked for.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// An open, authenticated connection.
pub(crate) struct Link {
    pub(super) socket: Socket,
    /// Frames that came along with the answer to `auth`.
    pub(super) frames: VecDeque<Frame>,
    connection_id: String,
    user_id: Option<String>,
    pub(super) renew_at: Option<Instant>,
    /// The connection whose place it takes, until it has taken it.
    pub(super) replaces: Option<Socket>,
}

impl Link {
    pub(crate) fn status(&self) -> Status {
        Status::Connected {
            connection_id: self.connection_id.clone(),
            user_id: self.user_id.clone(),
            transport: self.socket.transport,
        }
    }
}

/// Opens a connection over this transport, and waits until the server has said who we are.
///
/// Cancel-safe: a connection that is half open is closed.
///
/// # Errors
///
/// Why there is none.
pub(crate) async fn open(
    connector: &Arc<Connector>,
    settings: &Settings,
    transport: Transport,
) -> Result<Link, Failure> {
    let deadline = Instant::now() + settings.connect_timeout;
    let late = |blame| {
        let address = connector.endpoint.address();
        let error = ConnectError::Timeout { address, after: settings.connect_timeout }.into();
        move |_| Failure { error, blame }
    };
    let token = timeout_at(deadline, settings.tokens.token()).await.map_err(late(Blame::Elsewhere))?;
    let token = token.map_err(|error| Failure { error, blame: Blame::Elsewhere })?;
    let opening = transport::open(connector, transport, token.as_deref());
    let socket = timeout_at(deadline, opening).await.map_err(late(Blame::Path))??;
    let authenticating = authenticate(socket, connector.encoding, token.as_deref());
    timeout_at(deadline, authenticating).await.map_err(late(Blame::Path))?
}

/// Sends the token again as the first message: a server that takes tokens only from there ignores the header, and
/// every other takes it for a renewal. Without a token the answer still tells the connection's id. Over HTTP it also
/// shows that messages get through.
async fn authenticate(mut socket: Socket, encoding: Encoding, token: Option<&str>) -> Result<Link, Failure> {
    let auth = Fields { token, ..Fields::new("auth") }.write(encoding);
    socket.writer.message(&auth).map_err(|error| broken(Lost::broken(error)))?;
    let mut frames = VecDeque::new();
    let mut refusal = None;
    loop {
        while let Some(frame) = frames.pop_front() {
            let frame = match frame {
                Frame::Text(_) | Frame::Binary(_) => frame,
                Frame::Close(code, reason) => {
                    let lost = broken(Lost { code, reason });
                    return Err(refusal.map_or(lost, refused));
                }
                Frame::Ping(payload) => {
                    socket.writer.pong(&payload).map_err(|error| broken(Lost::broken(error)))?;
                    continue;
                }
                Frame::Pong => continue,
            };
            let text = text(frame, socket.encoding).map_err(ConnectError::Protocol)?;
            match Incoming::parse(&text).map_err(ConnectError::Protocol)? {
                Incoming::AuthAck { connection_id, user_id, expires_at } => {
                    let renew_at = expires_at.map(renewal);
                    return Ok(Link { socket, frames, connection_id, user_id, renew_at, replaces: None });
                }
                // A WebSocket is closed then, with a code that says more. A session over HTTP just is of no use.
                Incoming::Error(_, error) if socket.transport != Transport::WebSocket => return Err(refused(error)),
                Incoming::Error(_, error) => refusal = Some(error),
                _ => {}
            }
        }
        let may_flush = !socket.writer.is_flushed();
        tokio::select! {
            flushed = socket.writer.flush(), if may_flush => flushed.map_err(|error| broken(Lost::broken(error)))?,
            read = socket.reader.read(&mut frames) => read.map_err(|error| match (error, refusal.clone()) {
                (_, Some(refusal)) => refused(refusal),
                (ReadError::Http(failure), None) => failure,
                (error, None) => broken(error.lost()),
            })?,
        }
    }
}

/// A connection that ended before it was of use.
fn broken(lost: Lost) -> Failure {
    let blame = if lost.may_be_the_path() { Blame::Path } else { Blame::Elsewhere };
    Failure { error: Error::Lost(lost), blame }
}

fn refused(refusal: Refusal) -> Failure {
    Failure { error: Error::Refused(refusal), blame: Blame::Elsewhere }
}

/// The JSON of a message in the encoding that was agreed on.
pub(in crate::driver) fn text(frame: Frame, encoding: Encoding) -> Result<String, String> {
    match (frame, encoding) {
        (Frame::Text(text), Encoding::Json) => Ok(text),
        (Frame::Binary(bytes), Encoding::Msgpack) => msgpack::client::to_json(&bytes).map_err(str::to_owned),
        (Frame::Binary(_), _) => Err("binary frame".into()),
        _ => Err("text frame".into()),
    }
}

/// When to renew a token that expires at `expires_at` (Unix milliseconds): a bit before, by this machine's clock.
pub(in crate::driver) fn renewal(expires_at: u64) -> Instant {
    let expires = UNIX_EPOCH + Duration::from_millis(expires_at);
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    // Not at once, also where the same token is given again and again until it expires.
    Instant::now() + left.saturating_sub(RENEW_BEFORE.min(left / 5)).max(Duration::from_secs(1))
}
