//! What handlers hold: the connection that they work for.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use starling_core::{
    AppId, Caller, ChannelName, ConnectionId, Emission, HistoryPage, HistoryRange, PresenceEntry, Protocol, Published,
    RawJson, Refusal, UserId,
};

use super::payload::{FromPayload, IntoPayload};
use crate::embed::{AskError, Audience, Broadcaster, Post, Services};

/// The connection that a handler works for, with the state that the connect handler gave it.
///
/// Cheap to clone, and of use after the handler as well: in a task that it spawned, say. What is done to a connection
/// that is gone has no effect.
///
/// ```
/// use starling::handlers::{Answer, Connection};
///
/// async fn whoami(connection: Connection) -> Answer<String> {
///     Ok(format!("{} over {}", connection.user_id().unwrap_or("nobody"), connection.protocol()))
/// }
/// # let _ = starling::handlers::Handlers::new().on("whoami", whoami);
/// ```
pub struct Connection<S = ()> {
    pub(crate) caller: Caller,
    pub(crate) state: Arc<S>,
    pub(crate) services: Arc<Services>,
    /// The part of the app (for Socket.IO, the namespace) that the handler was called in; none: its own.
    pub(crate) scope: Option<ChannelName>,
}

impl<S> Clone for Connection<S> {
    fn clone(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            state: self.state.clone(),
            services: self.services.clone(),
            scope: self.scope.clone(),
        }
    }
}

impl<S> Connection<S> {
    /// Its id, which every API takes.
    pub fn id(&self) -> &ConnectionId {
        &self.caller.connection
    }

    /// Its app.
    pub fn app(&self) -> &AppId {
        &self.caller.app
    }

    /// Its user, unless it is anonymous.
    pub fn user(&self) -> Option<&UserId> {
        self.caller.user.as_ref()
    }

    /// Its user's id as text, unless it is anonymous.
    pub fn user_id(&self) -> Option<&str> {
        self.caller.user.as_ref().map(UserId::as_str)
    }

    /// What its token, or the connect handler, says of its user: a JSON object.
    pub fn info(&self) -> Option<&RawJson> {
        self.caller.info.as_ref()
    }

    /// What it speaks: `native`, `socketio`, `phoenix`, …
    pub fn protocol(&self) -> Protocol {
        self.caller.protocol
    }

    /// What the connect handler gave it. Shared by all its handlers: what changes stands behind a lock or an atomic.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// For acts beyond this connection.
    pub fn broadcaster(&self) -> Broadcaster {
        Broadcaster::new(self.services.clone(), self.caller.app.clone())
    }

    /// Publishes to a channel, as this connection's user.
    ///
    /// # Errors
    /// As [`Broadcaster::publish`].
    pub async fn publish(
        &self,
        channel: impl AsRef<str>,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
    ) -> Result<Published, Refusal> {
        self.send(Post::new(channel, event, payload)).await
    }

    /// Publishes a message, as this connection's user.
    ///
    /// # Errors
    /// As [`Broadcaster::publish`].
    pub async fn send(&self, post: Post) -> Result<Published, Refusal> {
        let post = match self.user_id() {
            Some(user) => post.from_user(user),
            None => post,
        };
        self.broadcaster().send(post).await
    }

    /// Tells this connection something: an event that is no message of a channel. It follows the answer to what is
    /// being handled now, if that needs no waiting.
    ///
    /// # Errors
    /// A payload that does not serialise, or the server has stopped.
    pub fn emit(&self, event: impl AsRef<str>, payload: impl IntoPayload) -> Result<(), Refusal> {
        self.tell(self.scope.clone(), event.as_ref(), payload)
    }

    /// The connection is on this node: nobody else needs to hear of it.
    fn tell(&self, channel: Option<ChannelName>, event: &str, payload: impl IntoPayload) -> Result<(), Refusal> {
        let emission = Emission { channel, event: event.into(), payload: payload.into_payload()?, ack: None };
        self.services.hub()?.emit_here(self.app(), self.id(), &emission, |_| {});
        Ok(())
    }

    /// Asks this connection, and waits for its answer: not from within one of its own handlers, see
    /// [`Broadcaster::ask`].
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask<T: FromPayload>(
        &self,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
        patience: Duration,
    ) -> Result<T, AskError> {
        self.broadcaster().ask_in(self.scope.clone(), self.id().clone(), event.as_ref(), payload, patience).await
    }

    /// Makes this connection a member of a channel.
    ///
    /// # Errors
    /// As [`Broadcaster::subscribe`].
    pub async fn join(&self, channel: impl AsRef<str>) -> Result<(), Refusal> {
        self.broadcaster().subscribe(self.audience(), channel).await
    }

    /// Makes this connection a member of a channel no longer.
    ///
    /// # Errors
    /// As [`Broadcaster::unsubscribe`].
    pub async fn leave(&self, channel: impl AsRef<str>) -> Result<(), Refusal> {
        self.broadcaster().unsubscribe(self.audience(), channel).await
    }

    /// Closes this connection.
    ///
    /// # Errors
    /// As [`Broadcaster::disconnect`].
    pub async fn disconnect(&self) -> Result<(), Refusal> {
        self.broadcaster().disconnect(self.audience()).await
    }

    fn audience(&self) -> Audience {
        Audience::connection(self.id().as_str())
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// A connection in a channel: a member, or one that asks to become one. `P` is the type of the parts that the channel's
/// pattern captures.
///
/// ```
/// use serde_json::{Value, json};
/// use starling::handlers::{Answer, Channel, Member};
///
/// async fn cheer(member: Member<u64>, text: String) -> Answer {
///     println!("match {}: {text}", member.params());
///     member.broadcast_others("cheer", json!({"from": member.user_id(), "text": text})).await?;
///     Ok(())
/// }
/// # let _: Channel<u64> = Channel::new("match:{id}").on("cheer", cheer);
/// ```
pub struct Member<P = (), S = ()> {
    pub(crate) connection: Connection<S>,
    pub(crate) channel: ChannelName,
    pub(crate) params: P,
}

impl<P: Clone, S> Clone for Member<P, S> {
    fn clone(&self) -> Self {
        Self { connection: self.connection.clone(), channel: self.channel.clone(), params: self.params.clone() }
    }
}

impl<P, S> Deref for Member<P, S> {
    type Target = Connection<S>;

    fn deref(&self) -> &Connection<S> {
        &self.connection
    }
}

impl<P, S> Member<P, S> {
    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// What the pattern captured of its name.
    pub fn params(&self) -> &P {
        &self.params
    }

    /// Publishes to the channel, this connection included, as its user.
    ///
    /// # Errors
    /// As [`Broadcaster::publish`].
    pub async fn broadcast(&self, event: impl AsRef<str>, payload: impl IntoPayload) -> Result<Published, Refusal> {
        self.send(Post::new(self.channel.as_str(), event, payload)).await
    }

    /// Publishes to everyone in the channel but this connection, as its user.
    ///
    /// # Errors
    /// As [`Broadcaster::publish`].
    pub async fn broadcast_others(
        &self,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
    ) -> Result<Published, Refusal> {
        self.send(Post::new(self.channel.as_str(), event, payload).except(self.id().as_str())).await
    }

    /// Tells this connection alone something about the channel.
    ///
    /// # Errors
    /// As [`Connection::emit`].
    pub fn push(&self, event: impl AsRef<str>, payload: impl IntoPayload) -> Result<(), Refusal> {
        self.tell(Some(self.channel.clone()), event.as_ref(), payload)
    }

    /// Makes this connection a member of the channel no longer.
    ///
    /// # Errors
    /// As [`Broadcaster::unsubscribe`].
    pub async fn kick(&self) -> Result<(), Refusal> {
        self.leave(self.channel.as_str()).await
    }

    /// Who is present in the channel.
    ///
    /// # Errors
    /// As [`Broadcaster::presence`].
    pub async fn presence(&self) -> Result<Vec<PresenceEntry>, Refusal> {
        self.broadcaster().presence(self.channel.as_str()).await
    }

    /// A part of what was published in the channel.
    ///
    /// # Errors
    /// As [`Broadcaster::history`].
    pub async fn history(&self, range: HistoryRange) -> Result<HistoryPage, Refusal> {
        self.broadcaster().history(self.channel.as_str(), range).await
    }
}

impl<P: fmt::Debug, S> fmt::Debug for Member<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("channel", &self.channel)
            .field("params", &self.params)
            .field("connection", &self.connection)
            .finish()
    }
}
