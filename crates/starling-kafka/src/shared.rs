//! What all parts of one node's engine share.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use starling_core::{EngineError, NodeId, Sink};

use crate::client::{Consumer, Signals, unavailable};
use crate::history::Cache;
use crate::interest::Interest;
use crate::lease::Leases;
use crate::live::Live;
use crate::logs::Partition;
use crate::names::{Key, Place, Topic};
use crate::nodes::Nodes;
use crate::notes::Notes;
use crate::options::{ConnectError, KafkaOptions};
use crate::presence::Presence;
use crate::reader::Reader;
use crate::wire::{Foreign, Stamp};
use crate::writer::{Outcome, Writer};

/// One node's engine. Each part guards its own state; none is locked while something is awaited or delivered.
pub(crate) struct Shared {
    pub node: NodeId,
    pub options: KafkaOptions,
    pub runtime: tokio::runtime::Handle,
    pub sink: OnceLock<Arc<dyn Sink>>,
    pub signals: Arc<Signals>,
    pub stopping: AtomicBool,
    pub writer: Writer,
    pub reader: Reader,
    pub interest: Interest,
    /// By partition.
    pub logs: Vec<Mutex<Partition>>,
    pub cache: Cache,
    /// By partition.
    pub live: Vec<Mutex<Live>>,
    pub presence: Presence,
    pub notes: Notes,
    pub nodes: Nodes,
    pub leases: Leases,
    /// Reads what is no longer in memory.
    pub cold: Mutex<Option<Consumer>>,
}

/// One record of ours, as it was read.
pub(crate) struct Record<'a> {
    pub place: Place,
    /// Its offset in the partition.
    pub at: u64,
    /// When the broker appended it, in Unix milliseconds.
    pub time: u64,
    pub key: &'a [u8],
    pub stamp: Stamp,
    pub value: Option<Bytes>,
}

impl Shared {
    pub fn new(options: KafkaOptions, node: NodeId) -> Result<Arc<Self>, ConnectError> {
        let signals = Arc::<Signals>::default();
        let writer = Writer::new(&options, &node, &signals)?;
        Ok(Arc::new(Self {
            writer,
            reader: Reader::new(&options),
            runtime: tokio::runtime::Handle::current(),
            sink: OnceLock::new(),
            signals,
            stopping: AtomicBool::new(false),
            interest: Interest::default(),
            logs: (0..options.partitions).map(|_| Mutex::default()).collect(),
            cache: Cache::default(),
            live: (0..options.partitions).map(|_| Mutex::default()).collect(),
            presence: Presence::new(&options),
            notes: Notes::default(),
            nodes: Nodes::default(),
            leases: Leases::default(),
            cold: Mutex::new(None),
            node,
            options,
        }))
    }

    pub fn place(&self, topic: Topic, key: &Key) -> Place {
        Place { topic, partition: key.partition(self.options.partitions) }
    }

    /// Refuses at once what would only wait in the client's queue.
    pub fn ready(&self) -> Result<(), EngineError> {
        if self.signals.is_up() { Ok(()) } else { Err(unavailable("Kafka cannot be reached")) }
    }

    /// Gives `operation` the time that an operation may take.
    pub async fn within<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.ready()?;
        match tokio::time::timeout(self.options.timeout, operation).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(format_args!("Kafka did not answer in time: {what}"))),
        }
    }

    /// Does what a record says. Called for each record, in the order of its partition.
    pub fn receive(self: &Arc<Self>, record: Record<'_>) -> Result<(), Foreign> {
        let (by, seq) = (record.stamp.by.clone(), record.stamp.seq);
        let outcome = match record.place.topic {
            Topic::Log => self.receive_log(record),
            Topic::Live => self.receive_live(record),
            Topic::Presence => self.receive_presence(record),
            Topic::Notes => self.receive_note(record),
            Topic::Nodes => self.receive_from_node(record),
        };
        let is_read = outcome.as_ref().map(drop).map_err(|foreign| *foreign);
        if by == self.node {
            self.writer.waiters().answer(seq, outcome.map_err(unavailable));
        }
        is_read
    }

    /// Tells the others that this node has ended, if that takes no time.
    pub fn say_goodbye(&self) {
        if self.signals.is_up() {
            self.writer.say_goodbye();
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// What [`Shared::receive`] makes of a record; what cannot be read is named.
pub(crate) type Received = Result<Outcome, Foreign>;

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
