//! A subscription: what one channel gives, in order, across connections.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use starling_core::{Payload, Position, Refusal};
use tokio::sync::mpsc;

use crate::driver::{Command, MemberId};

/// How to subscribe.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// Deliver what came after this position first. Default: only what comes from now on.
    pub since: Option<Position>,
    /// Deliver the last so many messages first. Where there is also `since`, that wins. Default 0.
    pub rewind: u32,
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

/// What a subscription gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// A message. Each comes once, in the order of the channel.
    Message(Message),
    /// Messages were left out because this client was too slow for a channel that drops.
    Gap {
        /// How many.
        missed: u64,
    },
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
    pub(crate) items: mpsc::Receiver<Item>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Subscription {
    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The next item, or `None` at the end.
    ///
    /// Cancel-safe: an item is either returned or still there.
    pub async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.items.poll_recv(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // If the queue is full, the driver finds out when the next item cannot be delivered.
        let _ =
            self.commands.try_send(Command::Unsubscribe { channel: std::mem::take(&mut self.channel), id: self.id });
    }
}
