//! Questions to clients, and their answers.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use starling_core::{AppId, ConnectionId, Emission, Payload, Refusal};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::broadcaster::Services;
use crate::handlers::current_connection;

/// Questions of this node that may wait for an answer at once; more fail at once.
pub const MAX_QUESTIONS: usize = 65_536;

/// A client gave no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// It did not answer within the given time, or cannot answer in its protocol.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It is not connected to this node, or went away.
    #[error("the connection is not here")]
    Gone,
    /// It was asked from a handler of its own, and nothing is read from it before that is done. Spawn a task.
    #[error("a handler cannot ask the connection that it works for; spawn a task")]
    OwnHandler,
    /// [`MAX_QUESTIONS`] wait already.
    #[error("too many questions wait for an answer")]
    TooMany,
    /// The question does not serialise, the answer does not deserialise, or the server has stopped.
    #[error("{0}")]
    Refused(Refusal),
}

impl From<Refusal> for AskError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(refusal) => refusal,
            other => Refusal::custom("NO_ANSWER", other.to_string()),
        }
    }
}

/// Questions that wait for an answer.
#[derive(Default)]
pub(crate) struct Questions {
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// By connection, because all of one end together. Locked to add, find or remove one.
#[derive(Default)]
struct Waiting {
    count: usize,
    questions: HashMap<ConnectionId, SmallVec<[Question; 1]>, RandomState>,
}

struct Question {
    number: u64,
    answer: oneshot::Sender<Payload>,
}

impl Questions {
    /// Asks, and waits at most this long.
    pub async fn ask(
        &self,
        services: &Services,
        app: &AppId,
        connection: ConnectionId,
        question: Emission,
        patience: Duration,
    ) -> Result<Payload, AskError> {
        if current_connection().is_some_and(|current| current == connection) {
            return Err(AskError::OwnHandler);
        }
        let hub = services.hub()?;
        let (number, answered) = self.note(&connection)?;
        let _guard = Guard { questions: self, connection: &connection, number };
        let workers = hub.inboxes().len();
        let (told, mut reports) = mpsc::channel(workers.max(1));
        let emission = Emission { ack: Some(number), ..question };
        hub.emit_here(app, &connection, &emission, move |delivered| {
            // Each worker tells once, so there is room; nobody to hear it means that nobody waits any more.
            let _ = told.try_send(delivered);
        });
        drop(hub);
        let delivered = async {
            while let Some(delivered) = reports.recv().await {
                if delivered {
                    return true;
                }
            }
            false
        };
        match tokio::time::timeout(patience, settle(delivered, answered)).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::TimedOut(patience)),
        }
    }

    fn note(&self, connection: &ConnectionId) -> Result<(u64, oneshot::Receiver<Payload>), AskError> {
        let (answer, answered) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut waiting = self.waiting.lock();
        if waiting.count >= MAX_QUESTIONS {
            return Err(AskError::TooMany);
        }
        waiting.count += 1;
        waiting.questions.entry(connection.clone()).or_default().push(Question { number, answer });
        Ok((number, answered))
    }

    fn take(&self, connection: &ConnectionId, number: u64) -> Option<Question> {
        let mut waiting = self.waiting.lock();
        let questions = waiting.questions.get_mut(connection)?;
        let at = questions.iter().position(|question| question.number == number)?;
        let question = questions.swap_remove(at);
        if questions.is_empty() {
            waiting.questions.remove(connection);
        }
        waiting.count -= 1;
        Some(question)
    }

    /// A connection answers. What it was not asked is ignored.
    pub fn answered(&self, connection: &ConnectionId, number: u64, payload: Payload) {
        if let Some(question) = self.take(connection, number) {
            // Whoever asked may have given up.
            let _ = question.answer.send(payload);
        }
    }

    /// A connection is gone: nobody needs to wait for it any longer.
    pub fn gone(&self, connection: &ConnectionId) {
        let mut waiting = self.waiting.lock();
        if let Some(questions) = waiting.questions.remove(connection) {
            waiting.count -= questions.len();
        }
    }
}

async fn settle(
    delivered: impl Future<Output = bool>,
    answered: oneshot::Receiver<Payload>,
) -> Result<Payload, AskError> {
    if !delivered.await {
        return Err(AskError::Gone);
    }
    answered.await.map_err(|_| AskError::Gone)
}

/// Takes the question back when nobody waits for its answer any more.
struct Guard<'a> {
    questions: &'a Questions,
    connection: &'a ConnectionId,
    number: u64,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.questions.take(self.connection, self.number);
    }
}
