//! Publishing many messages: they are handed to the engine in their order, and their answers waited for together, so
//! that a broker is asked once for many and not once for each.

use starling_core::{AppId, ConnectionId, Pending, Publish, Published, Refusal};
use starling_hub::Hub;

use crate::shared::unix_ms;

/// Messages that are on their way to the engine at a time, and the bytes of their payloads. When one of them is not
/// taken, none of the next is begun.
const FLIGHT: usize = 256;
const FLIGHT_BYTES: usize = 1 << 20;

/// Publishes messages of the server side in their order, as [`Hub::publish`] does.
///
/// # Errors
/// When the engine did not take all of them: the first refusal, which says how many were taken, and which were not.
///
/// Not cancel-safe: those that were handed over are published, whoever waits.
pub(crate) async fn publish_all(
    hub: &Hub,
    app: &AppId,
    messages: Vec<(Publish, Option<ConnectionId>)>,
) -> Result<Vec<Published>, Refusal> {
    let mut published = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter();
    let mut flight = Vec::new();
    loop {
        let mut bytes = 0;
        while flight.len() < FLIGHT && bytes < FLIGHT_BYTES {
            let Some((publish, exclude)) = messages.next() else { break };
            bytes += publish.payload.len();
            flight.push(hub.publish(app, publish, exclude, unix_ms()));
        }
        if flight.is_empty() {
            return Ok(published);
        }
        let begin = published.len();
        let (mut refusal, mut missing) = (None, Vec::new());
        for (place, pending) in flight.drain(..).enumerate() {
            match Pending::wait(pending).await {
                Ok(one) => published.push(one),
                Err(error) => {
                    refusal.get_or_insert(error);
                    missing.push(begin + place);
                }
            }
        }
        if let Some(refusal) = refusal {
            let begun = published.len() + missing.len();
            missing.extend(begun..begun + messages.len());
            return Err(broken_off(refusal, published.len(), &missing));
        }
        // With the engine in memory nothing was waited for, and others of this thread have waited.
        tokio::task::yield_now().await;
    }
}

/// Says how far it came: the caller must know what was published, and what not.
fn broken_off(refusal: Refusal, published: usize, missing: &[usize]) -> Refusal {
    let total = published + missing.len();
    if total == 1 {
        return refusal;
    }
    let runs = missing.chunk_by(|one, next| one + 1 == *next).map(|run| match run {
        [one] => (one + 1).to_string(),
        run => format!("{} to {}", run[0] + 1, run[0] + run.len()),
    });
    let runs = runs.collect::<Vec<_>>().join(", ");
    let message = format!("{}; {published} of {total} were published, and not number {runs}", refusal.message);
    Refusal { message: message.into(), ..refusal }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use starling_core::{ChannelName, Pattern, Payload, RawJson, Rule, RuleSet};
    use starling_hub::{HubOptions, Settings};
    use starling_testkit::RemoteEngine;

    use super::*;

    fn hub() -> (Arc<Hub>, Arc<RemoteEngine>) {
        let engine = RemoteEngine::new();
        let rules = RuleSet::new([Rule::new(Pattern::parse("*").unwrap())]);
        let hub = Hub::new(HubOptions {
            settings: Settings { rules, ..Settings::default() },
            engine: engine.clone(),
            application: None,
            inboxes: Vec::new(),
            spawn: Box::new(|_| ()),
        });
        (hub, engine)
    }

    fn message(channel: usize) -> (Publish, Option<ConnectionId>) {
        let payload = Payload::Json(RawJson::from_valid("1"));
        (Publish::new(ChannelName::parse(&format!("c{channel:03}")).unwrap(), "message", payload), None)
    }

    /// Answers what is held until `work` is done.
    async fn done<T>(work: impl Future<Output = T>, engine: &RemoteEngine) -> T {
        let mut work = pin!(work);
        loop {
            if let Some(done) = work.as_mut().now_or_never() {
                return done;
            }
            engine.answer_all();
        }
    }

    #[tokio::test]
    async fn all_are_asked_for_before_the_first_is_answered() {
        let (hub, engine) = hub();
        let app = AppId::from("1");
        let mut work = pin!(publish_all(&hub, &app, (0..3).map(message).collect()));
        assert!(work.as_mut().now_or_never().is_none());
        assert_eq!(engine.held(), ["publish c000", "publish c001", "publish c002"]);
        assert_eq!(done(work, &engine).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn what_was_not_taken_is_named_and_nothing_more_is_begun() {
        let (hub, engine) = hub();
        let app = AppId::from("1");
        let mut work = pin!(publish_all(&hub, &app, (0..FLIGHT + 44).map(message).collect()));
        assert!(work.as_mut().now_or_never().is_none());
        assert_eq!(engine.held().len(), FLIGHT);
        for failing in ["publish c002", "publish c005", "publish c006"] {
            engine.fail(failing);
        }
        let refusal = done(work, &engine).await.unwrap_err();
        assert_eq!(refusal.code, "ENGINE_UNAVAILABLE");
        let told = refusal.message.ends_with("; 253 of 300 were published, and not number 3, 6 to 7, 257 to 300");
        assert!(told, "{}", refusal.message);
    }

    #[tokio::test]
    async fn one_message_is_refused_in_the_words_of_the_engine() {
        let (hub, engine) = hub();
        let app = AppId::from("1");
        engine.go_down();
        let refusal = done(publish_all(&hub, &app, vec![message(0)]), &engine).await.unwrap_err();
        assert!(!refusal.message.contains("published"), "{}", refusal.message);
    }
}
