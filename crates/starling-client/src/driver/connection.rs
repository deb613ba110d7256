//! One connection: opens and authenticates it, and drives it until it ends.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_core::Refusal;
use starling_proto::websocket::{CloseCode, Opcode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Command;
use super::session::{Session, Signal};
use crate::builder::Settings;
use crate::client::Status;
use crate::connector::Connector;
use crate::error::{ConnectError, Error, Lost};
use crate::socket::{Frame, ReadError, Socket, Writer};
use crate::wire::{Incoming, Outgoing};

/// Bytes that may wait to be written before no further request is taken.
const WRITE_AHEAD: usize = 64 << 10;
/// How long the server has to answer our close frame, and to acknowledge what was published before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long before a token expires a new one is asked for.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// An open, authenticated connection.
pub(crate) struct Link {
    socket: Socket,
    /// Frames that came along with the answer to `auth`.
    frames: VecDeque<Frame>,
    connection_id: String,
    user_id: Option<String>,
    renew_at: Option<Instant>,
}

/// How a connection ended.
pub(crate) enum Ended {
    /// Because the client was closed.
    Closed,
    /// After the server asked for it, which said when to come back.
    Drained { at: Instant, lost: Lost },
    /// Otherwise; with the last error that answered no request.
    Lost { lost: Lost, refusal: Option<Refusal> },
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
    timeout_at(deadline, authenticate(socket, token.as_deref())).await.map_err(late)?
}

/// Sends the token again as the first message: a server that takes tokens only from there ignores the header, and
/// every other takes it for a renewal. Without a token the answer still tells the connection's id.
async fn authenticate(mut socket: Socket, token: Option<&str>) -> Result<Link, Error> {
    let broken = |reason: String| Error::Lost(Lost::broken(reason));
    let auth = Outgoing::Auth { token }.to_json();
    socket.writer.push(Opcode::Text, auth.as_bytes()).map_err(|error| broken(error.to_string()))?;
    socket.writer.flush().await.map_err(|error| broken(error.to_string()))?;
    let mut frames = VecDeque::new();
    let mut refusal = None;
    loop {
        while let Some(frame) = frames.pop_front() {
            let text = match frame {
                Frame::Text(text) => text,
                Frame::Close(code, reason) => {
                    let lost = Error::Lost(Lost { code, reason });
                    return Err(refusal.map_or(lost, Error::Refused));
                }
                Frame::Ping(payload) => {
                    socket.writer.push(Opcode::Pong, &payload).map_err(|error| broken(error.to_string()))?;
                    continue;
                }
                Frame::Pong => continue,
                Frame::Binary => return Err(Error::Connect(ConnectError::Protocol("binary message".into()))),
            };
            match Incoming::parse(&text).map_err(ConnectError::Protocol)? {
                Incoming::AuthAck { connection_id, user_id, expires_at } => {
                    let renew_at = expires_at.map(renewal);
                    return Ok(Link { socket, frames, connection_id, user_id, renew_at });
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

/// When to renew a token that expires at `expires_at` (Unix milliseconds): a bit before, by this machine's clock.
fn renewal(expires_at: u64) -> Instant {
    let expires = UNIX_EPOCH + Duration::from_millis(expires_at);
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    // Not at once, also where the same token is given again and again until it expires.
    Instant::now() + left.saturating_sub(RENEW_BEFORE.min(left / 5)).max(Duration::from_secs(1))
}

/// What one connection adds to the session while it is driven.
struct Running<'s> {
    settings: &'s Settings,
    writer: Writer,
    frames: VecDeque<Frame>,
    last_received: Instant,
    /// When a ping was sent that nothing has been received since.
    pinged: Option<Instant>,
    renew_at: Option<Instant>,
    /// The last error that answered no request.
    refusal: Option<Refusal>,
    /// Whether a subscriber has no room, so that nothing is read.
    is_stalled: bool,
    /// When to come back, after a drain was announced.
    drain: Option<Instant>,
    closing: Closing,
}

/// How far closing from our side has come.
enum Closing {
    No,
    /// Waiting until what was published before is acknowledged.
    Settling {
        until: Instant,
        done: Option<oneshot::Sender<()>>,
    },
    /// The close frame is sent.
    Sent {
        until: Instant,
        done: Option<oneshot::Sender<()>>,
    },
}

/// A fresh token that is being asked for.
type Renewal<'s> = Pin<Box<dyn Future<Output = Result<Option<String>, Error>> + Send + 's>>;

/// Drives a connection until it ends. Not cancel-safe; only the driver's task calls it.
pub(crate) async fn drive(
    link: Link,
    session: &mut Session,
    commands: &mut mpsc::Receiver<Command>,
    settings: &Settings,
) -> Ended {
    let Socket { mut reader, writer } = link.socket;
    let mut running = Running {
        settings,
        writer,
        frames: link.frames,
        last_received: Instant::now(),
        pinged: None,
        renew_at: link.renew_at.filter(|_| settings.tokens.renews()),
        refusal: None,
        is_stalled: false,
        drain: None,
        closing: Closing::No,
    };
    let mut renewal: Option<Renewal<'_>> = None;
    session.connected();
    loop {
        if let Err(ended) = running.advance(session) {
            running.last_words().await;
            return ended;
        }
        // While a subscriber has no room, nothing is read: the server notices, and this client's memory does not grow.
        let full = session.hand_over();
        running.is_stalled = full.is_some();
        let deadline = running.deadline(session);
        let is_open = matches!(running.closing, Closing::No);
        let has_room = running.writer.len() < WRITE_AHEAD;
        let may_flush = !running.writer.is_flushed();
        tokio::select! {
            read = reader.read(&mut running.frames), if full.is_none() => match read {
                Ok(()) => running.heard(),
                Err(error) => {
                    if let ReadError::Peer(violation) = &error {
                        let _ = running.writer.push_close(violation.close_code());
                        running.last_words().await;
                    }
                    return running.ended(error.lost());
                }
            },
            flushed = running.writer.flush(), if may_flush => {
                if let Err(error) = flushed {
                    return running.ended(Lost::broken(error));
                }
            }
            // An error means that the subscription was dropped, which `hand_over` finds out.
            _ = async { full.as_ref().expect("guarded").reserve().await.is_ok() }, if full.is_some() => {}
            command = commands.recv(), if is_open && has_room => match command {
                Some(Command::Close { done }) => running.begin_close(Some(done)),
                Some(command) => session.command(command),
                None => running.begin_close(None),
            },
            token = async { renewal.as_mut().expect("guarded").await }, if renewal.is_some() => {
                renewal = None;
                match token {
                    Ok(token) => running.authenticate(token.as_deref()),
                    Err(error) => tracing::warn!(%error, "token not renewed; the connection ends when the present one expires"),
                }
            }
            () = sleep_until(deadline) => {
                if running.renew_at.is_some_and(|at| at <= Instant::now()) {
                    running.renew_at = None;
                    renewal = Some(Box::pin(settings.tokens.token()));
                }
            }
        }
    }
}

impl Running<'_> {
    /// Does all that needs no waiting. `Err` is the end of the connection.
    fn advance(&mut self, session: &mut Session) -> Result<(), Ended> {
        let now = Instant::now();
        while let Some(frame) = self.frames.pop_front() {
            self.receive(frame, session, now)?;
        }
        session.tick(now);
        self.check_silence(now)?;
        if self.drain.is_some_and(|at| at <= now) {
            return Err(self.ended(Lost::broken("the server announced a restart")));
        }
        while self.writer.len() < WRITE_AHEAD {
            let Some(text) = session.next_outgoing(now) else { break };
            self.push(Opcode::Text, text.as_bytes())?;
        }
        self.advance_close(session, now)
    }

    fn receive(&mut self, frame: Frame, session: &mut Session, now: Instant) -> Result<(), Ended> {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Ping(payload) => return self.push(Opcode::Pong, &payload),
            Frame::Pong => return Ok(()),
            Frame::Close(code, reason) => {
                // The answer is a courtesy: the server closes the socket either way.
                let _ = self.writer.push_close(CloseCode::NORMAL);
                return Err(self.ended(Lost { code: code.or(Some(CloseCode::NO_STATUS.0)), reason }));
            }
            Frame::Binary => return Err(self.ended(Lost::broken("binary message from the server"))),
        };
        match session.receive(&text, now) {
            Ok(Signal::None) => {}
            Ok(Signal::Authenticated(expires_at)) => {
                self.renew_at = expires_at.filter(|_| self.settings.tokens.renews()).map(renewal);
            }
            Ok(Signal::Drain(millis)) => self.drain = Some(now + Duration::from_millis(millis)),
            Ok(Signal::Complaint(refusal)) => {
                tracing::warn!(%refusal, "the server complains");
                self.refusal = Some(refusal);
            }
            // A message that cannot be read may be one that is then missing: recovering is the honest way on.
            Err(reason) => {
                let _ = self.writer.push_close(CloseCode::UNSUPPORTED);
                return Err(self.ended(Lost::broken(format!("message from the server: {reason}"))));
            }
        }
        Ok(())
    }

    fn heard(&mut self) {
        self.last_received = Instant::now();
        self.pinged = None;
    }

    /// Sends a ping into silence, and gives up when the silence goes on.
    fn check_silence(&mut self, now: Instant) -> Result<(), Ended> {
        match self.pinged {
            // Pings are not read either, so that the server is told without being asked that this end is alive.
            _ if self.is_stalled && self.last_received + self.settings.ping_interval <= now => {
                self.heard();
                self.push(Opcode::Pong, b"")
            }
            _ if self.is_stalled => Ok(()),
            None if self.last_received + self.settings.ping_interval <= now => {
                self.pinged = Some(now);
                self.push(Opcode::Ping, b"")
            }
            Some(pinged) if pinged + self.settings.ping_timeout <= now => {
                Err(self.ended(Lost::broken("no sign of life from the server")))
            }
            _ => Ok(()),
        }
    }

    fn authenticate(&mut self, token: Option<&str>) {
        // If it fails, so will whatever is written next.
        let _ = self.push(Opcode::Text, Outgoing::Auth { token }.to_json().as_bytes());
    }

    fn begin_close(&mut self, done: Option<oneshot::Sender<()>>) {
        self.closing = Closing::Settling { until: Instant::now() + CLOSE_TIMEOUT, done };
    }

    fn advance_close(&mut self, session: &Session, now: Instant) -> Result<(), Ended> {
        match &mut self.closing {
            Closing::No => Ok(()),
            Closing::Settling { until, done } if session.is_settled() || *until <= now => {
                self.closing = Closing::Sent { until: now + CLOSE_TIMEOUT, done: done.take() };
                if self.writer.push_close(CloseCode::NORMAL).is_err() {
                    return Err(Ended::Closed);
                }
                Ok(())
            }
            Closing::Sent { until, .. } if *until <= now => {
                Err(self.ended(Lost::broken("the server did not answer the close frame")))
            }
            Closing::Settling { .. } | Closing::Sent { .. } => Ok(()),
        }
    }

    /// When something is due although nothing happens.
    fn deadline(&self, session: &Session) -> Instant {
        let silence = match self.pinged.filter(|_| !self.is_stalled) {
            None => self.last_received + self.settings.ping_interval,
            Some(pinged) => pinged + self.settings.ping_timeout,
        };
        let closing = match self.closing {
            Closing::No => None,
            Closing::Settling { until, .. } | Closing::Sent { until, .. } => Some(until),
        };
        [session.deadline(), self.renew_at, self.drain, closing].into_iter().flatten().fold(silence, Instant::min)
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Ended> {
        let pushed = self.writer.push(opcode, payload);
        pushed.map_err(|error| self.ended(Lost::broken(error)))
    }

    /// Writes what waits, as far as that takes no time.
    async fn last_words(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.writer.flush()).await;
    }

    fn ended(&mut self, lost: Lost) -> Ended {
        match std::mem::replace(&mut self.closing, Closing::No) {
            Closing::Settling { done, .. } | Closing::Sent { done, .. } => {
                if let Some(done) = done {
                    let _ = done.send(());
                }
                return Ended::Closed;
            }
            Closing::No => {}
        }
        match self.drain {
            Some(at) => Ended::Drained { at, lost },
            None => Ended::Lost { lost, refusal: self.refusal.take() },
        }
    }
}

impl ReadError {
    fn lost(&self) -> Lost {
        match self {
            Self::Io(error) => Lost::broken(error),
            Self::Peer(violation) => Lost::broken(format!("the server violated the WebSocket protocol: {violation}")),
        }
    }
}
