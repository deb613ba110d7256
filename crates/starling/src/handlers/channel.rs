//! Channels by pattern: what is done in them, and the rule that they follow.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use starling_core::{
    Access, ChannelName, Decision, Delivery, ErrorCode, HistoryPolicy, Payload, PresencePolicy, Publish, PublishAccess,
    Refusal, Rule,
};

use super::call::{EventHandler, Events, Handler, JoinHandler, LeaveHandler, PublishHandler};
use super::connection::{Connection, Member};
use super::route::{Route, RouteError};

/// A connection and a channel, before the parts of its name are read.
pub(crate) struct Spot<S> {
    pub connection: Connection<S>,
    pub channel: ChannelName,
}

impl<S> Spot<S> {
    /// What is done to the connection belongs to the part of the app that the channel is in.
    pub fn new(connection: Connection<S>, channel: ChannelName) -> Self {
        let scope = channel.scope().and_then(|scope| ChannelName::parse(scope).ok());
        Self { connection: Connection { scope, ..connection }, channel }
    }
}

/// Handlers of the channels that a pattern matches, and the rule that those channels follow.
///
/// The pattern's parts in braces are captured, and reach the handlers as a `P`: one part as a number, a text or an enum
/// (or a newtype of one), several as a tuple or a struct with fields of their names. A name whose parts are no `P` is
/// refused with `INVALID_CHANNEL`. `{user}` is the caller's own id and matches nothing else; `*` matches anything,
/// without capturing it. The first channel whose pattern matches counts.
///
/// The rule: with a join handler, whoever it lets in may subscribe, otherwise every connection with a user; clients
/// publish nothing directly, unless there is a publish handler or [`publish`](Self::publish) says so; no presence; no
/// history; delivery `reliable`.
///
/// ```
/// use serde::Deserialize;
/// use serde_json::json;
/// use starling::core::{ErrorCode, Refusal};
/// use starling::handlers::{Answer, Channel, Join, Member};
///
/// #[derive(Deserialize)]
/// struct Move {
///     x: i32,
///     y: i32,
/// }
///
/// async fn join(member: Member<u64>) -> Answer<Join> {
///     if *member.params() > 100 {
///         return Err(Refusal::new(ErrorCode::Forbidden, "there are 100 games"));
///     }
///     Ok(Join::accept().present_with(&json!({"status": "playing"})))
/// }
///
/// async fn moved(member: Member<u64>, Move { x, y }: Move) -> Answer {
///     member.broadcast_others("player_moved", json!({"who": member.user_id(), "x": x, "y": y})).await?;
///     Ok(())
/// }
///
/// let games = Channel::new("game:{id}").presence().on_join(join).on("move", moved);
/// # let _: Channel<u64> = games;
/// ```
///
/// A handler that takes something that cannot be deserialised does not compile:
///
/// ```compile_fail
/// use starling::handlers::{Answer, Channel, Member};
///
/// struct NotSerde;
///
/// async fn moved(member: Member, what: NotSerde) -> Answer {
///     Ok(())
/// }
///
/// let games: Channel = Channel::new("game").on("move", moved);
/// ```
///
/// Neither do two handlers that disagree about the parts of the name:
///
/// ```compile_fail
/// use starling::handlers::{Answer, Channel, Member};
///
/// async fn moved(member: Member<u64>) -> Answer {
///     Ok(())
/// }
///
/// async fn chat(member: Member<String>, text: String) -> Answer {
///     Ok(())
/// }
///
/// let games = Channel::new("game:{id}").on("move", moved).on("chat", chat);
/// ```
pub struct Channel<P = (), S = ()> {
    route: Result<Arc<Route>, RouteError>,
    join: Option<Handler<Spot<S>, Payload, Decision>>,
    leave: Option<Handler<Spot<S>, (), ()>>,
    publish: Option<Handler<Spot<S>, Publish, Decision>>,
    events: Events<Spot<S>>,
    rule: RuleDraft,
    params: std::marker::PhantomData<fn() -> P>,
}

/// What is said of the rule, as far as it is.
#[derive(Default)]
struct RuleDraft {
    subscribe: Option<Access>,
    publish: Option<PublishAccess>,
    presence: Option<PresencePolicy>,
    history: Option<HistoryPolicy>,
    delivery: Delivery,
}

impl<P: DeserializeOwned + Send + 'static, S: Send + Sync + 'static> Channel<P, S> {
    /// The channels that match `pattern`. A pattern that is none is an error when the server starts.
    pub fn new(pattern: &str) -> Self {
        let route = Route::parse(pattern).and_then(|route| route.check::<P>().map(|()| Arc::new(route)));
        Self {
            route,
            join: None,
            leave: None,
            publish: None,
            events: Events::default(),
            rule: RuleDraft::default(),
            params: std::marker::PhantomData,
        }
    }

    /// Decides who becomes a member: `async fn(Member<P, S>)` or `async fn(Member<P, S>, T)`, where `T` is what the
    /// client sent along (Phoenix: the payload of its join; native: the `data` of its subscribe; otherwise `null`).
    /// See [`Join`](super::Join) for what it can answer.
    pub fn on_join<M>(mut self, handler: impl JoinHandler<Member<P, S>, M>) -> Self {
        self.join = self.handler(move |member, params: &Payload| handler.handle(member, params));
        self
    }

    /// Is told of members that are members no longer, whatever the reason: `async fn(Member<P, S>)`.
    pub fn on_leave<M>(mut self, handler: impl LeaveHandler<Member<P, S>, M>) -> Self {
        self.leave = self.handler(move |member, &()| Ok(handler.handle(member)));
        self
    }

    /// Handles an event that a member sends: `async fn(Member<P, S>)` or `async fn(Member<P, S>, T)`. Its answer goes
    /// to the sender.
    ///
    /// Events of one connection are handled one after the other; those of different connections at the same time.
    pub fn on<M>(mut self, event: &str, handler: impl EventHandler<Member<P, S>, M>) -> Self {
        if let Some(handler) = self.handler(move |member, payload: &Payload| handler.handle(member, payload)) {
            self.events.insert(event.into(), handler);
        }
        self
    }

    /// Decides about what clients publish to the channel themselves: `async fn(Member<P, S>, Publish)`. Unless
    /// [`publish`](Self::publish) says otherwise, members may publish then.
    pub fn on_publish<M>(mut self, handler: impl PublishHandler<Member<P, S>, M>) -> Self {
        self.publish = self.handler(move |member, publish: &Publish| Ok(handler.handle(member, publish.clone())));
        self
    }

    /// Who may subscribe, as far as the rule is concerned. A join handler still decides about each of them.
    pub fn subscribe(mut self, access: Access) -> Self {
        self.rule.subscribe = Some(access);
        self
    }

    /// Who may publish directly, without an event.
    pub fn publish(mut self, access: PublishAccess) -> Self {
        self.rule.publish = Some(access);
        self
    }

    /// Keeps presence. Default: none.
    pub fn presence(self) -> Self {
        self.presence_grace(Duration::ZERO)
    }

    /// Keeps presence, and members present for this long after their connection was lost, so that nobody sees a short
    /// reconnect.
    pub fn presence_grace(mut self, grace: Duration) -> Self {
        self.rule.presence = Some(PresencePolicy { grace });
        self
    }

    /// Keeps the newest `size` messages (at least 1) for `ttl`, from which clients recover. Default: none.
    pub fn history(mut self, size: usize, ttl: Duration) -> Self {
        self.rule.history = Some(HistoryPolicy { size: size.max(1), ttl });
        self
    }

    /// What happens to slow members. Default: [`Delivery::Reliable`].
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.rule.delivery = delivery;
        self
    }

    /// Wraps a handler of members into one that reads the parts of the channel's name first.
    fn handler<I: ?Sized, O>(
        &self,
        handle: impl Fn(Member<P, S>, &I) -> super::run::Outcome<super::run::Running<O>> + Send + Sync + 'static,
    ) -> Option<Handler<Spot<S>, I, O>> {
        // Without a route the channel is never built.
        let route = self.route.as_ref().ok()?.clone();
        Some(Handler::new(move |spot: Spot<S>, input: &I| {
            let params = route.values(&spot.channel).map_err(|error| {
                Refusal::new(ErrorCode::InvalidChannel, format!("{} is no {route}: {error}", spot.channel))
            })?;
            handle(Member { connection: spot.connection, channel: spot.channel, params }, input)
        }))
    }

    pub(crate) fn build(self) -> Result<BuiltChannel<S>, RouteError> {
        let route = self.route?;
        let mut rule = Rule::new(route.pattern()?);
        let by_handler = if self.join.is_some() { Access::Granted } else { Access::Authenticated };
        rule.subscribe = self.rule.subscribe.unwrap_or(by_handler);
        let by_handler = if self.publish.is_some() { PublishAccess::Members } else { PublishAccess::Nobody };
        rule.publish = self.rule.publish.unwrap_or(by_handler);
        rule.presence = self.rule.presence;
        rule.history = self.rule.history;
        rule.delivery = self.rule.delivery;
        let Self { join, leave, publish, events, .. } = self;
        Ok(BuiltChannel { route, rule, join, leave, publish, events })
    }
}

impl<P, S> fmt::Debug for Channel<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("route", &self.route)
            .field("events", &self.events.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A channel whose pattern is one. The type of its parts is known to its handlers only.
pub(crate) struct BuiltChannel<S> {
    pub route: Arc<Route>,
    pub rule: Rule,
    pub join: Option<Handler<Spot<S>, Payload, Decision>>,
    pub leave: Option<Handler<Spot<S>, (), ()>>,
    pub publish: Option<Handler<Spot<S>, Publish, Decision>>,
    pub events: Events<Spot<S>>,
}
