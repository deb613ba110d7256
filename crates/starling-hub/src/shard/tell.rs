//! What the observer and the application are told afterwards. Nothing is made or counted where there is neither.

use std::time::Duration;

use starling_core::{Caller, Happening, Publish, UserId};

use super::*;

/// A client's message on its way to the engine, for the observer.
pub(super) type Told = Option<Box<(Caller, Publish)>>;

impl<T> Shard<T> {
    /// A connection was let in; the first time counts.
    pub(super) fn tell_connected(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot.index as usize) else { return };
        if connection.announced != Announced::NotYet {
            return;
        }
        connection.announced = Announced::Told;
        if let Some(observer) = self.hub.observer() {
            observer.observe(Happening::Connected(&connection.identity.caller()));
        }
    }

    /// A connection is gone, after it left its channels.
    pub(super) fn tell_disconnected(&self, connection: &Connection<T>, reason: CloseReason, unix_ms: u64) {
        if connection.announced == Announced::Told
            && let Some(observer) = self.hub.observer()
        {
            let identity = &connection.identity;
            let lasted = Duration::from_millis(unix_ms.saturating_sub(identity.connected_at));
            observer.observe(Happening::Disconnected { caller: &identity.caller(), reason, lasted });
        }
    }

    /// A connection is a confirmed member of a channel.
    pub(super) fn tell_joined(&self, key: &ChannelKey) {
        if let Some(observer) = self.hub.observer() {
            self.hub.tally().joined(key, &**observer);
        }
    }

    /// A confirmed member is a member no longer.
    pub(super) fn tell_left(&self, connection: u32, key: &ChannelKey) {
        if let Some(observer) = self.hub.observer() {
            self.hub.tally().left(key, &**observer);
        }
        if let Some(application) = self.hub.application() {
            let caller = self.connections[connection as usize].identity.caller();
            application.left(&caller, &key.channel);
        }
    }

    /// Somebody wanted the newest of a channel that keeps messages, and there was none.
    pub(super) fn tell_cache_missed(&self, key: &ChannelKey) {
        if let Some(observer) = self.hub.observer() {
            observer.observe(Happening::CacheMissed(&key.app, &key.channel));
        }
    }

    /// What the observer is told of a message once the engine took it.
    pub(super) fn to_tell(&self, identity: &Identity, user: Option<&UserId>, publish: &Publish) -> Told {
        let caller = || Caller { user: user.cloned(), ..identity.caller() };
        self.hub.observer().is_some().then(|| Box::new((caller(), publish.clone())))
    }
}

/// The engine took a client's message.
pub(super) fn tell_published(hub: &Hub, told: Told) {
    if let (Some(observer), Some(told)) = (hub.observer(), told) {
        observer.observe(Happening::ClientPublished(&told.0, &told.1));
    }
}

/// A shard that is given up, because its worker panicked beyond repair, still says good-bye for its connections.
impl<T> Drop for Shard<T> {
    fn drop(&mut self) {
        let Some(observer) = self.hub.observer() else { return };
        for (_, connection) in &self.connections {
            for subscription in &connection.subscriptions {
                let is_counted = subscription.place != Place::Joining && !subscription.implicit;
                if let Some(channel) = self.channels.get(subscription.channel as usize).filter(|_| is_counted) {
                    self.hub.tally().left(&channel.key, &**observer);
                }
            }
            self.tell_disconnected(connection, CloseReason::Internal, connection.identity.connected_at);
        }
    }
}
