//! Authentication as a message, its renewal, and what the application says of a newcomer.

use starling_core::{Admission, CloseReason, ErrorCode, Pending, Refusal, Reply, Tag};
use starling_hub::Slot;

use super::{State, Worker};
use crate::auth::{AuthWhen, Claims, TokenCode, TokenError};
use crate::worker::{Order, identified, renamed};

impl Worker {
    pub(super) fn authenticate(&mut self, slot: Slot, tag: Tag, token: Option<Box<str>>) {
        let Some(connection) = self.shard.get(slot) else { return };
        let awaits_auth = connection.endpoint.state == State::AwaitAuth;
        let Some(token) = token else {
            if awaits_auth && self.live.auth.anonymous {
                return self.ask_application(slot, tag, None);
            }
            if awaits_auth {
                let refusal = Refusal::new(ErrorCode::AuthRequired, "a token is required");
                return self.refuse_auth(slot, &tag, refusal, CloseReason::AuthRequired);
            }
            return self.acknowledge(slot, &tag);
        };
        // Under `upgrade` an anonymous connection stays what it is; users renew by message whatever the setting.
        if !awaits_auth && connection.identity.user.is_none() && self.live.auth.when == AuthWhen::Upgrade {
            let refusal = Refusal::new(ErrorCode::Forbidden, "authenticate on the upgrade");
            return self.answer(slot, &tag, Reply::Refused { refusal, channel: None });
        }
        match self.shared.auth.verify(&token, self.now.unix_ms) {
            Err(error) if error.wants_fresh_keys() => {
                self.set_verifying(slot, true);
                let (shared, handle) = (self.shared.clone(), self.handle.clone());
                let unix_ms = self.now.unix_ms;
                self.shared.runtime.spawn(async move {
                    let result = shared.auth.verify_fresh(&token, unix_ms).await.map(Box::new);
                    handle.order(Order::Verified { slot, tag, result });
                });
            }
            result => self.verified(slot, tag, result.map(Box::new)),
        }
    }

    /// While its credentials are looked at elsewhere, nothing else of a connection is.
    pub(super) fn set_verifying(&mut self, slot: Slot, verifying: bool) {
        if let Some(connection) = self.shard.get_mut(slot) {
            connection.endpoint.verifying = verifying;
        }
    }

    pub(super) fn verified(&mut self, slot: Slot, tag: Tag, result: Result<Box<Claims>, TokenError>) {
        let Some(connection) = self.shard.get(slot) else { return };
        let claims = match result {
            Ok(claims) => claims,
            Err(error) => {
                let (code, reason) = match error.code() {
                    TokenCode::Expired => (ErrorCode::TokenExpired, CloseReason::TokenExpired),
                    TokenCode::Invalid => (ErrorCode::TokenInvalid, CloseReason::Forbidden),
                };
                return self.refuse_auth(slot, &tag, Refusal::new(code, error.to_string()), reason);
            }
        };
        let identity = &connection.identity;
        match &identity.user {
            Some(user) if user.as_str() == &*claims.user && identity.app.as_str() == &*claims.app => {
                self.admit(slot, &tag, Some(&claims), Admission::default());
            }
            Some(_) => {
                let refusal = Refusal::new(ErrorCode::Forbidden, "a connection keeps its user");
                self.answer(slot, &tag, Reply::Refused { refusal, channel: None });
            }
            None => self.ask_application(slot, tag, Some(claims)),
        }
    }

    /// Asks whether a connection may come in, with these claims or without any.
    fn ask_application(&mut self, slot: Slot, tag: Tag, claims: Option<Box<Claims>>) {
        let Some(application) = self.shard.hub().application().cloned() else {
            return self.admit(slot, &tag, claims.as_deref(), Admission::default());
        };
        let Some(connection) = self.shard.get(slot) else { return };
        let caller = match &claims {
            Some(claims) => identified(&connection.identity, claims).caller(),
            None => connection.identity.caller(),
        };
        match application.connect(&caller) {
            Pending::Ready(result) => self.admitted(slot, &tag, claims.as_deref(), result.map(Box::new)),
            Pending::Later(future) => {
                self.set_verifying(slot, true);
                let handle = self.handle.clone();
                self.shared.runtime.spawn(async move {
                    let result = future.await.map(Box::new);
                    handle.order(Order::Admitted { slot, tag, claims, result });
                });
            }
        }
    }

    pub(super) fn admitted(
        &mut self,
        slot: Slot,
        tag: &Tag,
        claims: Option<&Claims>,
        result: Result<Box<Admission>, Refusal>,
    ) {
        match result {
            Ok(admission) => self.admit(slot, tag, claims, *admission),
            Err(refusal) => self.refuse_auth(slot, tag, refusal, CloseReason::Forbidden),
        }
    }

    fn admit(&mut self, slot: Slot, tag: &Tag, claims: Option<&Claims>, admission: Admission) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let mut identity = match claims {
            Some(claims) => identified(&connection.identity, claims),
            None => connection.identity.clone(),
        };
        let line = &mut connection.endpoint;
        line.expires_at = claims.and_then(|claims| claims.expires_at).unwrap_or(0);
        if line.state == State::AwaitAuth {
            line.state = State::Open;
        }
        if let Some((user, info)) = admission.user {
            identity = renamed(identity, user, info);
        }
        self.shard.admit(slot, identity, self.now);
        self.acknowledge(slot, tag);
        self.shard.apply(slot, admission.effects, self.now);
        self.reschedule(slot);
    }

    fn acknowledge(&mut self, slot: Slot, tag: &Tag) {
        let Some(connection) = self.shard.get(slot) else { return };
        let expires_at = connection.endpoint.expires_at;
        let reply = Reply::Authenticated {
            user: connection.identity.user.clone(),
            connection: connection.identity.connection.clone(),
            expires_at: (expires_at != 0).then_some(expires_at),
        };
        self.answer(slot, tag, reply);
    }

    /// A refusal ends a connection that nobody vouches for yet; others live on with what they have.
    fn refuse_auth(&mut self, slot: Slot, tag: &Tag, refusal: Refusal, reason: CloseReason) {
        self.answer(slot, tag, Reply::Refused { refusal, channel: None });
        if self.shard.get(slot).is_some_and(|connection| {
            connection.endpoint.state == State::AwaitAuth && !connection.endpoint.outlives_refusal()
        }) {
            self.close(slot, reason);
        }
    }
}
