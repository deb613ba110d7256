//! The client: a handle to the task that owns the connection.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::Builder;
use crate::ask::{Ask, History, HistoryOptions, Reply, Request};
use crate::driver::Command;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::presence::Presence;
use crate::publish::{Ack, Publish};
use crate::subscription::{SubscribeOptions, Subscription};
use crate::transport::Transport;
use crate::wire::Answer;

/// A connection that heals. Cheap to clone; it ends when [`close`](Self::close) is called, when all handles, subscriptions and
/// inboxes are gone, or when connecting again would not help.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    limits: Limits,
}

/// How long calls wait, and how much may wait for whoever takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) request_timeout: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) queue: usize,
}

/// How the connection is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// One is being opened.
    Connecting,
    /// There is one.
    Connected {
        /// Its id, which the HTTP API takes.
        connection_id: String,
        /// The user of the token; `None` for an anonymous connection.
        user_id: Option<String>,
        /// What carries it.
        transport: Transport,
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

impl Client {
    /// A client of the server at `url`: `ws://`, `wss://`, `http://` or `https://`, with the path `/ws` where it has none.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    pub(crate) fn new(commands: mpsc::Sender<Command>, status: watch::Receiver<Status>, limits: Limits) -> Self {
        Self { commands, status, limits }
    }

    /// Subscribes, and waits until the server has agreed; without a connection, until there is one again.
    ///
    /// Cancel-safe: dropping the future takes the subscription back.
    ///
    /// # Errors
    ///
    /// When the server refuses, this client is subscribed already, or the client has ended.
    pub async fn subscribe(
        &self,
        channel: impl Into<String>,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let channel = channel.into();
        let (done, agreed) = oneshot::channel();
        self.send(Command::Subscribe { channel: channel.clone(), options, done }).await?;
        let opened = agreed.await.map_err(|_| self.end())??;
        Ok(Subscription::new(channel, opened, self.commands.clone()))
    }

    /// Publishes, and waits until the server has taken the message. Without a connection it waits for one; a message
    /// whose connection was lost before the acknowledgement is sent again under the same id, and delivered once.
    ///
    /// Dropping the future gives up a message that was not sent yet; one that was sent may be published all the same.
    /// Calls that are polled in order publish in order.
    ///
    /// # Errors
    ///
    /// When the server refuses it, too much awaits an answer ([`Error::QueueFull`]), none came in time
    /// ([`Error::Timeout`]), or the client has ended; in the last two cases the message may have been published.
    pub async fn publish(&self, mut publish: Publish) -> Result<Ack, Error> {
        let timeout = publish.timeout.unwrap_or(self.limits.publish_timeout);
        let name = publish.message_id.get_or_insert_with(random_id).clone();
        let answer = self.ask(Ask::Publish(publish), timeout).await?;
        Ok(Ack { message_id: answer.message_id.unwrap_or(name), position: answer.position })
    }

    /// Asks the application behind the server, and waits for its reply. The request is sent once: a connection that is
    /// lost before the reply is [`Error::Lost`], because the application may have acted on it.
    ///
    /// Dropping the future gives up a request that was not sent yet.
    ///
    /// # Errors
    ///
    /// When the application or the server refuses (`UNKNOWN_TYPE`: no application handles it), the connection is lost,
    /// no reply came in time, or the client has ended.
    pub async fn request(&self, request: Request) -> Result<Reply, Error> {
        let timeout = request.timeout.unwrap_or(self.limits.request_timeout);
        Ok(Reply { payload: self.ask(Ask::Event(request), timeout).await?.payload })
    }

    /// Messages that a channel remembers; no subscription is needed. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the server refuses (`NO_HISTORY`: the channel keeps none), no answer came in time, or the client has ended.
    pub async fn history(&self, channel: impl Into<String>, options: HistoryOptions) -> Result<History, Error> {
        let ask = Ask::History { channel: channel.into(), options };
        let Answer { messages, position, .. } = self.ask(ask, self.limits.request_timeout).await?;
        Ok(History { messages, position })
    }

    /// The presence of a channel: to enter it and to ask who is there.
    pub fn presence(&self, channel: impl Into<String>) -> Presence {
        Presence { client: self.clone(), channel: channel.into() }
    }

    /// What comes without a subscription, from now on: messages to this connection's user, and what the application
    /// says to this connection alone. Of several inboxes each gets everything.
    ///
    /// At most [`Builder::queue`](crate::Builder::queue) arrivals wait in it; while it is full, nothing is read from the
    /// socket.
    ///
    /// # Errors
    ///
    /// When the client has ended.
    pub async fn inbox(&self) -> Result<Inbox, Error> {
        let (sender, arrivals) = mpsc::channel(self.limits.queue);
        self.send(Command::Inbox { arrivals: sender }).await?;
        Ok(Inbox { arrivals, _commands: self.commands.clone() })
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.limits.request_timeout
    }

    /// Asks, and waits at most so long for the answer.
    pub(crate) async fn ask(&self, ask: Ask, timeout: Duration) -> Result<Answer, Error> {
        let (done, answered) = oneshot::channel();
        let asked = async {
            self.send(Command::Ask { ask, done }).await?;
            answered.await.map_err(|_| self.end())?
        };
        tokio::time::timeout(timeout, asked).await.map_err(|_| Error::Timeout(timeout))?
    }

    /// Watches the connection. The receiver has the present status; fast changes may be skipped.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Sends what waits to be sent, closes the connection with 1000 and waits, at most 2 s, for the server to agree. Over
    /// HTTP, where there is no such word, it takes the subscriptions back, so that presence is left at once.
    /// Requests that are not answered by then fail with [`Error::Closed`].
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

/// A name that no other message has.
fn random_id() -> String {
    let mut bytes = [0u8; 16];
    // Without random numbers no frame can be masked either, and nothing is sent at all.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
