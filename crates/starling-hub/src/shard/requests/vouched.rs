//! What protocols vouch for: who a client is, and that it may send.

use starling_core::{ErrorCode, RawJson, Refusal, Reply, Tag, UserId};

use super::*;
use crate::connection::Grants;

impl<T: Endpoint> Shard<T> {
    /// The protocol vouches for it, but only members send, and only so fast.
    pub(super) fn publish_as(&mut self, slot: Slot, tag: Tag, sending: Sending, per_second: u32, now: Now) {
        let Some(connection) = self.get(slot) else { return };
        let channel = &sending.publish.channel;
        let refusal = if !self.is_member(connection, channel) || !self.has_rule(slot, channel) {
            Some(Refusal::new(ErrorCode::NotSubscribed, "not a member of this channel"))
        } else {
            let connection = &mut self.connections[slot.index as usize];
            let is_in_time = connection.pace.take(now, per_second, per_second);
            (!is_in_time).then(|| Refusal::new(ErrorCode::RateLimited, "too many messages; slow down"))
        };
        match refusal {
            Some(refusal) => self.refuse(slot, &tag, refusal, Some(sending.publish.channel)),
            None => self.ask_to_publish(slot, tag, sending, Verdict::Allowed, now),
        }
    }

    /// The protocol vouches for the client's user.
    pub(super) fn identify(&mut self, slot: Slot, tag: &Tag, user: UserId, info: Option<RawJson>, now: Now) {
        let Some(connection) = self.get(slot) else { return };
        if connection.identity.user.as_ref().is_some_and(|known| *known != user) {
            let refusal = Refusal::new(ErrorCode::Forbidden, "a connection keeps its user");
            return self.refuse(slot, tag, refusal, None);
        }
        let grants = Grants { info, issued_at: Some(now.unix_ms), ..Grants::default() };
        let identity = Identity { user: Some(user), grants: Some(Box::new(grants)), ..connection.identity.anonymous() };
        self.admit(slot, identity, now);
        self.answer(slot, tag, Reply::Done);
    }
}
