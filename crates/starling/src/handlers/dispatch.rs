//! From the application seam to the handlers.

use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{
    Admission, Answer, Application, Caller, ChannelName, CloseReason, ConnectionId, Decision, ErrorCode, Payload,
    Pending, Publish, Query, RawJson, Refusal, Subscribe,
};

use super::addressed::Addressed;
use super::answer::Welcome;
use super::call::{Events, Handler};
use super::channel::{BuiltChannel, Spot};
use super::connection::Connection;
use super::newcomer::{Newcomer, head};
use super::run::{Outcome, Runner};
use crate::api::census;
use crate::embed::Services;

/// The handlers of a server, as its application.
pub(crate) struct Dispatch<S> {
    pub newcomers: Newcomers<S>,
    pub events: Events<Connection<S>>,
    pub disconnect: Option<Handler<Connection<S>, CloseReason, ()>>,
    pub channels: Vec<BuiltChannel<S>>,
    pub attached: Arc<OnceLock<Attached>>,
}

/// What the server gives its handlers when it starts.
pub(crate) struct Attached {
    pub services: Arc<Services>,
    pub runner: Arc<Runner>,
}

/// Where the state of connections comes from.
pub(crate) enum Newcomers<S> {
    /// No connect handler: all have the same.
    Alike(Arc<S>),
    /// The connect handler makes it.
    Asked(Arc<Asked<S>>),
}

/// The connect handler, and what it gave to the connections that are there.
pub(crate) struct Asked<S> {
    pub connect: Handler<Newcomer, (), Welcome<S>>,
    states: States<S>,
}

impl<S> Asked<S> {
    pub fn new(connect: Handler<Newcomer, (), Welcome<S>>) -> Self {
        Self { connect, states: States::default() }
    }
}

/// The states of connections. In parts, so that workers seldom meet.
struct States<S> {
    hasher: RandomState,
    parts: [Mutex<HashMap<ConnectionId, Arc<S>, RandomState>>; 16],
}

impl<S> Default for States<S> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), parts: Default::default() }
    }
}

impl<S> States<S> {
    /// Locked for one look-up or change.
    fn part(&self, connection: &ConnectionId) -> &Mutex<HashMap<ConnectionId, Arc<S>, RandomState>> {
        use std::hash::BuildHasher;
        // Not the bits that the table itself looks at.
        &self.parts[(self.hasher.hash_one(connection) >> 32) as usize % self.parts.len()]
    }

    fn get(&self, connection: &ConnectionId) -> Option<Arc<S>> {
        self.part(connection).lock().get(connection).cloned()
    }

    fn insert(&self, connection: ConnectionId, state: Arc<S>) {
        self.part(&connection).lock().insert(connection, state);
    }

    fn remove(&self, connection: &ConnectionId) -> Option<Arc<S>> {
        let mut part = self.part(connection).lock();
        let removed = part.remove(connection);
        if part.capacity() > 64 && part.len() < part.capacity() / 4 {
            part.shrink_to_fit();
        }
        removed
    }
}

impl<S: Send + Sync + 'static> Dispatch<S> {
    fn attached(&self) -> &Attached {
        self.attached.get().expect("the server attaches its handlers before it takes connections")
    }

    fn channel(&self, channel: &ChannelName) -> Option<&BuiltChannel<S>> {
        self.channels.iter().find(|built| built.route.captures(channel.as_str()).is_some())
    }

    fn connection(&self, caller: &Caller, state: Arc<S>) -> Connection<S> {
        Connection { caller: caller.clone(), state, services: self.attached().services.clone(), scope: None }
    }

    /// Runs a handler on a connection, whose state must be known first.
    fn run<C: Send + 'static, I: Send + 'static, O: Send + 'static>(
        &self,
        caller: &Caller,
        handler: &Handler<C, I, O>,
        on: impl FnOnce(Connection<S>) -> C + Send + 'static,
        input: I,
    ) -> Pending<Outcome<O>> {
        let (call, manners) = (handler.call.clone(), handler.manners.clone());
        let asked = match &self.newcomers {
            Newcomers::Alike(state) => Ok(state.clone()),
            Newcomers::Asked(asked) => asked.states.get(&caller.connection).ok_or(asked),
        };
        let runner = &self.attached().runner;
        match asked {
            Ok(state) => {
                let on = on(self.connection(caller, state));
                runner.run(&caller.connection, &manners, move || call(on, &input))
            }
            // A request without a connection, such as an upstream one of HTTP: it comes in for this one act.
            Err(asked) => {
                let welcome = asked.welcome(runner, caller);
                let (caller, services, runner) = (caller.clone(), self.attached().services.clone(), runner.clone());
                Pending::later(async move {
                    let (state, admission) = welcome.wait().await?.into_parts(caller.user.as_ref())?;
                    let mut caller = caller;
                    if let Some((user, info)) = admission.user {
                        caller.user = Some(user);
                        caller.info = info.or(caller.info);
                    }
                    let id = caller.connection.clone();
                    let on = on(Connection { caller, state: Arc::new(state), services, scope: None });
                    runner.run(&id, &manners, move || call(on, &input)).wait().await
                })
            }
        }
    }

    /// Runs a handler that tells nobody anything, on a connection that is or was there.
    fn run_aside<C: Send + 'static, I: Send + 'static>(
        &self,
        caller: &Caller,
        handler: &Handler<C, I, ()>,
        on: impl FnOnce(Connection<S>) -> C,
        state: Option<Arc<S>>,
        input: I,
    ) {
        let Some(state) = state else { return };
        let on = on(self.connection(caller, state));
        let call = handler.call.clone();
        let start = move || call(on, &input);
        self.attached().runner.run_aside(caller.connection.clone(), &handler.manners, start);
    }

    /// Whether a connection of this node is a member of a channel.
    async fn is_member(&self, caller: &Caller, channel: &ChannelName) -> Result<bool, Refusal> {
        let hub = self.attached().services.hub()?;
        let query = Query::Connection { connection: caller.connection.clone() };
        let answers = census::ask_workers(&hub, &caller.app, &query).await?;
        Ok(answers.iter().any(|answer| match answer {
            Answer::Connection(Some(survey)) => survey.channels.contains(channel),
            _ => false,
        }))
    }

    fn state(&self, connection: &ConnectionId) -> Option<Arc<S>> {
        match &self.newcomers {
            Newcomers::Alike(state) => Some(state.clone()),
            Newcomers::Asked(asked) => asked.states.get(connection),
        }
    }
}

impl<S: Send + Sync + 'static> Asked<S> {
    fn welcome(&self, runner: &Arc<Runner>, caller: &Caller) -> Pending<Outcome<Welcome<S>>> {
        let newcomer = Newcomer { caller: caller.clone(), head: head() };
        let call = self.connect.call.clone();
        runner.run(&caller.connection, &self.connect.manners, move || call(newcomer, &()))
    }
}

/// [`Dispatch`], shared with what goes on after a call.
pub(crate) struct Front<S>(pub Arc<Dispatch<S>>);

impl<S: Send + Sync + 'static> Front<S> {
    /// An event that names its channel by its first argument, from a protocol whose events belong to none.
    fn addressed(
        &self,
        caller: &Caller,
        scope: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Outcome<Option<Payload>>>> {
        let Addressed { channel, payload } = Addressed::read(scope, payload)?;
        self.0.channel(&channel)?.events.get(event)?;
        let (dispatch, caller, event) = (self.0.clone(), caller.clone(), event.to_owned());
        Some(Pending::later(async move {
            if !dispatch.is_member(&caller, &channel).await? {
                return Err(Refusal::new(ErrorCode::NotSubscribed, "only members send events here"));
            }
            let handler = dispatch.channel(&channel).and_then(|built| built.events.get(&*event));
            let Some(handler) = handler else { return Ok(None) };
            let name = channel.clone();
            dispatch.run(&caller, handler, move |connection| Spot::new(connection, name), payload).wait().await
        }))
    }
}

impl<S: Send + Sync + 'static> Application for Front<S> {
    fn connect(&self, caller: &Caller) -> Pending<Result<Admission, Refusal>> {
        let Newcomers::Asked(asked) = &self.0.newcomers else {
            return Pending::Ready(Ok(Admission::default()));
        };
        let welcome = asked.welcome(&self.0.attached().runner, caller);
        let (asked, connection, user) = (asked.clone(), caller.connection.clone(), caller.user.clone());
        welcome.map(move |welcome| {
            let (state, admission) = welcome?.into_parts(user.as_ref())?;
            asked.states.insert(connection, Arc::new(state));
            Ok(admission)
        })
    }

    fn subscribe(&self, caller: &Caller, subscribe: &Subscribe) -> Pending<Result<Decision, Refusal>> {
        let Some(handler) = self.0.channel(&subscribe.channel).and_then(|built| built.join.as_ref()) else {
            return Pending::Ready(Ok(Decision::default()));
        };
        let params = subscribe.more.as_ref().and_then(|more| more.params.clone());
        let params = params.or_else(|| subscribe.enter.clone()).unwrap_or_else(RawJson::null);
        let channel = subscribe.channel.clone();
        self.0.run(caller, handler, move |connection| Spot::new(connection, channel), Payload::Json(params))
    }

    fn publish(&self, caller: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
        let Some(handler) = self.0.channel(&publish.channel).and_then(|built| built.publish.as_ref()) else {
            return Pending::Ready(Ok(Decision::default()));
        };
        let channel = publish.channel.clone();
        self.0.run(caller, handler, move |connection| Spot::new(connection, channel), publish.clone())
    }

    /// What a channel's handlers take, they take from whom its join let in.
    fn members_only(&self, channel: &ChannelName, event: &str) -> bool {
        self.0.channel(channel).is_some_and(|channel| channel.events.contains_key(event))
    }

    fn event(
        &self,
        caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        // An event of a channel, or one about the connection itself, or the part of the app that it entered.
        let (scope, channel) = match channel {
            Some(channel) if channel.scope() != Some(channel.as_str()) => (None, Some(channel)),
            scope => (scope, None),
        };
        let in_channel = channel.or(scope).and_then(|name| Some((name, self.0.channel(name)?.events.get(event)?)));
        let reply = if let Some((channel, handler)) = in_channel {
            let channel = channel.clone();
            self.0.run(caller, handler, move |connection| Spot::new(connection, channel), payload.clone())
        } else if channel.is_some() {
            return None;
        } else if let Some(handler) = self.0.events.get(event) {
            let scope = scope.cloned();
            self.0.run(caller, handler, move |connection| Connection { scope, ..connection }, payload.clone())
        } else {
            self.addressed(caller, scope, event, payload)?
        };
        Some(reply.map(|reply| Ok(Decision { reply: reply?, ..Decision::default() })))
    }

    fn acknowledged(&self, caller: &Caller, ack: u64, payload: Payload) {
        self.0.attached().services.questions.answered(&caller.connection, ack, payload);
    }

    fn left(&self, caller: &Caller, channel: &ChannelName) {
        let Some(handler) = self.0.channel(channel).and_then(|built| built.leave.as_ref()) else { return };
        let state = self.0.state(&caller.connection);
        let channel = channel.clone();
        self.0.run_aside(caller, handler, move |connection| Spot::new(connection, channel), state, ());
    }

    fn disconnected(&self, caller: &Caller, reason: CloseReason) {
        self.0.attached().services.questions.gone(&caller.connection);
        let state = match &self.0.newcomers {
            Newcomers::Alike(state) => Some(state.clone()),
            Newcomers::Asked(asked) => asked.states.remove(&caller.connection),
        };
        if let Some(handler) = &self.0.disconnect {
            self.0.run_aside(caller, handler, |connection| connection, state, reason);
        }
    }
}
