//! One connection, from when it is open until it ends.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use starling_core::Refusal;
use starling_proto::native::Encoding;
use starling_proto::websocket::CloseCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Command;
use super::link::{Link, renewal, text};
use super::probe::Probe;
use super::session::{Session, Signal};
use crate::backoff::spread;
use crate::builder::Settings;
use crate::error::{Error, Failure, Lost};
use crate::transport::{Frame, ReadError, Socket, Writer};
use crate::wire::Fields;

/// Bytes that may wait to be written before no further request is taken.
const WRITE_AHEAD: usize = 64 << 10;
/// How long the server has to answer our close frame, and to acknowledge what was published before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long nothing may be due: longer than that, there is nothing to wait for.
const IDLE: Duration = Duration::from_secs(3600);
/// How long to wait after the token function failed, plus a random part of as much.
const RENEW_AGAIN: Duration = Duration::from_secs(2);

/// How long a move to a better transport waits for the answers to requests that are sent only once.
const MOVE_PATIENCE: Duration = Duration::from_secs(10);

/// How a connection ended.
pub(crate) enum Ended {
    /// Because the client was closed; who asked for it waits to hear of it.
    Closed(Option<oneshot::Sender<()>>),
    /// After the server asked for it, which said when to come back.
    Drained { at: Instant, lost: Lost },
    /// Otherwise; with the last error that answered no request.
    Lost { lost: Lost, refusal: Option<Refusal> },
    /// A request of a session over HTTP was refused.
    Failed(Failure),
    /// It did not: it is left for a better transport.
    Outdone,
}

/// A connection that ended.
pub(crate) struct Driven {
    pub(crate) ended: Ended,
    /// When it was last known to be alive.
    pub(crate) lived_until: Instant,
    /// It itself, where it is left and has not ended.
    pub(crate) left: Option<Socket>,
}

/// What one connection adds to the session while it is driven.
struct Running<'s> {
    settings: &'s Settings,
    /// How messages to the server are written.
    encoding: Encoding,
    /// How those are that come from it.
    reading: Encoding,
    writer: Writer,
    frames: VecDeque<Frame>,
    last_received: Instant,
    /// When a ping was sent that nothing has been received since.
    pinged: Option<Instant>,
    /// Whether silence is what it ended by.
    is_silent: bool,
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

/// A connection that was left, while it says farewell.
type Farewell = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Drives a connection until it ends, or until `probe` has found a better one. `encoding`: of messages to the server.
///
/// Not cancel-safe; only the driver's task calls it.
pub(crate) async fn drive(
    link: Link,
    session: &mut Session,
    commands: &mut mpsc::Receiver<Command>,
    settings: &Settings,
    encoding: Encoding,
    mut probe: Option<&mut Probe<'_>>,
) -> Driven {
    let Socket { transport, encoding: reading, mut reader, writer } = link.socket;
    let mut running = Running {
        settings,
        encoding,
        reading,
        writer,
        frames: link.frames,
        last_received: Instant::now(),
        pinged: None,
        is_silent: false,
        renew_at: link.renew_at.filter(|_| settings.tokens.renews()),
        refusal: None,
        is_stalled: false,
        drain: None,
        closing: Closing::No,
    };
    let mut renewal: Option<Renewal<'_>> = None;
    let mut replaces = link.replaces;
    let mut farewell: Option<Farewell> = None;
    let mut outdone: Option<Instant> = None;
    session.connected();
    loop {
        if let Err(ended) = running.advance(session) {
            running.last_words().await;
            return running.driven(ended);
        }
        if outdone.is_some_and(|until| running.may_move(session, until)) {
            let encoding = reading;
            let left = Socket { transport, encoding, reader, writer: running.writer };
            return Driven { ended: Ended::Outdone, lived_until: Instant::now(), left: Some(left) };
        }
        if session.is_subscribed()
            && let Some(left) = replaces.take()
        {
            // Not before: presence is entered on this connection before it is left on that one.
            farewell = Some(Box::pin(left.retire()));
        }
        // While a subscriber has no room, nothing is read: the server notices, and this client's memory does not grow.
        let full = session.hand_over();
        running.is_stalled = full.is_some();
        let deadline = outdone.map_or_else(|| running.deadline(session), |until| running.deadline(session).min(until));
        let is_open = matches!(running.closing, Closing::No);
        let has_room = running.writer.len() < WRITE_AHEAD;
        let may_flush = !running.writer.is_flushed();
        let is_probing = probe.is_some() && outdone.is_none() && is_open;
        tokio::select! {
            read = reader.read(&mut running.frames), if full.is_none() => match read {
                Ok(()) => running.heard(),
                Err(error) => {
                    let ended = running.unreadable(error).await;
                    return running.driven(ended);
                }
            },
            flushed = running.writer.flush(), if may_flush => {
                if let Err(error) = flushed {
                    let ended = running.ended(Lost::broken(error));
                    return running.driven(ended);
                }
            }
            () = async { full.as_ref().expect("guarded").room().await }, if full.is_some() => {}
            command = commands.recv(), if is_open && has_room => match command {
                Some(Command::Close { done }) => running.begin_close(Some(done)),
                Some(command) => session.command(command),
                None => running.begin_close(None),
            },
            () = async { probe.as_mut().expect("guarded").proved().await }, if is_probing => {
                outdone = Some(Instant::now() + MOVE_PATIENCE);
            }
            () = async { farewell.as_mut().expect("guarded").await }, if farewell.is_some() => farewell = None,
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
            self.write(|writer| writer.message(&message))?;
        }
        self.advance_close(session, now)
    }

    fn receive(&mut self, frame: Frame, session: &mut Session, now: Instant) -> Result<(), Ended> {
        let frame = match frame {
            Frame::Text(_) | Frame::Binary(_) => frame,
            Frame::Ping(payload) => return self.write(|writer| writer.pong(&payload)),
            Frame::Pong => return Ok(()),
            Frame::Close(code, reason) => {
                // The answer is a courtesy: the server closes the socket either way.
                let _ = self.writer.close(CloseCode::NORMAL);
                return Err(self.ended(Lost { code: code.or(Some(CloseCode::NO_STATUS.0)), reason }));
            }
        };
        match text(frame, self.reading).and_then(|text| session.receive(&text, now)) {
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
                let _ = self.writer.close(CloseCode::UNSUPPORTED);
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
        if !self.writer.needs_pings() {
            return Ok(());
        }
        match self.pinged {
            // Pings are not read either, so that the server is told without being asked that this end is alive.
            _ if self.is_stalled && self.last_received + self.settings.ping_interval <= now => {
                self.heard();
                self.write(|writer| writer.pong(b""))
            }
            _ if self.is_stalled => Ok(()),
            None if self.last_received + self.settings.ping_interval <= now => {
                self.pinged = Some(now);
                self.write(Writer::ping)
            }
            Some(pinged) if pinged + self.settings.ping_timeout <= now => {
                self.is_silent = true;
                Err(self.ended(ReadError::Silent.lost()))
            }
            _ => Ok(()),
        }
    }

    fn authenticate(&mut self, token: Option<&str>) {
        // If it fails, so will whatever is written next.
        let auth = Fields { token, ..Fields::new("auth") }.write(self.encoding);
        let _ = self.writer.message(&auth);
    }

    fn begin_close(&mut self, done: Option<oneshot::Sender<()>>) {
        self.closing = Closing::Settling { until: Instant::now() + CLOSE_TIMEOUT, done };
    }

    fn advance_close(&mut self, session: &Session, now: Instant) -> Result<(), Ended> {
        match &mut self.closing {
            Closing::No => Ok(()),
            Closing::Settling { until, done } if session.is_settled() || *until <= now => {
                self.closing = Closing::Sent { until: now + CLOSE_TIMEOUT, done: done.take() };
                self.write(|writer| writer.close(CloseCode::NORMAL))
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
            // The transport watches itself; this is only for a deadline there always is.
            _ if !self.writer.needs_pings() => Instant::now() + IDLE,
            None => self.last_received + self.settings.ping_interval,
            Some(pinged) => pinged + self.settings.ping_timeout,
        };
        let closing = match self.closing {
            Closing::No => None,
            Closing::Settling { until, .. } | Closing::Sent { until, .. } => Some(until),
        };
        [session.deadline(), self.renew_at, self.drain, closing].into_iter().flatten().fold(silence, Instant::min)
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<(), Ended> {
        write(&mut self.writer).map_err(|error| self.ended(Lost::broken(error)))
    }

    /// Whether the connection may be left for a better one: not while the answer to something is on its way that is
    /// not sent again, unless that takes too long.
    fn may_move(&self, session: &Session, until: Instant) -> bool {
        matches!(self.closing, Closing::No) && (!session.awaits_once() || until <= Instant::now())
    }

    /// Nothing more can be read.
    async fn unreadable(&mut self, error: ReadError) -> Ended {
        if let ReadError::Peer(violation) = &error {
            let _ = self.writer.close(violation.close_code());
            self.last_words().await;
        }
        match (self.ended(error.lost()), error) {
            (Ended::Lost { .. }, ReadError::Http(failure)) => Ended::Failed(failure),
            (ended, error) => {
                self.is_silent |= matches!(error, ReadError::Silent);
                ended
            }
        }
    }

    fn driven(&self, ended: Ended) -> Driven {
        let lived_until = if self.is_silent { self.last_received } else { Instant::now() };
        Driven { ended, lived_until, left: None }
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
