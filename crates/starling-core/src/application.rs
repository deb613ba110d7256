//! The application seam: what the user's code decides.
//!
//! The rules of the configuration come first; an application refines them. Its implementations are HTTP hooks and
//! Rust handlers, and [`RulesOnly`], which leaves everything to the rules.

use std::sync::Arc;

use crate::{
    AppId, ChannelName, CloseReason, ConnectionId, Payload, Pending, Protocol, Publish, RawJson, Refusal, Subscribe,
    UserId,
};

/// The connection on whose behalf something is asked.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its app.
    pub app: AppId,
    /// Its id.
    pub connection: ConnectionId,
    /// Its user, if any.
    pub user: Option<UserId>,
    /// The `info` of its token: a JSON object.
    pub info: Option<RawJson>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The query of the request that it came with, without what the protocol itself or a credential is; only where the
    /// protocol lets clients in later than with that request, and none if nothing is left.
    pub query: Option<Arc<str>>,
}

/// A connection may come in.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Who it is, where the application knows better than the token.
    pub user: Option<(UserId, Option<RawJson>)>,
    /// What else shall happen.
    pub effects: Effects,
}

/// What an application wants to happen besides its answer.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Channels that the caller becomes a member of.
    pub join: Vec<ChannelName>,
    /// Channels that it is a member of no longer.
    pub leave: Vec<ChannelName>,
    /// Messages to publish.
    pub publish: Vec<Publish>,
    /// What the caller is told, in this order: events that are no message of a channel.
    pub emit: Vec<Emission>,
}

/// An event for one connection.
#[derive(Debug, Clone)]
pub struct Emission {
    /// The channel that it is about, if it is about one.
    pub channel: Option<ChannelName>,
    /// Its name.
    pub event: Arc<str>,
    /// What it carries.
    pub payload: Payload,
    /// The number under which the client's answer is awaited, if it is.
    pub ack: Option<u64>,
}

/// What an application says of a request that it does not refuse.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// It grants the request, also where the rules ask for a grant that the token does not have.
    pub granted: bool,
    /// What the requester is answered.
    pub reply: Option<Payload>,
    /// An event is not answered at all, where the protocol promises no answer.
    pub unanswered: bool,
    /// Replaces the payload of a publish.
    pub payload: Option<Payload>,
    /// With a subscription: enters presence with this data (a JSON object).
    pub present: Option<RawJson>,
    /// What else shall happen.
    pub effects: Effects,
}

/// What the user's code decides. Every method has a default that leaves the decision to the rules.
///
/// Methods are called from a worker and return quickly; what takes time goes into the [`Pending::Later`] future, which
/// runs elsewhere while the one connection waits.
pub trait Application: Send + Sync + 'static {
    /// A connection was authenticated (or is anonymous) and wants in.
    fn connect(&self, caller: &Caller) -> Pending<Result<Admission, Refusal>> {
        let _ = caller;
        Pending::Ready(Ok(Admission::default()))
    }

    /// Whether a scope is there that no channel rule speaks of. The app's own, and those with a rule, always are.
    fn accepts(&self, app: &AppId, scope: &ChannelName) -> bool {
        let _ = (app, scope);
        false
    }

    /// A connection that is in wants to enter a scope (none: the app's own), and sent this along. Not asked by protocols
    /// that have no scopes.
    fn enter(
        &self,
        caller: &Caller,
        scope: Option<&ChannelName>,
        params: Option<&RawJson>,
    ) -> Pending<Result<Effects, Refusal>> {
        let _ = (caller, scope, params);
        Pending::Ready(Ok(Effects::default()))
    }

    /// A connection left a scope, and is still there.
    fn exited(&self, caller: &Caller, scope: Option<&ChannelName>) {
        let _ = (caller, scope);
    }

    /// A connection wants to become a member. Asked after the rules did not refuse it for good.
    fn subscribe(&self, caller: &Caller, subscribe: &Subscribe) -> Pending<Result<Decision, Refusal>> {
        let _ = (caller, subscribe);
        Pending::Ready(Ok(Decision::default()))
    }

    /// A connection wants to publish. Asked after the rules did not refuse it for good.
    fn publish(&self, caller: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
        let _ = (caller, publish);
        Pending::Ready(Ok(Decision::default()))
    }

    /// Whether an event in this channel is only taken from its members. Others are refused before
    /// [`Application::event`] is asked.
    fn members_only(&self, channel: &ChannelName, event: &str) -> bool {
        let _ = (channel, event);
        false
    }

    /// An event came for the application. `None`: nobody handles it.
    fn event(
        &self,
        caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        let _ = (caller, channel, event, payload);
        None
    }

    /// A connection answers a question that was put to it with [`Emission::ack`].
    fn acknowledged(&self, caller: &Caller, ack: u64, payload: Payload) {
        let _ = (caller, ack, payload);
    }

    /// A connection is a member no longer: it left, or it is gone.
    fn left(&self, caller: &Caller, channel: &ChannelName) {
        let _ = (caller, channel);
    }

    /// A connection that came in is gone.
    fn disconnected(&self, caller: &Caller, reason: CloseReason) {
        let _ = (caller, reason);
    }
}

/// Leaves everything to the rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct RulesOnly;

impl Application for RulesOnly {}
