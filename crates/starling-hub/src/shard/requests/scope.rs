//! Entering and leaving scopes: parts of an app whose channels begin with the scope's name.

use starling_core::{ChannelName, Effects, Enter, ErrorCode, Refusal, Reply, Tag};

use super::*;

impl<T: Endpoint> Shard<T> {
    pub(super) fn enter(&mut self, slot: Slot, tag: Tag, enter: Box<Enter>, now: Now) {
        let Some(connection) = self.get(slot) else { return };
        let app = connection.identity.app.clone();
        let application = self.hub.application.clone();
        if let Some(scope) = &enter.scope
            && !self.settings.rules.may_begin_with(&app, scope.as_str())
            && !application.as_ref().is_some_and(|application| application.accepts(&app, scope))
        {
            let refusal = Refusal::new(ErrorCode::InvalidChannel, "there is no such scope");
            return self.refuse(slot, &tag, refusal, enter.scope);
        }
        let Some(application) = application else {
            return self.enter_decided(slot, tag, enter, Ok(Effects::default()), now);
        };
        let decided = application.enter(&connection.identity.caller(), enter.scope.as_ref(), enter.params.as_ref());
        self.when(slot, decided, |result| Outcome::EnterDecided(tag, enter, result), now);
    }

    pub(super) fn exit(&mut self, slot: Slot, tag: &Tag, scope: Option<ChannelName>, now: Now) {
        let Some(connection) = self.get(slot) else { return };
        let caller = connection.identity.caller();
        let is_in = |channel: &ChannelName| match &scope {
            Some(scope) => channel.as_str().starts_with(scope.as_str()),
            None => channel.scope().is_none(),
        };
        let gone = connection.scopes.iter().position(|entered| entered.scope == scope);
        let explicit = connection.subscriptions.iter().filter(|subscription| !subscription.implicit);
        let left: Vec<u32> = explicit
            .map(|subscription| subscription.channel)
            .filter(|index| is_in(&self.channels[*index as usize].key.channel))
            .collect();
        for index in left {
            let channel = self.channels[index as usize].key.channel.clone();
            self.connections[slot.index as usize].outbox.forget_channel(&channel);
            self.drop_subscription(slot.index, index, now);
        }
        if let Some(gone) = gone {
            let gone = self.connections[slot.index as usize].scopes.remove(gone);
            self.forget_names(slot.index, &gone);
        }
        if let Some(application) = self.hub.application() {
            application.exited(&caller, scope.as_ref());
        }
        self.answer(slot, tag, Reply::Done);
    }
}
