//! Messages of channels without history: passed on in the order in which Kafka stored them, and then forgotten.

use std::sync::Arc;

use hashbrown::HashMap;
use starling_core::{EngineError, HistoryPolicy, Message, Pending, Publication, Published};

use crate::client::unavailable;
use crate::names::{Key, Topic};
use crate::recent::Recent;
use crate::shared::{Received, Record, Shared};
use crate::wire::{Act, Foreign, Wire};
use crate::writer::Outcome;

/// The message ids of one partition's channels.
#[derive(Default)]
pub(crate) struct Live(HashMap<Key, Recent>);

impl Live {
    /// Whether this is the first message of its id; if its id matters at all.
    fn is_first(&mut self, key: &Key, message: &Message, time: u64, remember: Option<u64>) -> bool {
        let Some(window) = remember else { return true };
        let recent = self.0.entry(key.clone()).or_default();
        let is_first = recent.find(&message.id, time).is_none();
        if is_first {
            recent.remember(message.id.clone(), None, time.saturating_add(window));
        }
        is_first
    }

    pub fn sweep(&mut self, now: u64) {
        self.0.retain(|_, recent| {
            recent.expire(now);
            !recent.is_empty()
        });
    }
}

impl Shared {
    /// Writes a message. The order of calls is the order in the channel.
    pub fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        if let Err(error) = self.ready() {
            return Pending::Ready(Err(error));
        }
        let Publication { message, history, deduplicate } = publication;
        let key = Key::new(&message.app, &message.channel);
        let remember = deduplicate.then_some(self.options.window.as_millis() as u64);
        let (topic, act) = match history {
            Some(policy) => (Topic::Log, self.publish_act(&key, policy, remember)),
            None => (Topic::Live, Act::Pass { remember }),
        };
        let written = self.writer.write(self.place(topic, &key), key.text().as_bytes(), act, Some(&message.encode()));
        match written {
            Err(error) => Pending::Ready(Err(error)),
            Ok((_, answer)) => Pending::later(async move {
                match answer.await {
                    Ok(Ok(Outcome::Taken(position))) => Ok(Published { id: message.id, position }),
                    Ok(Ok(other)) => Err(unavailable(format_args!("a message without a place: {other:?}"))),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(unavailable("the engine is gone")),
                }
            }),
        }
    }

    fn publish_act(&self, key: &Key, policy: HistoryPolicy, remember: Option<u64>) -> Act {
        let partition = key.partition(self.options.partitions) as usize;
        Act::Publish {
            size: policy.size as u64,
            ttl: policy.ttl.as_millis() as u64,
            remember,
            forget: self.options.forget().as_millis() as u64,
            seen: self.logs[partition].lock().seen(key),
        }
    }

    pub fn receive_live(&self, record: Record<'_>) -> Received {
        let Act::Pass { remember } = record.stamp.act else { return Ok(Outcome::Done) };
        let (key, _) = Key::parse(record.key).ok_or(Foreign)?;
        let hears = self.interest.hears(&key);
        // Most records are for nobody here: those are not even read.
        if hears || remember.is_some() {
            let message = Message::decode(&record.value.ok_or(Foreign)?)?;
            let partition = record.place.partition as usize;
            let is_first = self.live[partition].lock().is_first(&key, &message, record.time, remember);
            if let (true, true, Some(sink)) = (hears, is_first, self.sink.get()) {
                sink.message(Arc::new(message));
            }
        }
        Ok(Outcome::Taken(None))
    }
}
