//! One node in one app, and what the tests do with it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_core::{
    AppId, ChannelName, ConnectionId, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, Message,
    MessageId, Payload, Position, PresenceChange, PresenceEntry, Publication, Published, RawJson, UserId,
};
use starling_kafka::{KafkaEngine, KafkaOptions};
use starling_testkit::{RecordingSink, Seen, block_on};
use tokio::runtime::Runtime;

pub const POLICY: HistoryPolicy = HistoryPolicy { size: 1000, ttl: Duration::from_secs(3600) };
pub const ALL: HistoryRange = HistoryRange { limit: 1000, before: None, after: None };
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Node {
    pub engine: Arc<KafkaEngine>,
    pub sink: Arc<RecordingSink>,
    pub runtime: Runtime,
}

impl Node {
    /// A node that has found its broker, however long that takes.
    pub fn new(options: KafkaOptions) -> Self {
        let node = Self::without_broker(options);
        until("the broker is found", || node.engine.is_up());
        node
    }

    /// A node whose broker is not there yet.
    pub fn without_broker(options: KafkaOptions) -> Self {
        let (engine, runtime) = super::node(options);
        let sink = RecordingSink::new();
        engine.attach(sink.clone());
        Self { engine, sink, runtime }
    }

    pub fn want(&self, name: &str) {
        wait(self.engine.interest(&app(), &channel(name), true).wait()).expect("wanted");
    }

    pub fn try_publish(&self, name: &str, id: &str, history: Option<HistoryPolicy>) -> Result<Published, EngineError> {
        let publication = Publication { message: message(name, id), history, deduplicate: false };
        wait(self.engine.publish(publication).wait())
    }

    pub fn publish(&self, name: &str, id: &str) -> Position {
        self.try_publish(name, id, Some(POLICY)).expect("published").position.expect("a position")
    }

    pub fn page(&self, name: &str) -> HistoryPage {
        wait(self.engine.history(&app(), &channel(name), POLICY, ALL, now()).wait()).expect("read")
    }

    pub fn enter(&self, name: &str, connection: &str) {
        let change = PresenceChange::Enter(entry(connection));
        wait(self.engine.presence(&app(), &channel(name), change).wait()).expect("entered");
    }

    pub fn present(&self, name: &str) -> Vec<String> {
        let snapshot = wait(self.engine.members(&app(), &channel(name)).wait());
        let names = |entry: &PresenceEntry| entry.connection.to_string();
        snapshot.map_or_else(|_| Vec::new(), |snapshot| snapshot.members.iter().map(names).collect())
    }

    pub fn heard(&self, name: &str, count: usize) -> Vec<String> {
        let messages = wait(self.sink.wait_for_messages(name, count));
        messages.iter().map(|message| message.id.to_string()).collect()
    }

    pub fn resyncs(&self) -> usize {
        self.sink.seen().iter().filter(|seen| **seen == Seen::Resync).count()
    }
}

pub fn app() -> AppId {
    AppId::from("1")
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn message(name: &str, id: &str) -> Message {
    Message {
        app: app(),
        channel: channel(name),
        id: MessageId::from(id),
        event: "message".into(),
        payload: Payload::Json(RawJson::of(id).unwrap()),
        user: None,
        ts: now(),
        position: None,
        key: None,
        exclude: None,
    }
}

fn entry(connection: &str) -> PresenceEntry {
    PresenceEntry {
        user: Some(UserId::from(connection)),
        connection: ConnectionId::from(connection),
        data: RawJson::empty_object(),
        revision: 0,
    }
}

pub fn ids(page: &HistoryPage) -> Vec<&str> {
    page.messages.iter().map(|message| message.id.as_str()).collect()
}

pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    block_on(future)
}
