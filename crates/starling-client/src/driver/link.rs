//! Opens a connection and authenticates it.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_proto::native::{Encoding, msgpack};
use starling_proto::websocket::Opcode;
use tokio::time::{Instant, timeout_at};

use crate::builder::Settings;
use crate::client::Status;
use crate::connector::Connector;
use crate::error::{ConnectError, Error, Lost};
use crate::socket::{Frame, ReadError, Socket};
use crate::wire::{Fields, Incoming};

/// How long before a token expires a new one is asked for.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// An open, authenticated connection.
pub(crate) struct Link {
    pub(super) socket: Socket,
    pub(super) encoding: Encoding,
    /// Frames that came along with the answer to `auth`.
    pub(super) frames: VecDeque<Frame>,
    connection_id: String,
    user_id: Option<String>,
    pub(super) renew_at: Option<Instant>,
}

impl Link {
    pub(crate) fn status(&self) -> Status {
        Status::Connected { connection_id: self.connection_id.clone(), user_id: self.user_id.clone() }
    }
}

/// Opens a connection and waits until the server has said who we are.
///
/// # Errors
///
/// Why there is none.
pub(crate) async fn open(connector: &Connector, settings: &Settings) -> Result<Link, Error> {
    let deadline = Instant::now() + settings.connect_timeout;
    let late = |_| {
        let address = connector.endpoint.address();
        Error::Connect(ConnectError::Timeout { address, after: settings.connect_timeout })
    };
    let token = timeout_at(deadline, settings.tokens.token()).await.map_err(late)??;
    let socket = timeout_at(deadline, connector.open(token.as_deref())).await.map_err(late)??;
    timeout_at(deadline, authenticate(socket, connector.encoding, token.as_deref())).await.map_err(late)?
}

/// Sends the token again as the first message: a server that takes tokens only from there ignores the header, and
/// every other takes it for a renewal. Without a token the answer still tells the connection's id.
async fn authenticate(mut socket: Socket, encoding: Encoding, token: Option<&str>) -> Result<Link, Error> {
    let broken = |reason: String| Error::Lost(Lost::broken(reason));
    let auth = Fields { token, ..Fields::new("auth") }.write(encoding);
    socket.writer.push(opcode(encoding), &auth).map_err(|error| broken(error.to_string()))?;
    socket.writer.flush().await.map_err(|error| broken(error.to_string()))?;
    let mut frames = VecDeque::new();
    let mut refusal = None;
    loop {
        while let Some(frame) = frames.pop_front() {
            let frame = match frame {
                Frame::Text(_) | Frame::Binary(_) => frame,
                Frame::Close(code, reason) => {
                    let lost = Error::Lost(Lost { code, reason });
                    return Err(refusal.map_or(lost, Error::Refused));
                }
                Frame::Ping(payload) => {
                    socket.writer.push(Opcode::Pong, &payload).map_err(|error| broken(error.to_string()))?;
                    continue;
                }
                Frame::Pong => continue,
            };
            let text = text(frame, encoding).map_err(ConnectError::Protocol)?;
            match Incoming::parse(&text).map_err(ConnectError::Protocol)? {
                Incoming::AuthAck { connection_id, user_id, expires_at } => {
                    let renew_at = expires_at.map(renewal);
                    return Ok(Link { socket, encoding, frames, connection_id, user_id, renew_at });
                }
                Incoming::Error(_, error) => refusal = Some(error),
                _ => {}
            }
        }
        socket
            .reader
            .read(&mut frames)
            .await
            .map_err(|error| refusal.clone().map_or_else(|| Error::Lost(error.lost()), Error::Refused))?;
    }
}

/// In which frames an encoding travels.
pub(super) fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json => Opcode::Text,
        Encoding::Msgpack => Opcode::Binary,
    }
}

/// The JSON of a message in the encoding that was agreed on.
pub(super) fn text(frame: Frame, encoding: Encoding) -> Result<String, String> {
    match (frame, encoding) {
        (Frame::Text(text), Encoding::Json) => Ok(text),
        (Frame::Binary(bytes), Encoding::Msgpack) => msgpack::client::to_json(&bytes).map_err(str::to_owned),
        (Frame::Binary(_), _) => Err("binary frame".into()),
        _ => Err("text frame".into()),
    }
}

/// When to renew a token that expires at `expires_at` (Unix milliseconds): a bit before, by this machine's clock.
pub(super) fn renewal(expires_at: u64) -> Instant {
    let expires = UNIX_EPOCH + Duration::from_millis(expires_at);
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    // Not at once, also where the same token is given again and again until it expires.
    Instant::now() + left.saturating_sub(RENEW_BEFORE.min(left / 5)).max(Duration::from_secs(1))
}

impl ReadError {
    pub(super) fn lost(&self) -> Lost {
        match self {
            Self::Io(error) => Lost::broken(error),
            Self::Peer(violation) => Lost::broken(format!("the server violated the WebSocket protocol: {violation}")),
        }
    }
}
