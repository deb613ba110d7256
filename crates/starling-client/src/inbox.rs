//! What comes to this client without a subscription: messages to its user, the application's questions.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_core::{Payload, Position, RawJson, Refusal};
use tokio::sync::mpsc;

use crate::ask::read;
use crate::driver::Command;
use crate::error::Error;
use crate::subscription::Message;

/// What an [`Inbox`] gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Arrival {
    /// A message to the user of this connection, or of a channel that nobody subscribed to here.
    Message(Message),
    /// The application says something to this connection alone.
    Event(ServerEvent),
    /// The server subscribed this connection on its own account. Its messages come as [`Arrival::Message`]. On another
    /// connection the server has to do so again.
    Subscribed {
        /// The channel.
        channel: String,
        /// Where its log stands, if it keeps one.
        position: Option<Position>,
    },
    /// The server ended such a subscription.
    Unsubscribed {
        /// The channel.
        channel: String,
        /// Why.
        refusal: Refusal,
    },
}

/// What the application says to this connection alone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerEvent {
    /// Which channel it is about.
    pub channel: Option<String>,
    /// What happened, or is asked.
    pub event: String,
    /// What it carries.
    pub payload: Payload,
    pub(crate) question: Option<Question>,
}

/// A question of the server. It can only be answered on the connection on which it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) connection: u64,
    pub(crate) ack: u64,
    pub(crate) commands: mpsc::WeakSender<Command>,
}

impl ServerEvent {
    /// The payload as a type of the caller's own.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when it has another shape, or is bytes.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read(&self.payload)
    }

    /// Whether the application waits for a reply.
    pub fn wants_reply(&self) -> bool {
        self.question.is_some()
    }

    /// Replies with JSON. Where no reply is wanted, and after the connection on which it was asked is lost, nothing
    /// happens; of several replies the application gets the first.
    ///
    /// # Errors
    ///
    /// When `payload` cannot be written as JSON, or the client has ended.
    pub async fn reply<T: Serialize + ?Sized>(&self, payload: &T) -> Result<(), Error> {
        self.reply_with(Payload::Json(RawJson::of(payload).map_err(Error::payload)?)).await
    }

    /// Replies with this payload. Otherwise like [`reply`](Self::reply).
    ///
    /// # Errors
    ///
    /// When the client has ended.
    pub async fn reply_with(&self, payload: Payload) -> Result<(), Error> {
        let Some(Question { connection, ack, commands }) = &self.question else { return Ok(()) };
        let commands = commands.upgrade().ok_or(Error::Closed)?;
        let reply = Command::Reply { connection: *connection, ack: *ack, payload };
        commands.send(reply).await.map_err(|_| Error::Closed)
    }
}

/// What comes without a subscription, as a stream that ends with the client. From [`Client::inbox`](crate::Client::inbox).
#[derive(Debug)]
pub struct Inbox {
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    /// The connection is kept for as long as somebody listens.
    pub(crate) _commands: mpsc::Sender<Command>,
}

impl Inbox {
    /// The next arrival, or `None` at the end.
    ///
    /// Cancel-safe: an arrival is either returned or still there.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }
}

impl Stream for Inbox {
    type Item = Arrival;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arrival>> {
        self.arrivals.poll_recv(context)
    }
}
