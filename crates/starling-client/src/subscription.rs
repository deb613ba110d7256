//! A subscription: what one channel gives, in order, across connections.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_core::{Payload, Position, RawJson, Refusal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::ask::read;
use crate::driver::{Command, MemberId, Opened};
use crate::error::Error;
use crate::presence::{Members, PresenceChange};

/// How to subscribe.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// Deliver what came after this position first. Default: only what comes from now on.
    pub since: Option<Position>,
    /// Deliver the last so many messages first. Where there is also `since`, that wins. Default 0.
    pub rewind: u32,
    /// Keep [`Subscription::members`] up to date, and tell of changes. Default false.
    pub presence: bool,
    /// Enter the channel's presence with this object. Default: do not enter.
    pub enter: Option<RawJson>,
}

impl SubscribeOptions {
    /// Delivers what came after `position` first; [`Item::Recovered`] says whether that is all of it.
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// Delivers the last `messages` first, or as many as the channel remembers.
    pub fn rewind(mut self, messages: u32) -> Self {
        self.rewind = messages;
        self
    }

    /// Keeps [`Subscription::members`] up to date, and tells of changes as [`Item::Presence`].
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Enters the channel's presence with `data`, an object; also again after a lost connection.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when it cannot be written as JSON.
    pub fn enter<T: Serialize + ?Sized>(mut self, data: &T) -> Result<Self, Error> {
        self.enter = Some(RawJson::of(data).map_err(Error::payload)?);
        Ok(self)
    }
}

/// A message of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Names the message within its channel.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// What happened; `message` unless the publisher said otherwise.
    pub event: String,
    /// What it carries: JSON exactly as it was published, or bytes.
    pub payload: Payload,
    /// When the server accepted it, in Unix milliseconds.
    pub ts: u64,
    /// The sender, if it was a connection with a user.
    pub user_id: Option<String>,
    /// Its place in the log, where the channel keeps history.
    pub position: Option<Position>,
}

impl Message {
    /// The payload as a type of the application's own.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when it has another shape, or is bytes.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read(&self.payload)
    }
}

/// What a subscription gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// A message. Each comes once, in the order of the channel.
    Message(Message),
    /// Messages will not come.
    Gap {
        /// How many.
        missed: u64,
        /// Whether the server told of them, because this client was too slow for a channel that drops. Otherwise offsets
        /// were skipped without a word: superseded messages of a `latest` channel, or messages that the application
        /// kept from this connection. Own messages without echo are no gap.
        announced: bool,
    },
    /// The set of members has changed; [`Subscription::members`] has it whole. After a lost connection it tells what
    /// changed meanwhile. Only where [`SubscribeOptions::presence`] asked for it.
    Presence(PresenceChange),
    /// The subscription goes on after [`SubscribeOptions::since`] or after a lost connection. `true`: what was missed
    /// follows, all of it. `false`: messages may be missing here, because the channel has no history or no longer
    /// that part of it.
    Recovered(bool),
    /// The server ended the subscription, or refused to go on with it after a reconnect. Nothing follows.
    Unsubscribed(Refusal),
}

/// A subscribed channel. A stream of [`Item`]s, which ends after [`Item::Unsubscribed`] or with the client, whose
/// [`status`](crate::Client::status) then says why. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) channel: String,
    pub(crate) id: MemberId,
    items: mpsc::Receiver<Item>,
    members: watch::Receiver<Members>,
    position: Option<Position>,
    commands: mpsc::Sender<Command>,
}

impl Subscription {
    pub(crate) fn new(channel: String, opened: Opened, commands: mpsc::Sender<Command>) -> Self {
        let Opened { id, items, members, position } = opened;
        Self { channel, id, items, members, position, commands }
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The next item, or `None` at the end.
    ///
    /// Cancel-safe: an item is either returned or still there.
    pub async fn next(&mut self) -> Option<Item> {
        let item = self.items.recv().await;
        self.note(item)
    }

    /// The place of the last message that was taken from here, or where the log stood at the beginning: what to go on
    /// from in another run. `None` where the channel keeps no history.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Who is there: a live set where [`SubscribeOptions::presence`] asked for it, empty otherwise. Without a
    /// connection it is the last that was known.
    ///
    /// The receiver has the present set, and lets wait for the next one; fast changes may be skipped.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// Unsubscribes, and waits until the server has agreed; without a connection that is at once. Items that were not
    /// taken are lost.
    ///
    /// Cancel-safe: once begun, it is done also when the future is dropped.
    ///
    /// # Errors
    ///
    /// When the server refuses, or the client has ended.
    pub async fn unsubscribe(mut self) -> Result<(), Error> {
        // Nothing is read from the socket while items wait for room.
        self.items.close();
        let (done, agreed) = oneshot::channel();
        let command = Command::Unsubscribe { channel: self.channel.clone(), id: self.id, done: Some(done) };
        self.commands.send(command).await.map_err(|_| Error::Closed)?;
        agreed.await.map_err(|_| Error::Closed)?.map(drop)
    }

    fn note(&mut self, item: Option<Item>) -> Option<Item> {
        if let Some(Item::Message(Message { position: Some(position), .. })) = &item {
            self.position = Some(position.clone());
        }
        item
    }
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.items.poll_recv(context).map(|item| self.note(item))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // If the queue is full, the driver finds out when the next item cannot be delivered.
        let command = Command::Unsubscribe { channel: std::mem::take(&mut self.channel), id: self.id, done: None };
        let _ = self.commands.try_send(command);
    }
}
