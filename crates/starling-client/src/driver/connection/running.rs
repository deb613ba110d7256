//! What one connection is about at present, and what is done for it without waiting.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use starling_core::Refusal;
use starling_proto::native::Encoding;
use starling_proto::websocket::CloseCode;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Driven, Ended, WRITE_AHEAD};
use crate::builder::Settings;
use crate::driver::link::{renewal, text};
use crate::driver::session::{Session, Signal};
use crate::error::Lost;
use crate::transport::{Frame, ReadError, Writer};
use crate::wire::Fields;

/// How long the server has to answer our close frame, and to acknowledge what was published before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long nothing may be due: longer than that, there is nothing to wait for.
const IDLE: Duration = Duration::from_secs(3600);

/// What one connection adds to the session while it is driven.
pub(super) struct Running<'s> {
    pub(super) settings: &'s Settings,
    /// How messages to the server are written.
    pub(super) encoding: Encoding,
    /// How those are that come from it.
    pub(super) reading: Encoding,
    pub(super) writer: Writer,
    pub(super) frames: VecDeque<Frame>,
    pub(super) last_received: Instant,
    /// When a ping was sent that nothing has been received since.
    pub(super) pinged: Option<Instant>,
    /// Whether silence is what it ended by.
    pub(super) is_silent: bool,
    pub(super) renew_at: Option<Instant>,
    /// The last error that answered no request.
    pub(super) refusal: Option<Refusal>,
    /// Whether a subscriber has no room, so that nothing is read.
    pub(super) is_stalled: bool,
    /// When to come back, after a drain was announced.
    pub(super) drain: Option<Instant>,
    pub(super) closing: Closing,
}

/// How far closing from our side has come.
pub(super) enum Closing {
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

impl Running<'_> {
    /// Does all that needs no waiting. `Err` is the end of the connection.
    pub(super) fn advance(&mut self, session: &mut Session) -> Result<(), Ended> {
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

    pub(super) fn heard(&mut self) {
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

    pub(super) fn authenticate(&mut self, token: Option<&str>) {
        // If it fails, so will whatever is written next.
        let auth = Fields { token, ..Fields::new("auth") }.write(self.encoding);
        let _ = self.writer.message(&auth);
    }

    pub(super) fn begin_close(&mut self, done: Option<oneshot::Sender<()>>) {
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
    pub(super) fn deadline(&self, session: &Session) -> Instant {
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
    pub(super) fn may_move(&self, session: &Session, until: Instant) -> bool {
        matches!(self.closing, Closing::No) && (!session.awaits_once() || until <= Instant::now())
    }

    /// Nothing more can be read.
    pub(super) async fn unreadable(&mut self, error: ReadError) -> Ended {
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

    pub(super) fn driven(&self, ended: Ended) -> Driven {
        let lived_until = if self.is_silent { self.last_received } else { Instant::now() };
        Driven { ended, lived_until, left: None }
    }

    /// Writes what waits, as far as that takes no time.
    pub(super) async fn last_words(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.writer.flush()).await;
    }

    pub(super) fn ended(&mut self, lost: Lost) -> Ended {
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
