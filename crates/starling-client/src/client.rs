//! The client: a handle to the task that owns the connection.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use starling_core::{Payload, Position, RawJson};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Builder;
use crate::driver::{Command, MemberId};
use crate::error::Error;
use crate::subscription::{SubscribeOptions, Subscription};

/// A connection that heals. Cheap to clone; it ends when [`close`](Self::close) is called, when all handles and
/// subscriptions are gone, or when connecting again would not help.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

/// How the connection is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// There is one.
    Connected {
        /// Its id, which the HTTP API takes.
        connection_id: String,
        /// The user of the token; `None` for an anonymous connection.
        user_id: Option<String>,
    },
    /// There is none; the next attempt comes after a delay.
    Waiting {
        /// Why the last one ended or could not be opened.
        reason: Error,
        /// How long until the attempt begins, counted from when this status appeared.
        retry_in: Duration,
    },
    /// There will be none any more.
    Closed(Error),
}

/// A message to publish.
#[derive(Debug, Clone)]
#[must_use]
pub struct Publish {
    pub(crate) channel: String,
    pub(crate) event: Option<String>,
    pub(crate) payload: Payload,
    pub(crate) message_id: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) echo: bool,
}

impl Publish {
    /// A message with this payload.
    pub fn new(channel: impl Into<String>, payload: Payload) -> Self {
        Self { channel: channel.into(), event: None, payload, message_id: None, key: None, echo: true }
    }

    /// A message with a JSON payload.
    ///
    /// # Errors
    ///
    /// When `payload` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(channel: impl Into<String>, payload: &T) -> Result<Self, Error> {
        let payload = RawJson::of(payload).map_err(|error| Error::Payload(Arc::new(error)))?;
        Ok(Self::new(channel, Payload::Json(payload)))
    }

    /// Names what happened. Default `message`.
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Names the message; within the server's recovery window, the same name is delivered once. Default: random.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// What the message is the latest state of, for channels with the delivery `latest`. Default none.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Whether this client gets the message too, if it is subscribed. Default true.
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }
}

/// The server took a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The message's name.
    pub message_id: String,
    /// Its place in the log, where the channel keeps history.
    pub position: Option<Position>,
}

impl Client {
    /// A client of the server at `url`: `ws://`, `wss://`, `http://` or `https://`, with the path `/ws` where it has none.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    pub(crate) fn new(commands: mpsc::Sender<Command>, status: watch::Receiver<Status>) -> Self {
        Self { commands, status }
    }

    /// Subscribes, and waits until the server has agreed; without a connection, until there is one again.
    ///
    /// Cancel-safe: dropping the future takes the subscription back.
    ///
    /// # Errors
    ///
    /// When the server refuses, or the client has ended.
    pub async fn subscribe(
        &self,
        channel: impl Into<String>,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let channel = channel.into();
        let (done, agreed) = oneshot::channel();
        self.send(Command::Subscribe { channel: channel.clone(), options, done }).await?;
        let (id, items): (MemberId, _) = agreed.await.map_err(|_| self.end())??;
        Ok(Subscription { channel, id, items, commands: self.commands.clone() })
    }

    /// Publishes, and waits until the server has taken the message. Without a connection it waits for one; a message
    /// whose connection was lost before the acknowledgement is sent again under the same id, and delivered once.
    ///
    /// Not cancel-safe: after dropping the future the message may still be published.
    ///
    /// # Errors
    ///
    /// When the server refuses it, too many await their acknowledgement, or the client has ended; in the last case the
    /// message may have been published.
    pub async fn publish(&self, publish: Publish) -> Result<Ack, Error> {
        let (done, taken) = oneshot::channel();
        self.send(Command::Publish { publish, done }).await?;
        taken.await.map_err(|_| self.end())?
    }

    /// Watches the connection. The receiver has the present status; fast changes may be skipped.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Sends what waits to be sent, closes the connection with 1000 and waits, at most 2 s, for the server to agree.
    /// Publishes that are not acknowledged by then fail with [`Error::Closed`].
    ///
    /// Cancel-safe: once begun, it is done also when the future is dropped.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| self.end())
    }

    /// Why the client has ended.
    fn end(&self) -> Error {
        match &*self.status.borrow() {
            Status::Closed(reason) => reason.clone(),
            _ => Error::Closed,
        }
    }
}
