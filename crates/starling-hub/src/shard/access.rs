//! May this connection do this here?

use starling_core::{Access, Decision, ErrorCode, PublishAccess, Refusal, Rule};

use super::*;

/// What the rules say of a request that they do not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They allow it.
    Allowed,
    /// Only if the application grants it.
    NeedsGrant,
}

impl Verdict {
    /// Joins the rules' and the application's word.
    pub fn with(self, decided: Result<Decision, Refusal>) -> Result<Decision, Refusal> {
        let decision = decided?;
        if self == Self::NeedsGrant && !decision.granted {
            return Err(Refusal::new(
                ErrorCode::Forbidden,
                "neither the token nor the application grants this channel",
            ));
        }
        Ok(decision)
    }
}

impl<T: Endpoint> Shard<T> {
    pub(super) fn may_subscribe(&self, slot: Slot, channel: &ChannelName) -> Result<Verdict, Refusal> {
        let identity = &self.connections[slot.index as usize].identity;
        if let Some(owner) = channel.user() {
            return match &identity.user {
                Some(user) if user.as_str() == owner => Err(Refusal::new(
                    ErrorCode::Forbidden,
                    "a connection receives its own user's channel without subscribing",
                )),
                Some(_) => Err(Refusal::new(ErrorCode::Forbidden, "this channel belongs to another user")),
                None => Err(auth_required()),
            };
        }
        let rule = self.rule_for(identity, channel)?;
        match rule.subscribe {
            Access::Anyone => Ok(Verdict::Allowed),
            Access::Authenticated if identity.user.is_some() => Ok(Verdict::Allowed),
            Access::Granted if identity.user.is_some() => Ok(granted(identity, channel, |grants| &grants.subscribe)),
            Access::Authenticated => Err(auth_required()),
            // Without a user there is no token that could grant it, but the application still could.
            Access::Granted if self.hub.application.is_some() => Ok(Verdict::NeedsGrant),
            Access::Granted => Err(auth_required()),
        }
    }

    pub(super) fn may_publish(&self, slot: Slot, channel: &ChannelName) -> Result<Verdict, Refusal> {
        let connection = &self.connections[slot.index as usize];
        let identity = &connection.identity;
        let rule = self.rule_for(identity, channel)?;
        match rule.publish {
            PublishAccess::Nobody => Err(Refusal::new(ErrorCode::Forbidden, "clients do not publish here")),
            PublishAccess::Anyone => Ok(Verdict::Allowed),
            PublishAccess::Authenticated if identity.user.is_some() => Ok(Verdict::Allowed),
            PublishAccess::Authenticated => Err(auth_required()),
            PublishAccess::Members if self.is_member(connection, channel) => Ok(Verdict::Allowed),
            PublishAccess::Members => Err(Refusal::new(ErrorCode::NotSubscribed, "only members publish here")),
            PublishAccess::Granted if identity.user.is_some() => {
                Ok(granted(identity, channel, |grants| &grants.publish))
            }
            PublishAccess::Granted if self.hub.application.is_some() => Ok(Verdict::NeedsGrant),
            PublishAccess::Granted => Err(auth_required()),
        }
    }

    /// Whether it may read what was published, and see who is there: members may, and those who could become one.
    pub(super) fn may_read(&self, slot: Slot, channel: &ChannelName) -> Result<(), Refusal> {
        let connection = &self.connections[slot.index as usize];
        if self.is_member(connection, channel) {
            return Ok(());
        }
        match self.may_subscribe(slot, channel)? {
            Verdict::Allowed => Ok(()),
            Verdict::NeedsGrant => Err(Refusal::new(ErrorCode::Forbidden, "only members read this channel")),
        }
    }

    pub(super) fn is_member(&self, connection: &Connection<T>, channel: &ChannelName) -> bool {
        let key = ChannelRef { app: &connection.identity.app, channel };
        self.by_name.get(&key).is_some_and(|index| {
            let found = connection.subscriptions.binary_search_by_key(index, |known| known.channel);
            found.is_ok_and(|at| connection.subscriptions[at].place != Place::Joining)
        })
    }

    /// Whether there is a rule for the channel at all.
    pub(super) fn has_rule(&self, slot: Slot, channel: &ChannelName) -> bool {
        self.rule_for(&self.connections[slot.index as usize].identity, channel).is_ok()
    }

    fn rule_for(&self, identity: &Identity, channel: &ChannelName) -> Result<&Rule, Refusal> {
        if channel.user().is_some() {
            return Err(Refusal::no_rule());
        }
        let user = identity.user.as_ref().map(|user| user.as_str());
        let rule = self.settings.rules.for_caller(&identity.app, channel.as_str(), user);
        rule.map(|rule| &**rule).ok_or_else(Refusal::no_rule)
    }
}

fn granted(
    identity: &Identity,
    channel: &ChannelName,
    list: fn(&crate::Grants) -> &Vec<starling_core::Pattern>,
) -> Verdict {
    let user = identity.user.as_ref().map(|user| user.as_str());
    let by_token = identity
        .grants
        .as_deref()
        .is_some_and(|grants| list(grants).iter().any(|pattern| pattern.matches(channel.as_str(), user)));
    if by_token { Verdict::Allowed } else { Verdict::NeedsGrant }
}

fn auth_required() -> Refusal {
    Refusal::new(ErrorCode::AuthRequired, "this needs an authenticated user")
}
