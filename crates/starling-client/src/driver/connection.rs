//! One connection, from when it is open until it ends: what is waited for. [`running`] is what is done without waiting.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use starling_core::Refusal;
use starling_proto::native::Encoding;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Command;
use super::link::Link;
use super::probe::Probe;
use super::session::Session;
use crate::backoff::spread;
use crate::builder::Settings;
use crate::error::{Error, Failure, Lost};
use crate::transport::Socket;

mod running;

use running::{Closing, Running};

/// Bytes that may wait to be written before no further request is taken.
const WRITE_AHEAD: usize = 64 << 10;
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
