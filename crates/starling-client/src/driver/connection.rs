//! One connection, from when it is open until it ends.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use starling_core::Refusal;
use starling_proto::native::Encoding;
use starling_proto::websocket::{CloseCode, Opcode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Command;
use super::link::{Link, opcode, renewal, text};
use super::session::{Session, Signal};
use crate::backoff::spread;
use crate::builder::Settings;
use crate::error::{Error, Lost};
use crate::socket::{Frame, ReadError, Socket, Writer};
use crate::wire::Fields;

/// Bytes that may wait to be written before no further request is taken.
const WRITE_AHEAD: usize = 64 << 10;
/// How long the server has to answer our close frame, and to acknowledge what was published before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait after the token function failed, plus a random part of as much.
const RENEW_AGAIN: Duration = Duration::from_secs(2);

/// How a connection ended.
pub(crate) enum Ended {
    /// Because the client was closed; who asked for it waits to hear of it.
    Closed(Option<oneshot::Sender<()>>),
    /// After the server asked for it, which said when to come back.
    Drained { at: Instant, lost: Lost },
    /// Otherwise; with the last error that answered no request.
    Lost { lost: Lost, refusal: Option<Refusal> },
}

/// What one connection adds to the session while it is driven.
struct Running<'s> {
    settings: &'s Settings,
    encoding: Encoding,
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
        encoding: link.encoding,
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
            () = async { full.as_ref().expect("guarded").room().await }, if full.is_some() => {}
            command = commands.recv(), if is_open && has_room => match command {
                Some(Command::Close { done }) => running.begin_close(Some(done)),
                Some(command) => session.command(command),
                None => running.begin_close(None),
            },
            token = async { renewal.as_mut().expect("guarded").await }, if renewal.is_some() => {
                renewal = None;
                match token {
                    Ok(token) => running.authenticate(token.as_deref()),
                    Err(error) => {
                        tracing::warn!(%error, "token not renewed; the connection ends when the present one expires");
                        running.renew_at = Some(Instant::now() + RENEW_AGAIN + spread(RENEW_AGAIN));
                    }
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
            let Some(message) = session.next_outgoing(now) else { break };
            self.push(opcode(self.encoding), &message)?;
        }
        self.advance_close(session, now)
    }

    fn receive(&mut self, frame: Frame, session: &mut Session, now: Instant) -> Result<(), Ended> {
        let frame = match frame {
            Frame::Text(_) | Frame::Binary(_) => frame,
            Frame::Ping(payload) => return self.push(Opcode::Pong, &payload),
            Frame::Pong => return Ok(()),
            Frame::Close(code, reason) => {
                // The answer is a courtesy: the server closes the socket either way.
                let _ = self.writer.push_close(CloseCode::NORMAL);
                return Err(self.ended(Lost { code: code.or(Some(CloseCode::NO_STATUS.0)), reason }));
            }
        };
        match text(frame, self.encoding).and_then(|text| session.receive(&text, now)) {
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
        let auth = Fields { token, ..Fields::new("auth") }.write(self.encoding);
        let _ = self.push(opcode(self.encoding), &auth);
    }

    fn begin_close(&mut self, done: Option<oneshot::Sender<()>>) {
        self.closing = Closing::Settling { until: Instant::now() + CLOSE_TIMEOUT, done };
    }

    fn advance_close(&mut self, session: &Session, now: Instant) -> Result<(), Ended> {
        match &mut self.closing {
            Closing::No => Ok(()),
            Closing::Settling { until, done } if session.is_settled() || *until <= now => {
                self.closing = Closing::Sent { until: now + CLOSE_TIMEOUT, done: done.take() };
                let pushed = self.writer.push_close(CloseCode::NORMAL);
                pushed.map_err(|error| self.ended(Lost::broken(error)))
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
            Closing::Settling { done, .. } | Closing::Sent { done, .. } => return Ended::Closed(done),
            Closing::No => {}
        }
        match self.drain {
            Some(at) => Ended::Drained { at, lost },
            None => Ended::Lost { lost, refusal: self.refusal.take() },
        }
    }
}
