//! From the application seam to the handlers.

use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{
    Admission, Application, Caller, ChannelName, CloseReason, ConnectionId, Decision, Payload, Pending, Publish,
    RawJson, Refusal, Subscribe,
};

use super::answer::Welcome;
use super::call::Handler;
use super::channel::{BuiltChannel, Spot};
use super::connection::Connection;
use super::newcomer::{Newcomer, head};
use super::run::{Outcome, Runner};
use crate::embed::Services;

/// The handlers of a server, as its application.
pub(crate) struct Dispatch<S> {
    pub newcomers: Newcomers<S>,
    pub events: HashMap<Box<str>, Handler<Connection<S>, Payload, Option<Payload>>, RandomState>,
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
        Connection { caller: caller.clone(), state, services: self.attached().services.clone() }
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
                    let on = on(Connection { caller, state: Arc::new(state), services });
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

impl<S: Send + Sync + 'static> Application for Dispatch<S> {
    fn connect(&self, caller: &Caller) -> Pending<Result<Admission, Refusal>> {
        let Newcomers::Asked(asked) = &self.newcomers else {
            return Pending::Ready(Ok(Admission::default()));
        };
        let welcome = asked.welcome(&self.attached().runner, caller);
        let (asked, connection, user) = (asked.clone(), caller.connection.clone(), caller.user.clone());
        welcome.map(move |welcome| {
            let (state, admission) = welcome?.into_parts(user.as_ref())?;
            asked.states.insert(connection, Arc::new(state));
            Ok(admission)
        })
    }

    fn subscribe(&self, caller: &Caller, subscribe: &Subscribe) -> Pending<Result<Decision, Refusal>> {
        let Some(handler) = self.channel(&subscribe.channel).and_then(|built| built.join.as_ref()) else {
            return Pending::Ready(Ok(Decision::default()));
        };
        let params = subscribe.more.as_ref().and_then(|more| more.params.clone());
        let params = params.or_else(|| subscribe.enter.clone()).unwrap_or_else(RawJson::null);
        let channel = subscribe.channel.clone();
        self.run(caller, handler, move |connection| Spot { connection, channel }, Payload::Json(params))
    }

    fn publish(&self, caller: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
        let Some(handler) = self.channel(&publish.channel).and_then(|built| built.publish.as_ref()) else {
            return Pending::Ready(Ok(Decision::default()));
        };
        let channel = publish.channel.clone();
        self.run(caller, handler, move |connection| Spot { connection, channel }, publish.clone())
    }

    fn event(
        &self,
        caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        let reply = match channel {
            None => self.run(caller, self.events.get(event)?, |connection| connection, payload.clone()),
            Some(channel) => {
                let handler = self.channel(channel)?.events.get(event)?;
                let channel = channel.clone();
                self.run(caller, handler, move |connection| Spot { connection, channel }, payload.clone())
            }
        };
        Some(reply.map(|reply| Ok(Decision { reply: reply?, ..Decision::default() })))
    }

    fn acknowledged(&self, caller: &Caller, ack: u64, payload: Payload) {
        self.attached().services.questions.answered(&caller.connection, ack, payload);
    }

    fn left(&self, caller: &Caller, channel: &ChannelName) {
        let Some(handler) = self.channel(channel).and_then(|built| built.leave.as_ref()) else { return };
        let state = self.state(&caller.connection);
        let channel = channel.clone();
        self.run_aside(caller, handler, move |connection| Spot { connection, channel }, state, ());
    }

    fn disconnected(&self, caller: &Caller, reason: CloseReason) {
        self.attached().services.questions.gone(&caller.connection);
        let state = match &self.newcomers {
            Newcomers::Alike(state) => Some(state.clone()),
            Newcomers::Asked(asked) => asked.states.remove(&caller.connection),
        };
        if let Some(handler) = &self.disconnect {
            self.run_aside(caller, handler, |connection| connection, state, reason);
        }
    }
}
