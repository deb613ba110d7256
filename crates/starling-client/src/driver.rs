//! The task that owns the connection: connects, drives, waits, connects again.
//!
//! [`session`] knows what is subscribed and what awaits an answer, and touches no socket ([`member`] and [`log`]: one
//! subscription; [`requests`]: what awaits an answer; [`deliveries`]: what is on its way to subscribers); [`link`]
//! opens a connection for it and [`connection`] drives it; [`ladder`] says over which transport, and [`probe`] tries to
//! return to a better one; this file decides what follows the end of a connection.

use std::sync::Arc;
use std::time::Duration;

use starling_core::{Payload, Refusal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::ask::Ask;
use crate::backoff::{Backoff, random, spread};
use crate::builder::Settings;
use crate::client::Status;
use crate::connector::Connector;
use crate::error::{Blame, ConnectError, Error, Failure, Lost};
use crate::inbox::Arrival;
use crate::subscription::SubscribeOptions;
use crate::wire::Answer;

mod connection;
mod deliveries;
mod ladder;
pub(crate) mod link;
mod log;
mod member;
mod probe;
mod requests;
mod session;

pub(crate) use ladder::{Failed, Ladder};
pub(crate) use link::Link;
pub(crate) use member::{MemberId, Opened};
pub(crate) use session::Session;

use connection::{Driven, Ended};
use probe::Probe;

/// How often in a row tokens may be refused before the client gives up: another one is asked for once.
const TOKEN_ATTEMPTS: u32 = 2;
/// Within how long clients of a server that restarted unannounced come back.
const RESTART_SPREAD: Duration = Duration::from_secs(5);
/// The delay after `4029 too many requests` is that of at least so many failed attempts.
const PENALTY_ATTEMPTS: u32 = 4;
/// The longest that a server's `Retry-After` or `reconnectIn` is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What handles ask for.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        channel: String,
        options: SubscribeOptions,
        done: oneshot::Sender<Result<Opened, Error>>,
    },
    Unsubscribe {
        channel: String,
        id: MemberId,
        done: Option<oneshot::Sender<Result<Answer, Error>>>,
    },
    Ask {
        ask: Ask,
        done: oneshot::Sender<Result<Answer, Error>>,
    },
    Inbox {
        arrivals: mpsc::Sender<Arrival>,
    },
    /// The answer to a question that was asked on this connection.
    Reply {
        connection: u64,
        ack: u64,
        payload: Payload,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

pub(crate) struct Driver {
    connector: Arc<Connector>,
    settings: Settings,
    ladder: Ladder,
    backoff: Backoff,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    session: Session,
    /// Tokens that were refused in a row.
    refused_tokens: u32,
    /// Whether there ever was a connection: then this is the right server, whatever may answer in its place.
    was_connected: bool,
}

/// What follows the end of a connection, or an attempt that failed.
enum Next {
    /// Another attempt, at this moment at the earliest.
    Connect { at: Instant, reason: Error },
    /// Nothing, and whoever asked for that waits to hear of it.
    Stop { reason: Error, done: Option<oneshot::Sender<()>> },
}

impl Driver {
    pub(crate) fn new(
        connector: Arc<Connector>,
        settings: Settings,
        ladder: Ladder,
        backoff: Backoff,
        session: Session,
        commands: mpsc::Receiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            connector,
            settings,
            ladder,
            backoff,
            commands,
            status,
            session,
            refused_tokens: 0,
            was_connected: false,
        }
    }

    /// Drives connections until the client ends, beginning with `link` if there is one.
    pub(crate) async fn run(mut self, link: Option<Link>) {
        let mut next = match link {
            Some(link) => self.drive(link).await,
            None => self.attempt(Instant::now()).await,
        };
        loop {
            let (at, reason) = match next {
                Next::Connect { at, reason } => (at, reason),
                Next::Stop { reason, done } => return self.stop(reason, done),
            };
            let retry_in = at.saturating_duration_since(Instant::now());
            tracing::debug!(%reason, ?retry_in, "not connected");
            self.status.send_replace(Status::Waiting { reason, retry_in });
            next = self.attempt(at).await;
        }
    }

    /// Tries to connect at this moment, and drives the connection if there is one.
    async fn attempt(&mut self, at: Instant) -> Next {
        let opened = async {
            tokio::time::sleep_until(at).await;
            self.status.send_replace(Status::Connecting);
            link::open(&self.connector, &self.settings, self.ladder.transport()).await
        };
        match attend(&mut self.commands, &mut self.session, opened).await {
            Attended::Done(Ok(link)) => {
                self.status.send_replace(link.status());
                self.drive(link).await
            }
            Attended::Done(Err(failure)) => self.after_failure(failure, Failed::Opening),
            Attended::Closed(done) => Next::Stop { reason: Error::Closed, done },
        }
    }

    /// Drives a connection that was told of, and those that take its place at once.
    async fn drive(&mut self, link: Link) -> Next {
        let mut link = link;
        loop {
            tracing::debug!(transport = %link.socket.transport, "connected");
            self.refused_tokens = 0;
            self.was_connected = true;
            self.ladder.connected();
            let (Driven { ended, left, .. }, better) = self.drive_one(link).await;
            let is_final = matches!(&ended, Ended::Closed(_) | Ended::Drained { .. });
            let next = self.after_end(ended);
            let (Next::Connect { reason, .. } | Next::Stop { reason, .. }) = &next;
            self.session.lost(reason);
            match (better, &next) {
                // The better transport is there already: nothing to wait for.
                (Some(mut better), Next::Connect { .. }) if !is_final => {
                    self.ladder.returned();
                    better.replaces = left;
                    link = better;
                    self.status.send_replace(link.status());
                }
                _ => return next,
            }
        }
    }

    /// Drives one connection to its end. With the connection over a better transport that is open by then.
    async fn drive_one(&mut self, link: Link) -> (Driven, Option<Link>) {
        let since = Instant::now();
        let (encoding, delay) = (self.connector.encoding, self.ladder.next_upgrade());
        let (connector, settings, ladder) = (&self.connector, &self.settings, &mut self.ladder);
        let mut probe = delay.map(|delay| Probe::new(connector, settings, ladder, delay));
        let driving =
            connection::drive(link, &mut self.session, &mut self.commands, settings, encoding, probe.as_mut());
        let driven = driving.await;
        let better = probe.and_then(Probe::into_link);
        if driven.lived_until.saturating_duration_since(since) >= self.settings.stable_after {
            self.backoff.reset();
            self.ladder.stable();
        } else if matches!(&driven.ended, Ended::Lost { lost, .. } if lost.may_be_the_path()) {
            self.ladder.failed(Failed::Cut);
        }
        (driven, better)
    }

    fn stop(mut self, reason: Error, done: Option<oneshot::Sender<()>>) {
        self.status.send_replace(Status::Closed(reason.clone()));
        self.session.end(&reason);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn after_end(&mut self, ended: Ended) -> Next {
        let (lost, refusal) = match ended {
            Ended::Closed(done) => return Next::Stop { reason: Error::Closed, done },
            Ended::Drained { at, lost } => {
                return Next::Connect { at: at.min(Instant::now() + LONGEST_WAIT), reason: Error::Lost(lost) };
            }
            Ended::Failed(failure) => {
                if matches!(&failure.error, Error::Connect(ConnectError::Status { status: 429, .. })) {
                    self.backoff.skip(PENALTY_ATTEMPTS);
                }
                return self.after_failure(failure, Failed::Cut);
            }
            Ended::Lost { lost, refusal } => (lost, refusal),
            Ended::Outdone => {
                let moved = Lost::broken(format!("moved to {}", self.ladder.best()));
                return Next::Connect { at: Instant::now(), reason: Error::Lost(moved) };
            }
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
            Some(4001 | 4003) => Next::stop(reason),
            Some(1012) => Next::Connect { at: Instant::now() + spread(RESTART_SPREAD.min(self.backoff.cap())), reason },
            Some(4029) => {
                self.backoff.skip(PENALTY_ATTEMPTS);
                self.retry(reason, Duration::ZERO)
            }
            _ => self.retry(reason, Duration::ZERO),
        }
    }

    fn after_failure(&mut self, Failure { error, blame }: Failure, how: Failed) -> Next {
        // Where the path is at fault, what follows is an attempt over another transport, if there is one.
        let has_untried = blame == Blame::Path && self.ladder.failed(how);
        let wants_token = matches!(&error, Error::Connect(ConnectError::Status { status: 401, .. }));
        if has_untried && !wants_token {
            return self.retry(error, Duration::ZERO);
        }
        match &error {
            Error::Connect(ConnectError::Status { status: 401, .. }) => self.after_refused_token(error),
            Error::Connect(ConnectError::Status { status: 403, .. }) => Next::stop(error),
            Error::Connect(ConnectError::Status { status: 408 | 429 | 500.., retry_after, .. }) => {
                let least = retry_after.unwrap_or_default().min(LONGEST_WAIT);
                self.retry(error, least)
            }
            Error::Connect(ConnectError::Status { .. } | ConnectError::Protocol(_)) if !self.was_connected => {
                Next::stop(error)
            }
            Error::Refused(refusal) if is_about_token(refusal) => self.after_refused_token(error),
            Error::Refused(refusal) if !session::is_transient(refusal) => Next::stop(error),
            Error::Lost(Lost { code, .. }) => self.after_close(*code, error),
            _ => self.retry(error, Duration::ZERO),
        }
    }

    fn after_refused_token(&mut self, reason: Error) -> Next {
        self.refused_tokens += 1;
        if self.settings.tokens.renews() && self.refused_tokens < TOKEN_ATTEMPTS {
            self.retry(reason, Duration::ZERO)
        } else {
            Next::stop(reason)
        }
    }

    fn retry(&mut self, reason: Error, least: Duration) -> Next {
        let at = Instant::now() + least + self.backoff.delay(random());
        Next::Connect { at, reason }
    }
}

impl Next {
    fn stop(reason: Error) -> Self {
        Self::Stop { reason, done: None }
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
