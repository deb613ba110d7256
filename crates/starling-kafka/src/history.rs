//! Logs, as the hub sees them: records become messages, pages are read, logs are cleared.
//!
//! Where each message of a log is in Kafka is known to every node; the newest messages of all logs are in memory too, up
//! to `cache` bytes. Others are read from Kafka again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use starling_core::{Control, EngineError, HistoryPage, HistoryPolicy, HistoryRange, Message, Position};

use crate::client::{self, Consumer, unavailable};
use crate::logs::{Head, Meaning, Partition};
use crate::names::{Key, Place, Topic};
use crate::shared::{Received, Record, Shared};
use crate::wire::{Act, Foreign, Wire};
use crate::writer::Outcome;

/// Other channels' records that are read over rather than sought past.
const READ_OVER: u64 = 2000;

/// Milliseconds for which a log that is forgotten is still known: the clocks of broker and nodes differ.
const FORGET_LATER: u64 = 600_000;

/// Which messages are in memory, the oldest first.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    bytes: usize,
    messages: VecDeque<(Place, Key, u64, usize)>,
}

impl Cache {
    /// Notes a message of so many bytes, and returns those that must go for it.
    fn add(&self, place: Place, key: Key, at: u64, bytes: usize, limit: usize) -> Vec<(Place, Key, u64)> {
        let mut cached = self.0.lock();
        cached.bytes += bytes;
        cached.messages.push_back((place, key, at, bytes));
        let mut gone = Vec::new();
        while cached.bytes > limit
            && let Some((place, key, at, bytes)) = cached.messages.pop_front()
        {
            cached.bytes -= bytes;
            gone.push((place, key, at));
        }
        gone
    }
}

/// A message of a page, in memory or in Kafka.
struct Found {
    at: u64,
    offset: u64,
    message: Option<Arc<Message>>,
}

impl Shared {
    pub fn receive_log(&self, record: Record<'_>) -> Received {
        let partition = &self.logs[record.place.partition as usize];
        if matches!(record.stamp.act, Act::Nudge {}) {
            partition.lock().next = record.at + 1;
            return Ok(Outcome::Done);
        }
        let parsed = Key::parse(record.key).ok_or(Foreign).and_then(|(key, _)| {
            let message = match record.stamp.act {
                Act::Publish { .. } => Some(Message::decode(record.value.as_ref().ok_or(Foreign)?)?),
                _ => None,
            };
            Ok((key, message))
        });
        let (key, message) = parsed.inspect_err(|_| partition.lock().next = record.at + 1)?;
        let meaning = partition.lock().read(record.at, record.time, &key, &record.stamp, message);
        let sink = self.sink.get().filter(|_| self.interest.hears(&key));
        match meaning {
            Meaning::Message(message) => {
                let bytes = message.payload.len() + 256;
                for (place, key, at) in self.cache.add(record.place, key, record.at, bytes, self.options.cache) {
                    self.logs[place.partition as usize].lock().uncache(&key, at);
                }
                let position = message.position.clone();
                if let Some(sink) = sink {
                    sink.message(message);
                }
                Ok(Outcome::Taken(position))
            }
            Meaning::Repeated(position) => Ok(Outcome::Taken(position)),
            Meaning::Head(position) => Ok(Outcome::Taken(Some(position))),
            Meaning::Cleared(position) => {
                if let Some(sink) = sink {
                    let head = position.clone();
                    sink.control(&key.app, Control::HistoryCleared { channel: key.channel, head });
                }
                Ok(Outcome::Taken(Some(position)))
            }
            Meaning::Restarted | Meaning::Unknown => Ok(Outcome::Done),
        }
    }

    pub async fn read_history(
        self: &Arc<Self>,
        key: &Key,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Result<HistoryPage, EngineError> {
        let place = self.place(Topic::Log, key);
        self.catch_up(place).await?;
        let partition = &self.logs[place.partition as usize];
        let forget = self.options.forget().as_millis() as u64;
        loop {
            let (found, seen) = {
                let partition = partition.lock();
                (page_of(&partition, key, policy, range, now, forget), partition.seen(key))
            };
            if let Some((page, found)) = found {
                return self.complete(place, key, page, found).await;
            }
            self.writer.done(place, key.text().as_bytes(), Act::Begin { forget, seen }, None).await?;
        }
    }

    /// Reads from Kafka what is not in memory.
    async fn complete(
        &self,
        place: Place,
        key: &Key,
        mut page: HistoryPage,
        found: Vec<Found>,
    ) -> Result<HistoryPage, EngineError> {
        let missing: Vec<(u64, u64)> =
            found.iter().filter(|one| one.message.is_none()).map(|one| (one.at, one.offset)).collect();
        if missing.is_empty() {
            page.messages = found.into_iter().filter_map(|one| one.message).collect();
            return Ok(page);
        }
        let read = self.read_cold(place, key, &page.head, missing).await?;
        let mut read = read.into_iter().peekable();
        for one in found {
            let message = one.message.or_else(|| {
                let is_it = |m: &Arc<Message>| m.position.as_ref().is_some_and(|p| p.offset == one.offset);
                read.next_if(is_it)
            });
            match message {
                Some(message) => page.messages.push(message),
                // Kafka has deleted it, and all before it.
                None => {
                    page.messages.clear();
                    page.oldest = page.oldest.max(one.offset + 1);
                }
            }
        }
        Ok(page)
    }

    async fn read_cold(
        &self,
        place: Place,
        key: &Key,
        head: &Position,
        wanted: Vec<(u64, u64)>,
    ) -> Result<Vec<Arc<Message>>, EngineError> {
        let (topic, options) = (self.writer.topic(place.topic).to_owned(), self.options.clone());
        let (context, epoch) = (self.writer.context(), head.epoch.clone());
        let kept = self.cold.lock().take();
        let text = key.text();
        let task = self.runtime.spawn_blocking(move || {
            let consumer = match kept {
                Some(consumer) => consumer,
                None => client::consumer(&options, context).map_err(unavailable)?,
            };
            let deadline = Instant::now() + options.timeout;
            let mut read = Vec::new();
            let mut rest = &wanted[..];
            while let Some((first, _)) = rest.first() {
                let far = rest.windows(2).position(|pair| pair[1].0 - pair[0].0 > READ_OVER);
                let (near, others) = rest.split_at(far.map_or(rest.len(), |at| at + 1));
                rest = others;
                let last = near.last().map_or(*first, |(at, _)| *at);
                assign(&consumer, &topic, place.partition, *first)?;
                let mut near = near.iter().peekable();
                while near.peek().is_some() {
                    if Instant::now() >= deadline {
                        return Err(unavailable("Kafka did not give the log in time"));
                    }
                    let record = match consumer.poll(Duration::from_millis(100)) {
                        None => continue,
                        Some(Err(error)) => {
                            // Deleted meanwhile: what is left of the page is newer.
                            tracing::debug!(%error, "Kafka: reading a log");
                            break;
                        }
                        Some(Ok(record)) => record,
                    };
                    let at = record.offset() as u64;
                    while near.next_if(|(wanted, _)| *wanted < at).is_some() {}
                    if let Some((_, offset)) = near.next_if(|(wanted, _)| *wanted == at)
                        && record.key() == Some(text.as_bytes())
                        && let Ok(mut message) =
                            Message::decode(&bytes::Bytes::copy_from_slice(record.payload().unwrap_or_default()))
                    {
                        message.position = Some(Position { epoch: epoch.clone(), offset: *offset });
                        read.push(Arc::new(message));
                    }
                    if at >= last {
                        break;
                    }
                }
            }
            let _ = consumer.unassign();
            Ok((consumer, read))
        });
        let (consumer, read) = task.await.map_err(|_| unavailable("the engine is gone"))??;
        *self.cold.lock() = Some(consumer);
        Ok(read)
    }

    /// Begins the log anew.
    pub async fn clear(&self, key: &Key) -> Result<Position, EngineError> {
        let place = self.place(Topic::Log, key);
        match self.writer.done(place, key.text().as_bytes(), Act::Clear {}, None).await? {
            Outcome::Taken(Some(position)) => Ok(position),
            other => Err(unavailable(format_args!("a log without a head: {other:?}"))),
        }
    }

    /// Forgets what is over in one partition, another one each time.
    pub fn sweep_logs(&self, turn: usize, now: u64) {
        let partition = turn % self.logs.len();
        let forget = self.options.forget().as_millis() as u64;
        self.logs[partition].lock().sweep(now, forget.saturating_add(FORGET_LATER));
        self.live[partition].lock().sweep(now);
    }
}

fn assign(consumer: &Consumer, topic: &str, partition: i32, at: u64) -> Result<(), EngineError> {
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, partition, Offset::Offset(at as i64)).map_err(unavailable)?;
    consumer.assign(&places).map_err(unavailable)
}

/// The page, but its messages, and where those are; `None` where there is no log.
fn page_of(
    partition: &Partition,
    key: &Key,
    policy: HistoryPolicy,
    range: HistoryRange,
    now: u64,
    forget: u64,
) -> Option<(HistoryPage, Vec<Found>)> {
    let log = partition.log(key)?;
    let head: &Head = log.head.as_ref()?;
    if head.is_forgotten(crate::shared::now(), forget) {
        return None;
    }
    let ttl = policy.ttl.as_millis() as u64;
    let first = log.first_offset();
    // Messages that are too old, from the front; and all but the newest `size`.
    let old = log.index.iter().take_while(|entry| entry.ts.saturating_add(ttl) <= now).count();
    let skipped = old.max(log.index.len().saturating_sub(policy.size));
    let oldest = first + skipped as u64;
    let end = head.offset + 1;
    let from = range.after.map_or(oldest, |after| after.saturating_add(1).max(oldest)).min(end);
    let to = range.before.map_or(end, |before| before.min(end)).max(from);
    let count = (to - from).min(range.limit as u64);
    let (from, to) = if range.after.is_some() { (from, from + count) } else { (to - count, to) };
    let found = (from..to).map(|offset| {
        let entry = &log.index[(offset - first) as usize];
        Found { at: entry.at, offset, message: entry.message.clone() }
    });
    let page = HistoryPage { messages: Vec::new(), head: head.position(), oldest };
    Some((page, found.collect()))
}
