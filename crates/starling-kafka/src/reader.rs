//! Reading: one thread reads all partitions of all topics, and hands each record to the part that it concerns.

mod place;
mod start;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use starling_core::EngineError;
use tokio::sync::{Notify, oneshot};

use crate::client::{Consumer, unavailable};
use crate::names::{Place, Topic};
use crate::options::KafkaOptions;
use crate::shared::{Record, Shared};
use crate::wire::{Act, Foreign, Stamp, Wire};
use crate::writer::HEADER;

pub(crate) use start::run;

/// Records that are handled before those who wait for one are woken.
const BATCH: usize = 512;

/// How long nothing may come of a partition that should have more, before it is asked for with a record of our own.
const SILENCE: Duration = Duration::from_millis(300);

/// How far this node has read.
pub(crate) struct Reader {
    places: HashMap<Place, Progress>,
    /// Some records were read.
    moved: Notify,
    ends: Mutex<HashMap<Place, Asking>>,
    consumer: Mutex<Weak<Consumer>>,
}

#[derive(Default)]
struct Progress {
    /// The record that is read next.
    next: AtomicU64,
    /// The last record: where it is, when it was appended, and a number made of its stamp.
    last: Mutex<Option<(u64, u64, u64)>>,
}

/// Who wants to know where a partition ends: one question is under way at a time, for all who asked before it.
#[derive(Default)]
struct Asking {
    is_under_way: bool,
    waiting: Vec<oneshot::Sender<Result<u64, EngineError>>>,
}

impl Reader {
    pub fn new(options: &KafkaOptions) -> Self {
        let places = Topic::ALL.into_iter().flat_map(|topic| {
            (0..topic.partitions(options)).map(move |partition| (Place { topic, partition }, Progress::default()))
        });
        Self {
            places: places.collect(),
            moved: Notify::new(),
            ends: Mutex::default(),
            consumer: Mutex::new(Weak::new()),
        }
    }

    fn next(&self, place: Place) -> u64 {
        self.places.get(&place).map_or(0, |progress| progress.next.load(Ordering::Acquire))
    }
}

/// Whether the library has lost its place in some partition.
fn is_misplaced(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::NoOffset
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::FencedLeaderEpoch
        )
    )
}

/// The stamp of a record, if it is one of ours.
fn stamp_of(message: &BorrowedMessage<'_>) -> Result<Stamp, Foreign> {
    let header = message.headers().and_then(|headers| headers.try_get(0)).filter(|header| header.key == HEADER);
    let stamp = header.and_then(|header| header.value).ok_or(Foreign)?;
    Stamp::decode(&Bytes::copy_from_slice(stamp))
}

impl Shared {
    /// Handles what has come, for at most `patience`.
    fn read_batch(self: &Arc<Self>, consumer: &Consumer, patience: Duration) {
        let mut batch = Vec::new();
        let mut next = consumer.poll(patience);
        while let Some(result) = next {
            match result {
                Ok(message) => batch.push(message),
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) if is_misplaced(&error) => {
                    tracing::warn!(%error, "Kafka: the place in a topic is lost");
                    self.signals.misplaced.store(true, Ordering::Release);
                }
                Err(error) => tracing::debug!(%error, "Kafka: reading"),
            }
            next = if batch.len() < BATCH { consumer.poll(Duration::ZERO) } else { None };
        }
        if batch.is_empty() {
            return;
        }
        // What has a place in a log comes before what was passed on behind it.
        batch.sort_by_key(|message| message.topic() == self.writer.topic(Topic::Live));
        for message in &batch {
            self.read(message);
        }
        self.reader.moved.notify_waiters();
    }

    fn read(self: &Arc<Self>, message: &BorrowedMessage<'_>) {
        let Some(place) = self.place_of(message) else { return };
        let Some(progress) = self.reader.places.get(&place) else { return };
        let at = message.offset() as u64;
        let time = message.timestamp().to_millis().map_or(0, |time| time as u64);
        let stamp = stamp_of(message);
        let number = stamp.as_ref().map_or(0, place::fingerprint);
        {
            let mut last = progress.last.lock();
            if at < progress.next.load(Ordering::Acquire) {
                // Read before. After the connection was lost the last record is read again: it must be the same.
                if last.is_some_and(|(known, then, was)| known == at && (then, was) != (time, number)) {
                    tracing::error!(%place, "Kafka: a topic holds other records than it did");
                    self.reader.forget(place);
                    *last = None;
                    self.signals.misplaced.store(true, Ordering::Release);
                }
                return;
            }
            *last = Some((at, time, number));
        }
        let key = message.key().unwrap_or_default();
        let is_read = stamp.and_then(|stamp| {
            let value = message.payload().map(Bytes::copy_from_slice);
            self.receive(Record { place, at, time, key, stamp, value })
        });
        if is_read.is_err() {
            self.skip(place, at);
        }
        progress.next.store(at + 1, Ordering::Release);
    }

    fn skip(&self, place: Place, at: u64) {
        tracing::error!(
            topic = self.writer.topic(place.topic),
            partition = place.partition,
            offset = at,
            "Kafka: a record that Starling did not write is left out"
        );
        if place.topic == Topic::Log {
            self.logs[place.partition as usize].lock().next = at + 1;
        }
    }

    fn place_of(&self, message: &BorrowedMessage<'_>) -> Option<Place> {
        let topic = Topic::ALL.into_iter().find(|topic| self.writer.topic(*topic) == message.topic())?;
        Some(Place { topic, partition: message.partition() })
    }

    /// Whether the thread has begun.
    pub fn is_reading(&self) -> bool {
        self.reader.consumer.lock().strong_count() > 0
    }

    /// Waits until this node has read everything that was stored before the call.
    pub async fn catch_up(self: &Arc<Self>, place: Place) -> Result<(), EngineError> {
        let end = self.end_of(place).await?;
        self.reach(place, end).await;
        Ok(())
    }

    /// Waits until the record before `end` was read.
    pub async fn reach(&self, place: Place, end: u64) {
        let (mut last, mut is_nudged) = (self.reader.next(place), false);
        loop {
            let moved = self.reader.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let next = self.reader.next(place);
            if next >= end || self.is_stopping() {
                return;
            }
            if tokio::time::timeout(SILENCE, moved).await.is_err() && next == last && !is_nudged {
                // Kafka has removed the last records: nothing would ever come.
                is_nudged = self.writer.write(place, b"nudge", Act::Nudge {}, None).is_ok();
            }
            last = next;
        }
    }

    /// Where a partition ends now, as its leader says.
    async fn end_of(self: &Arc<Self>, place: Place) -> Result<u64, EngineError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut ends = self.reader.ends.lock();
            let asking = ends.entry(place).or_default();
            asking.waiting.push(sender);
            if !std::mem::replace(&mut asking.is_under_way, true) {
                let shared = self.clone();
                self.runtime.spawn_blocking(move || shared.ask_for_ends(place));
            }
        }
        receiver.await.unwrap_or_else(|_| Err(unavailable("the engine is gone")))
    }

    fn ask_for_ends(&self, place: Place) {
        loop {
            let waiting = {
                let mut ends = self.reader.ends.lock();
                let asking = ends.entry(place).or_default();
                if asking.waiting.is_empty() {
                    asking.is_under_way = false;
                    return;
                }
                std::mem::take(&mut asking.waiting)
            };
            let consumer = self.reader.consumer.lock().upgrade();
            let end = consumer.ok_or_else(|| unavailable("the engine is gone")).and_then(|consumer| {
                let topic = self.writer.topic(place.topic);
                consumer.fetch_watermarks(topic, place.partition, self.options.timeout).map_err(unavailable)
            });
            for sender in waiting {
                let _ = sender.send(end.clone().map(|(_, high)| high as u64));
            }
        }
    }
}
