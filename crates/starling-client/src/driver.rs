//! The task that owns the connection: connects, drives, waits, connects again.
//!
//! [`session`] knows what is subscribed and what awaits an answer, and touches no socket; [`connection`] drives one
//! socket for it; this file decides what follows the end of a connection.

use std::time::Duration;

use starling_core::Refusal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::backoff::{Backoff, random};
use crate::builder::Settings;
use crate::client::{Ack, Publish, Status};
use crate::connector::Connector;
use crate::error::{ConnectError, Error, Lost};
use crate::subscription::{Item, SubscribeOptions};

pub(crate) mod connection;
mod session;

pub(crate) use session::MemberId;

use connection::{Ended, Link};
use session::Session;

/// How often in a row fresh tokens may be refused before the client gives up.
const TOKEN_ATTEMPTS: u32 = 3;
/// The longest that a server's `Retry-After` or `reconnectIn` is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What handles ask for.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        channel: String,
        options: SubscribeOptions,
        done: oneshot::Sender<Result<(MemberId, mpsc::Receiver<Item>), Error>>,
    },
    Unsubscribe {
        channel: String,
        id: MemberId,
    },
    Publish {
        publish: Publish,
        done: oneshot::Sender<Result<Ack, Error>>,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

pub(crate) struct Driver {
    connector: Connector,
    settings: Settings,
    backoff: Backoff,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    session: Session,
    /// Fresh tokens that were refused in a row.
    refused_tokens: u32,
}

/// What follows the end of a connection, or an attempt that failed.
enum Next {
    /// Another attempt, at this moment at the earliest.
    Connect { at: Instant, reason: Error },
    /// Nothing.
    Stop(Error),
}

impl Driver {
    pub(crate) fn new(
        connector: Connector,
        settings: Settings,
        backoff: Backoff,
        commands: mpsc::Receiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        let session = Session::new(settings.queue, settings.max_pending);
        Self { connector, settings, backoff, commands, status, session, refused_tokens: 0 }
    }

    /// Drives connections until the client ends.
    pub(crate) async fn run(mut self, link: Link) {
        let mut next = self.drive(link).await;
        loop {
            let (at, reason) = match next {
                Next::Connect { at, reason } => (at, reason),
                Next::Stop(reason) => return self.stop(reason),
            };
            let retry_in = at.saturating_duration_since(Instant::now());
            tracing::debug!(%reason, ?retry_in, "not connected");
            self.status.send_replace(Status::Waiting { reason, retry_in });
            let opened = async {
                tokio::time::sleep_until(at).await;
                connection::open(&self.connector, &self.settings).await
            };
            next = match attend(&mut self.commands, &mut self.session, opened).await {
                Attended::Done(Ok(link)) => {
                    self.status.send_replace(link.status());
                    self.drive(link).await
                }
                Attended::Done(Err(error)) => self.after_failure(error),
                Attended::Closed(done) => {
                    self.stop(Error::Closed);
                    if let Some(done) = done {
                        let _ = done.send(());
                    }
                    return;
                }
            };
        }
    }

    async fn drive(&mut self, link: Link) -> Next {
        tracing::debug!("connected");
        let since = Instant::now();
        let ended = connection::drive(link, &mut self.session, &mut self.commands, &self.settings).await;
        if since.elapsed() >= self.settings.stable_after {
            self.backoff.reset();
            self.refused_tokens = 0;
        }
        let next = self.after_end(ended);
        self.session.lost();
        next
    }

    fn stop(&mut self, reason: Error) {
        self.status.send_replace(Status::Closed(reason.clone()));
        self.session.end(&reason);
    }

    fn after_end(&mut self, ended: Ended) -> Next {
        let (lost, refusal) = match ended {
            Ended::Closed => return Next::Stop(Error::Closed),
            Ended::Drained { at, lost } => {
                return Next::Connect { at: at.min(Instant::now() + LONGEST_WAIT), reason: Error::Lost(lost) };
            }
            Ended::Lost { lost, refusal } => (lost, refusal),
        };
        // An error that came before such a close says more than its code.
        let reason = match refusal {
            Some(refusal) if lost.code.is_some_and(|code| code >= 4000) => Error::Refused(refusal),
            _ => Error::Lost(lost.clone()),
        };
        if matches!(lost.code, Some(1003 | 1007 | 1009)) {
            // Something that was sent is at fault, and would be again.
            self.session.fail_sent(&reason);
        }
        self.after_close(lost.code, reason)
    }

    fn after_close(&mut self, code: Option<u16>, reason: Error) -> Next {
        match code {
            // Token expired.
            Some(4002) => self.after_refused_token(reason),
            // Authentication required, forbidden: it would be so again.
            Some(4001 | 4003) => Next::Stop(reason),
            _ => self.retry(reason, Duration::ZERO),
        }
    }

    fn after_failure(&mut self, error: Error) -> Next {
        match &error {
            Error::Connect(ConnectError::Status { status: 401, .. }) => self.after_refused_token(error),
            Error::Connect(ConnectError::Status { status: 408 | 429 | 500.., retry_after, .. }) => {
                let least = retry_after.unwrap_or_default().min(LONGEST_WAIT);
                self.retry(error, least)
            }
            Error::Connect(ConnectError::Status { .. } | ConnectError::Protocol(_)) => Next::Stop(error),
            Error::Refused(refusal) if is_about_token(refusal) => self.after_refused_token(error),
            Error::Refused(refusal) if !session::is_transient(refusal) => Next::Stop(error),
            Error::Lost(Lost { code, .. }) => self.after_close(*code, error),
            _ => self.retry(error, Duration::ZERO),
        }
    }

    fn after_refused_token(&mut self, reason: Error) -> Next {
        self.refused_tokens += 1;
        if self.settings.tokens.renews() && self.refused_tokens < TOKEN_ATTEMPTS {
            self.retry(reason, Duration::ZERO)
        } else {
            Next::Stop(reason)
        }
    }

    fn retry(&mut self, reason: Error, least: Duration) -> Next {
        let at = Instant::now() + least + self.backoff.delay(random());
        Next::Connect { at, reason }
    }
}

/// How waiting for something went while commands were attended to.
enum Attended<T> {
    Done(T),
    /// The client is to end; who asked for it waits to hear of it.
    Closed(Option<oneshot::Sender<()>>),
}

/// Waits for `work` without a connection, taking commands meanwhile.
async fn attend<T>(
    commands: &mut mpsc::Receiver<Command>,
    session: &mut Session,
    work: impl Future<Output = T>,
) -> Attended<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Attended::Done(done),
            command = commands.recv() => match command {
                Some(Command::Close { done }) => return Attended::Closed(Some(done)),
                Some(command) => session.command(command),
                None => return Attended::Closed(None),
            },
        }
    }
}

fn is_about_token(refusal: &Refusal) -> bool {
    matches!(&*refusal.code, "TOKEN_EXPIRED" | "TOKEN_INVALID")
}

impl Lost {
    fn broken(reason: impl ToString) -> Self {
        Self { code: None, reason: reason.to_string() }
    }
}
