//! Writing: every record has a waiter, which is answered when this node has read the record back, or when that cannot
//! be expected any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use starling_core::{EngineError, NodeId, Position};
use tokio::sync::oneshot;

use crate::client::{self, Context, Producer, Signals, unavailable};
use crate::names::{Place, Topic};
use crate::nodes::NODES;
use crate::options::{ConnectError, KafkaOptions};
use crate::wire::{Act, Stamp, Wire};

/// The header that every record of ours has.
pub(crate) const HEADER: &str = "starling";

/// Records that may be on their way, at most; past that they are refused.
const MAX_WAITING: usize = 50_000;

/// What a record did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// A message has its place in the log, or has none; if it is a repetition, that of the first.
    Taken(Option<Position>),
    /// Whether the claim was granted.
    Claimed(bool),
    /// The note that was taken, if it was there.
    Note(Option<Bytes>),
    /// What it was to do is done.
    Done,
}

pub(crate) type Answer = Result<Outcome, EngineError>;

/// Who waits for a record to come back, by its number.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<u64, (Instant, oneshot::Sender<Answer>)>>);

impl Waiters {
    fn add(&self, seq: u64) -> Result<oneshot::Receiver<Answer>, EngineError> {
        let mut waiting = self.0.lock();
        if waiting.len() >= MAX_WAITING {
            return Err(unavailable("too many records wait for Kafka"));
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(seq, (Instant::now(), sender));
        Ok(receiver)
    }

    pub fn answer(&self, seq: u64, answer: Answer) {
        let waiter = self.0.lock().remove(&seq);
        if let Some((_, sender)) = waiter {
            let _ = sender.send(answer);
        }
    }

    pub fn fail(&self, seq: u64, error: EngineError) {
        self.answer(seq, Err(error));
    }

    /// Gives up on what is older than `limit`; says whether there was any.
    pub fn give_up(&self, limit: Duration) -> bool {
        let late: Vec<_> = self.0.lock().extract_if(|_, (since, _)| since.elapsed() > limit).collect();
        let is_late = !late.is_empty();
        for (_, (_, sender)) in late {
            let _ = sender.send(Err(unavailable("Kafka did not answer in time")));
        }
        is_late
    }
}

/// This node's producer.
pub(crate) struct Writer {
    node: NodeId,
    options: KafkaOptions,
    context: Context,
    producer: RwLock<Arc<Producer>>,
    topics: HashMap<Topic, String>,
    next: AtomicU64,
}

impl Writer {
    pub fn new(options: &KafkaOptions, node: &NodeId, signals: &Arc<Signals>) -> Result<Self, ConnectError> {
        let context = Context { signals: signals.clone(), waiters: Arc::default() };
        let producer = client::producer(options, context.clone());
        let producer = producer.map_err(|error| ConnectError::Invalid(error.to_string()))?;
        Ok(Self {
            node: node.clone(),
            options: options.clone(),
            context,
            producer: RwLock::new(Arc::new(producer)),
            topics: Topic::ALL.into_iter().map(|topic| (topic, topic.name(&options.prefix))).collect(),
            next: AtomicU64::new(1),
        })
    }

    pub fn context(&self) -> Context {
        self.context.clone()
    }

    pub fn waiters(&self) -> &Waiters {
        &self.context.waiters
    }

    pub fn topic(&self, topic: Topic) -> &str {
        &self.topics[&topic]
    }

    /// Hands a record to the client. Records of one place are stored in the order of the calls.
    ///
    /// Returns its number, and what will be the answer.
    pub fn write(
        &self,
        place: Place,
        key: &[u8],
        act: Act,
        value: Option<&[u8]>,
    ) -> Result<(u64, oneshot::Receiver<Answer>), EngineError> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = self.context.waiters.add(seq)?;
        let stamp = Stamp { by: self.node.clone(), seq, act }.encode();
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header { key: HEADER, value: Some(&stamp[..]) });
        let mut record = BaseRecord::with_opaque_to(self.topic(place.topic), seq as usize);
        record = record.partition(place.partition).key(key).headers(headers);
        if let Some(value) = value {
            record = record.payload(value);
        }
        let producer = self.producer.read().clone();
        if let Err((error, _)) = producer.send(record) {
            let error = client::not_taken(&error);
            self.context.waiters.fail(seq, error.clone());
            return Err(error);
        }
        Ok((seq, answer))
    }

    /// Writes a record and waits until it has come back.
    pub async fn done(&self, place: Place, key: &[u8], act: Act, value: Option<&[u8]>) -> Answer {
        let (_, answer) = self.write(place, key, act, value)?;
        answer.await.unwrap_or_else(|_| Err(unavailable("the engine is gone")))
    }

    /// Writes the last record.
    pub fn say_goodbye(&self) {
        if self.write(NODES, b"bye", Act::Bye {}, None).is_ok() {
            let _ = self.producer.read().flush(Duration::from_millis(200));
        }
    }

    /// Makes the producer anew, where it has failed for good.
    pub fn mend(&self) {
        let Some((code, reason)) = self.producer.read().client().fatal_error() else { return };
        tracing::error!(%code, reason, "the Kafka producer failed and is made anew");
        match client::producer(&self.options, self.context.clone()) {
            Ok(producer) => *self.producer.write() = Arc::new(producer),
            Err(error) => tracing::error!(%error, "the Kafka producer is not made"),
        }
    }
}
