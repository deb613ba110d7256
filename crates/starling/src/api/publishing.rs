//! Publishing: one message, many, or to a user.
//!
//! Everything is checked before anything is published. Then messages are handed to the engine in their order.

use std::sync::Arc;

use serde::Serialize;
use starling_core::{AppId, ChannelName, ErrorCode, Refusal};
use utoipa::ToSchema;

use super::answer::{Answer, Failure, json};
use super::draft::{self, BatchBody, Draft, PublishBody};
use super::openapi::Refused;
use super::routes::Call;
use crate::flight::publish_all;
use crate::shared::Shared;

/// What was published.
#[derive(Serialize, ToSchema)]
struct Results {
    /// One for each message and channel, in the order of the request.
    results: Vec<PublishResult>,
}

/// One message in one channel.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PublishResult {
    #[schema(value_type = String)]
    channel: ChannelName,
    /// The message's id: the one that was given, or one that the server chose.
    message_id: String,
    /// Which log it is in, where the channel keeps history.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    /// Its place in the log, where the channel keeps history.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// Publish a message
///
/// To one channel or up to 100. The rules' `publish` does not bind the backend, but each channel needs a rule.
#[utoipa::path(
    post, path = "/api/publish", tag = "publish",
    request_body = PublishBody<'_>,
    responses((status = 200, description = "The engine took it", body = Results), Refused),
)]
pub(super) async fn publish(call: Call) -> Answer {
    let draft = Draft::parse(&call.body, max_payload(&call.shared))?;
    check_rules(&call.shared, &call.app, &draft)?;
    send(&call.shared, &call.app, vec![draft]).await
}

/// Publish up to 1000 messages
///
/// At most 10 MiB. All are checked before the first is published; they are published in their order.
#[utoipa::path(
    post, path = "/api/batch", tag = "publish",
    request_body = BatchBody<'_>,
    responses((status = 200, description = "The engine took all of them", body = Results), Refused),
)]
pub(super) async fn publish_batch(call: Call) -> Answer {
    let max_payload = max_payload(&call.shared);
    let batch: BatchBody<'_> = draft::parse(&call.body)?;
    let entries = batch.messages.0.iter().enumerate();
    let drafts = entries.map(|(index, entry)| {
        let draft = Draft::parse(entry.get().as_bytes(), max_payload).and_then(|draft| {
            check_rules(&call.shared, &call.app, &draft)?;
            Ok(draft)
        });
        draft.map_err(|failure| failure.reworded(|message| format!("`messages[{index}]`: {message}")))
    });
    let drafts = drafts.collect::<Result<Vec<_>, _>>()?;
    drop(batch);
    send(&call.shared, &call.app, drafts).await
}

/// Publish to every connection of a user
///
/// Wherever they are and whatever they are subscribed to. A user who is not there misses it.
#[utoipa::path(
    post, path = "/api/users/{user}/publish", tag = "users",
    params(("user" = String, Path, description = "The user's id: the `sub` of its tokens")),
    request_body(content = PublishBody<'_>, description = "Without `channel` and `channels`"),
    responses((status = 200, description = "The engine took it", body = Results), Refused),
)]
pub(super) async fn publish_to_user(call: Call) -> Answer {
    let channel = ChannelName::of_user(&call.names.user()?);
    let draft = Draft::parse_for(channel, &call.body, max_payload(&call.shared))?;
    send(&call.shared, &call.app, vec![draft]).await
}

fn max_payload(shared: &Shared) -> usize {
    shared.live.load().max_payload
}

/// A channel that no rule allows refuses the whole request.
fn check_rules(shared: &Shared, app: &AppId, draft: &Draft) -> Result<(), Failure> {
    let is_allowed = |channel: &ChannelName| channel.user().is_some() || shared.hub.rule(app, channel).is_some();
    match draft.channels.iter().find(|channel| !is_allowed(channel)) {
        None => Ok(()),
        Some(channel) => {
            Err(Refusal::new(ErrorCode::Forbidden, format!("no channel rule allows {:?}", channel.as_str())).into())
        }
    }
}

/// Publishes what was checked.
async fn send(shared: &Arc<Shared>, app: &AppId, drafts: Vec<Draft>) -> Answer {
    let mut channels = Vec::with_capacity(drafts.len());
    let mut messages = Vec::with_capacity(drafts.len());
    for mut draft in drafts {
        for channel in std::mem::take(&mut draft.channels) {
            messages.push((draft.publish(channel.clone()), draft.exclude.clone()));
            channels.push(channel);
        }
    }
    let published = publish_all(&shared.hub, app, messages).await?;
    let results = channels.into_iter().zip(published).map(|(channel, published)| {
        let (epoch, offset) = published.position.map(|at| (at.epoch.to_string(), at.offset)).unzip();
        PublishResult { channel, message_id: published.id.to_string(), epoch, offset }
    });
    json(&Results { results: results.collect() })
}
