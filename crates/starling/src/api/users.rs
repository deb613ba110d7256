//! Acting on all connections of a user, on every node.

use serde::Deserialize;
use starling_core::{ChannelName, Control, ErrorCode, Query, Refusal, Target};
use utoipa::ToSchema;

use crate::cluster;

use super::answer::{Answer, Failure, done};
use super::openapi::Refused;
use super::routes::Call;
use super::{census, draft, path};
use crate::shared::unix_ms;

/// 9999-12-31T23:59:59Z in Unix seconds. What is larger was meant as milliseconds.
const END_OF_TIME: u64 = 253_402_300_799;

/// Close a user's connections
///
/// With close code 4003. They may come back: see `revoke`.
#[utoipa::path(
    post, path = "/api/users/{user}/disconnect", tag = "users",
    params(("user" = String, Path, description = "The user's id: the `sub` of its tokens")),
    responses((status = 204, description = "They are being closed, if there are any"), Refused),
)]
pub(super) async fn disconnect_user(call: Call) -> Answer {
    let user = call.names.user()?;
    control(call, Control::Disconnect { target: Target::User(user) }).await
}

/// From when on tokens are good again.
#[derive(Deserialize, Default, ToSchema)]
#[schema(as = Revoke)]
pub(super) struct RevokeBody {
    /// Tokens issued before this are refused, in Unix seconds. Default: now.
    before: Option<u64>,
}

/// Revoke a user's tokens
///
/// Those issued (`iat`) before the moment, and those without `iat`, are refused from then on, and their connections are
/// closed with close code 4003. As `iat` is in whole seconds, without `before` a token issued in this very second is
/// refused as well: issue new ones from the next second on.
///
/// 503 `ENGINE_UNAVAILABLE`: not every node may know of it, now or when it starts. Ask again until the answer is 204;
/// asked twice, it is the same.
#[utoipa::path(
    post, path = "/api/users/{user}/revoke", tag = "users",
    params(("user" = String, Path, description = "The user's id: the `sub` of its tokens")),
    request_body = inline(Option<RevokeBody>),
    responses((status = 204, description = "They are refused"), Refused),
)]
pub(super) async fn revoke_user(call: Call) -> Answer {
    let user = call.names.user()?;
    let body = match call.body.trim_ascii() {
        b"" | b"null" => RevokeBody::default(),
        body => draft::parse(body)?,
    };
    let before = revoked_before(body.before, unix_ms())?;
    let (shared, app) = (call.shared.clone(), call.app.clone());
    let answer = control(call, Control::Revoke { user: user.clone(), before }).await?;
    cluster::note_revocation(&shared, &app, &user, before).await.map_err(|_| {
        let half =
            "the nodes that run refuse these tokens, but it could not be noted for nodes that start later: ask again";
        Refusal::new(ErrorCode::EngineUnavailable, half)
    })?;
    Ok(answer)
}

/// The moment before which tokens are refused, in Unix seconds, at `now` in Unix milliseconds.
fn revoked_before(given: Option<u64>, now: u64) -> Result<u64, Failure> {
    match given {
        // Rounded up: a token that was issued earlier in this second must not survive.
        None => Ok(now.div_ceil(1000)),
        Some(before) if before <= END_OF_TIME => Ok(before),
        Some(_) => Err(Failure::invalid("`before` is in Unix seconds, not milliseconds")),
    }
}

/// A channel to put a user into, or to take it out of.
#[derive(Deserialize, ToSchema)]
#[schema(as = UserChannel)]
pub(super) struct ChannelBody {
    #[schema(example = "room:1")]
    channel: String,
}

/// Subscribe a user's connections
///
/// All that are open now, whatever the rules say of `subscribe`; the channel needs a rule.
#[utoipa::path(
    post, path = "/api/users/{user}/subscribe", tag = "users",
    params(("user" = String, Path, description = "The user's id: the `sub` of its tokens")),
    request_body = ChannelBody,
    responses((status = 204, description = "They are being subscribed, if there are any"), Refused),
)]
pub(super) async fn subscribe_user(call: Call) -> Answer {
    let (user, channel) = (call.names.user()?, channel(&call)?);
    if call.shared.hub.rule(&call.app, &channel).is_none() {
        return Err(Refusal::new(ErrorCode::Forbidden, "no channel rule allows this channel").into());
    }
    control(call, Control::Subscribe { target: Target::User(user), channel }).await
}

/// Unsubscribe a user's connections
///
/// All that are open now. They are told, and may subscribe again if the rules let them.
#[utoipa::path(
    post, path = "/api/users/{user}/unsubscribe", tag = "users",
    params(("user" = String, Path, description = "The user's id: the `sub` of its tokens")),
    request_body = ChannelBody,
    responses((status = 204, description = "They are being unsubscribed, if they were subscribed"), Refused),
)]
pub(super) async fn unsubscribe_user(call: Call) -> Answer {
    let (user, channel) = (call.names.user()?, channel(&call)?);
    control(call, Control::Unsubscribe { target: Target::User(user), channel }).await
}

/// The channel that the body names. User channels belong to their users and can be neither given nor taken.
fn channel(call: &Call) -> Result<ChannelName, Failure> {
    let body: ChannelBody = draft::parse(&call.body)?;
    let channel = path::channel(&body.channel)?;
    match channel.user() {
        None => Ok(channel),
        Some(_) => Err(Refusal::new(ErrorCode::InvalidChannel, "user channels cannot be subscribed to").into()),
    }
}

async fn control(call: Call, control: Control) -> Answer {
    call.shared.hub.engine().control(&call.app, control).wait().await.map_err(Refusal::from)?;
    // Workers read in order: when they answer this, it has happened, and a message published next finds it so.
    census::ask(&call.shared, &call.app, &Query::Stats).await?;
    done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_present_second_are_revoked_too() {
        for (given, now, expected) in [
            (None, 5_000, Some(5)),
            (None, 5_001, Some(6)),
            (None, 5_999, Some(6)),
            (Some(0), 5_000, Some(0)),
            (Some(7), 5_000, Some(7)),
            (Some(END_OF_TIME), 5_000, Some(END_OF_TIME)),
            (Some(END_OF_TIME + 1), 5_000, None),
        ] {
            assert_eq!(revoked_before(given, now).ok(), expected, "{given:?} at {now}");
        }
    }
}
