//! The way back: the best transport, tried beside a fallback that carries the connection meanwhile.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::ladder::Ladder;
use super::link::{self, Link};
use crate::builder::Settings;
use crate::connector::Connector;
use crate::error::Failure;
use crate::transport::{Frame, ReadError};

/// See the module's documentation.
pub(super) struct Probe<'s> {
    connector: &'s Arc<Connector>,
    settings: &'s Settings,
    ladder: &'s mut Ladder,
    stage: Stage<'s>,
}

enum Stage<'s> {
    /// Until it is time for a try.
    Waiting(Instant),
    Opening(Pin<Box<dyn Future<Output = Result<Link, Failure>> + Send + 's>>),
    Proving(Box<Proving>),
}

/// A connection that has to last for a while, because a proxy may cut it soon after it opened, and then to give a sign of
/// life: one through which nothing goes is no better than none.
struct Proving {
    link: Link,
    until: Instant,
    is_asked: bool,
}

impl<'s> Probe<'s> {
    /// Begins to try after this delay.
    pub(super) fn new(
        connector: &'s Arc<Connector>,
        settings: &'s Settings,
        ladder: &'s mut Ladder,
        delay: Duration,
    ) -> Self {
        Self { connector, settings, ladder, stage: Stage::Waiting(Instant::now() + delay) }
    }

    /// Waits until the best transport has proved itself. Cancel-safe.
    pub(super) async fn proved(&mut self) {
        loop {
            match &mut self.stage {
                Stage::Waiting(until) => {
                    sleep_until(*until).await;
                    let opening = link::open(self.connector, self.settings, self.ladder.best());
                    self.stage = Stage::Opening(Box::pin(opening));
                }
                Stage::Opening(opening) => match opening.await {
                    Ok(link) => {
                        let until = Instant::now() + self.settings.stable_after;
                        self.stage = Stage::Proving(Box::new(Proving { link, until, is_asked: false }));
                    }
                    Err(failure) => self.later(&failure.error),
                },
                Stage::Proving(proving) => match proving.lasted(self.settings.ping_timeout).await {
                    Ok(()) => return,
                    Err(error) => self.later(&error.lost()),
                },
            }
        }
    }

    /// The connection over the best transport, if one is open.
    pub(super) fn into_link(self) -> Option<Link> {
        match self.stage {
            Stage::Proving(proving) => Some(proving.link),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        }
    }

    fn later(&mut self, reason: &dyn std::fmt::Display) {
        tracing::debug!(%reason, transport = %self.ladder.best(), "the best transport does not work yet");
        let delay = self.ladder.next_upgrade().unwrap_or_default();
        self.stage = Stage::Waiting(Instant::now() + delay);
    }
}

impl Proving {
    /// Waits until it has proved itself. Messages that come meanwhile are kept. Cancel-safe.
    async fn lasted(&mut self, patience: Duration) -> Result<(), ReadError> {
        loop {
            answer_pings(&mut self.link).await?;
            match timeout_at(self.until, self.link.socket.reader.read(&mut self.link.frames)).await {
                Ok(read) => {
                    read?;
                    if self.is_asked {
                        return answer_pings(&mut self.link).await;
                    }
                }
                Err(_) if self.is_asked => return Err(ReadError::Silent),
                Err(_) if !self.link.socket.writer.needs_pings() => return Ok(()),
                Err(_) => {
                    self.link.socket.writer.ping().map_err(ReadError::Io)?;
                    (self.is_asked, self.until) = (true, Instant::now() + patience);
                }
            }
        }
    }
}

/// Answers the pings of the server, and notices its farewell.
async fn answer_pings(link: &mut Link) -> Result<(), ReadError> {
    let mut kept = VecDeque::with_capacity(link.frames.len());
    while let Some(frame) = link.frames.pop_front() {
        match frame {
            Frame::Ping(payload) => link.socket.writer.pong(&payload).map_err(ReadError::Io)?,
            Frame::Pong => {}
            Frame::Close(..) => return Err(ReadError::Io(ErrorKind::UnexpectedEof.into())),
            Frame::Text(_) | Frame::Binary(_) => kept.push_back(frame),
        }
    }
    link.frames = kept;
    link.socket.writer.flush().await.map_err(ReadError::Io)
}
