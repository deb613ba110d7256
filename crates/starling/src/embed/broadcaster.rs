//! Acting on channels and connections from anywhere in the program.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::de::DeserializeOwned;
use starling_core::{
    Answer, AppId, ChannelName, ConnectionId, Control, Emission, ErrorCode, HistoryPage, HistoryRange, MessageId,
    PresenceEntry, Publish, Published, Query, Refusal, Survey, UserId,
};
use starling_hub::Hub;

use super::audience::Audience;
use super::questions::{AskError, Questions};
use crate::api::census;
use crate::handlers::{FromPayload, IntoPayload, channel_name};
use crate::mailbox::connection_named;
use crate::shared::unix_ms;

/// What acting on a server takes. Holds the hub weakly: a handler that keeps a [`Broadcaster`] does not keep the
/// server alive.
pub(crate) struct Services {
    hub: Weak<Hub>,
    pub questions: Questions,
}

impl Services {
    pub fn new(hub: &Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { hub: Arc::downgrade(hub), questions: Questions::default() })
    }

    pub fn hub(&self) -> Result<Arc<Hub>, Refusal> {
        let gone = || Refusal::new(ErrorCode::EngineUnavailable, "the server has stopped");
        self.hub.upgrade().filter(|hub| !hub.is_over()).ok_or_else(gone)
    }
}

/// Publishes and acts on connections, from a handler or from anywhere else in the program. Cheap to clone.
///
/// It stands for one app, and its acts reach every connection of the app on every node, unless said otherwise. Rules
/// and permissions are not asked, but a channel needs a rule. From [`Server::broadcaster`](crate::Server::broadcaster),
/// or from a handler's connection.
///
/// An act fails with `ENGINE_UNAVAILABLE` when the engine did not take it, or the server has stopped. Dropping a future
/// of these methods gives up waiting; whether the act still happens is not known.
///
/// ```no_run
/// # async fn example(server: starling::Server) -> Result<(), starling::core::Refusal> {
/// use serde_json::json;
/// use starling::Audience;
///
/// let news = server.broadcaster();
/// news.publish("news", "headline", json!({"text": "It works"})).await?;
/// news.publish_to_user("ann", "inbox", json!({"unread": 3})).await?;
/// news.emit(Audience::members(["a", "b"]).except_members(["muted"]), "bell", json!(null)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Broadcaster {
    services: Arc<Services>,
    app: AppId,
}

/// A message to publish, with what is not said every time.
///
/// ```
/// use serde_json::json;
/// use starling::Post;
///
/// let tick = Post::new("ticker", "price", json!({"symbol": "ABC", "price": 3.14})).key("ABC");
/// # let _ = tick;
/// ```
#[derive(Debug, Clone)]
pub struct Post {
    publish: Result<Publish, Refusal>,
    user: Option<UserId>,
    except: Option<ConnectionId>,
}

impl Post {
    /// A message for the members of a channel.
    pub fn new(channel: impl AsRef<str>, event: impl AsRef<str>, payload: impl IntoPayload) -> Self {
        let publish = channel_name(channel.as_ref())
            .and_then(|channel| Ok(Publish::new(channel, event.as_ref(), payload.into_payload()?)));
        Self { publish, user: None, except: None }
    }

    /// A message for every connection of a user.
    pub fn to_user(user: impl AsRef<str>, event: impl AsRef<str>, payload: impl IntoPayload) -> Self {
        let channel = ChannelName::of_user(&UserId::from(user.as_ref()));
        Self::new(channel.as_str(), event, payload)
    }

    /// What it is the latest state of, for channels delivered as `latest`.
    pub fn key(self, key: impl AsRef<str>) -> Self {
        self.change(|publish| publish.key = Some(key.as_ref().into()))
    }

    /// Your own id for it: a second message of the channel with it, within the recovery window (2 min by default), is
    /// answered as the first one was, and not delivered.
    pub fn message_id(self, id: impl AsRef<str>) -> Self {
        self.change(|publish| publish.message_id = Some(MessageId::from(id.as_ref())))
    }

    /// The user that it is from. Default: none.
    pub fn from_user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(UserId::from(user.as_ref()));
        self
    }

    /// A connection that does not get it.
    pub fn except(mut self, connection: impl AsRef<str>) -> Self {
        self.except = Some(connection_named(connection.as_ref()));
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Publish)) -> Self {
        if let Ok(publish) = &mut self.publish {
            change(publish);
        }
        self
    }
}

impl Broadcaster {
    pub(crate) fn new(services: Arc<Services>, app: AppId) -> Self {
        Self { services, app }
    }

    /// The same for another app.
    pub fn of_app(&self, app: impl AsRef<str>) -> Self {
        Self { services: self.services.clone(), app: AppId::from(app.as_ref()) }
    }

    /// Publishes to a channel.
    ///
    /// # Errors
    /// A name that is none, a channel without a rule, a payload that does not serialise, an engine that did not take
    /// it.
    pub async fn publish(
        &self,
        channel: impl AsRef<str>,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
    ) -> Result<Published, Refusal> {
        self.send(Post::new(channel, event, payload)).await
    }

    /// Publishes to every connection of a user.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_to_user(
        &self,
        user: impl AsRef<str>,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
    ) -> Result<Published, Refusal> {
        self.send(Post::to_user(user, event, payload)).await
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn send(&self, post: Post) -> Result<Published, Refusal> {
        let Post { publish, user, except } = post;
        self.services.hub()?.publish_from(&self.app, publish?, user, except, unix_ms()).wait().await
    }

    /// Tells connections something that is no message of a channel: it has no id, no place in a log, and nobody
    /// recovers it.
    ///
    /// # Errors
    /// A channel name that is none, a payload that does not serialise, an engine that did not take it.
    pub async fn emit(
        &self,
        audience: Audience,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
    ) -> Result<(), Refusal> {
        let (target, payload) = (audience.target()?, payload.into_payload()?);
        self.control(Control::Emit { target, channel: None, event: event.as_ref().into(), payload }).await
    }

    /// Asks a connection of this node, and waits for its answer. Only Socket.IO clients answer (with their ack), and
    /// native ones that understand a question.
    ///
    /// Not from a handler of the same connection: its next message is read when the handler is done. Spawn a task for
    /// it there.
    ///
    /// # Errors
    /// See [`AskError`]. Dropping the future gives up waiting.
    pub async fn ask<T: FromPayload>(
        &self,
        connection: impl AsRef<str>,
        event: impl AsRef<str>,
        payload: impl IntoPayload,
        patience: Duration,
    ) -> Result<T, AskError> {
        self.ask_in(None, connection_named(connection.as_ref()), event.as_ref(), payload, patience).await
    }

    pub(crate) async fn ask_in<T: FromPayload>(
        &self,
        scope: Option<ChannelName>,
        connection: ConnectionId,
        event: &str,
        payload: impl IntoPayload,
        patience: Duration,
    ) -> Result<T, AskError> {
        let question = Emission { channel: scope, event: event.into(), payload: payload.into_payload()?, ack: None };
        let answer = self.services.questions.ask(&self.services, &self.app, connection, question, patience);
        Ok(T::from_payload(&answer.await?)?)
    }

    /// Makes connections members of a channel, whatever its rule says of who may subscribe. Done when every node was
    /// told.
    ///
    /// # Errors
    /// A channel name that is none, an engine that did not take it.
    pub async fn subscribe(&self, audience: Audience, channel: impl AsRef<str>) -> Result<(), Refusal> {
        let channel = channel_name(channel.as_ref())?;
        self.control(Control::Subscribe { target: audience.target()?, channel }).await
    }

    /// Makes connections members of a channel no longer.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(&self, audience: Audience, channel: impl AsRef<str>) -> Result<(), Refusal> {
        let channel = channel_name(channel.as_ref())?;
        self.control(Control::Unsubscribe { target: audience.target()?, channel }).await
    }

    /// Closes connections, with the code that each protocol has for it (native: 4003).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn disconnect(&self, audience: Audience) -> Result<(), Refusal> {
        self.control(Control::Disconnect { target: audience.target()? }).await
    }

    /// Who is present in a channel, in no particular order.
    ///
    /// # Errors
    /// A name that is none, `NO_PRESENCE`, an engine that did not answer.
    pub async fn presence(&self, channel: impl AsRef<str>) -> Result<Vec<PresenceEntry>, Refusal> {
        let channel = channel_name(channel.as_ref())?;
        Ok(self.services.hub()?.members(&self.app, &channel).wait().await?.members)
    }

    /// A part of what was published in a channel, oldest first: at most 1 MiB of payloads at a time.
    ///
    /// # Errors
    /// A name that is none, `NO_HISTORY`, an engine that did not answer.
    pub async fn history(&self, channel: impl AsRef<str>, range: HistoryRange) -> Result<HistoryPage, Refusal> {
        let channel = channel_name(channel.as_ref())?;
        self.services.hub()?.history(&self.app, &channel, range, unix_ms()).wait().await
    }

    /// What is known of connections, on all nodes, in no particular order. Nodes that do not answer in time are left
    /// out.
    ///
    /// # Errors
    /// A channel name that is none, an engine that did not answer.
    pub async fn connections(&self, audience: Audience) -> Result<Vec<Survey>, Refusal> {
        let hub = self.services.hub()?;
        let query = Query::Connections { target: audience.target()? };
        let mut surveys = Vec::new();
        for answer in census::ask_hub(&hub, &self.app, &query).await? {
            if let Answer::Connections(part) = answer {
                surveys.extend(part);
            }
        }
        Ok(surveys)
    }

    async fn control(&self, control: Control) -> Result<(), Refusal> {
        Ok(self.services.hub()?.engine().control(&self.app, control).wait().await?)
    }
}

/// The JSON of a payload as a `T`, for what [`Broadcaster::history`] and [`Broadcaster::presence`] give.
///
/// ```
/// use starling::core::RawJson;
///
/// let status: String = starling::json(&RawJson::parse(r#""online""#).unwrap()).unwrap();
/// assert_eq!(status, "online");
/// ```
///
/// # Errors
/// When it is none.
pub fn json<T: DeserializeOwned>(json: &starling_core::RawJson) -> Result<T, serde_json::Error> {
    serde_json::from_str(json.as_str())
}
