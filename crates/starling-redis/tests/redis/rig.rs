//! Servers and engines for the tests.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use starling_core::{
    AppId, ChannelName, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, Message, MessageId, Payload,
    Publication, Published, RawJson,
};
use starling_redis::{ConnectError, RedisEngine, RedisOptions};
use starling_testkit::nodes_suite::Node;
use starling_testkit::{Broker, RecordingSink, Seen, block_on, is_installed, redis_server};
use tokio::runtime::{Builder, Runtime};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test, if there is a Redis to run it against.
pub fn run(test: impl Future<Output = ()>) {
    if is_installed("redis-server") {
        block_on(test);
    }
}

/// A server with its address.
pub struct Server(pub Broker);

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        Self(redis_server(arguments))
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Runs a command by `redis-cli`, and returns what it prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port().to_string()]).args(arguments);
        let output = command.output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Deref for Server {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Broker {
        &mut self.0
    }
}

/// One server for all tests that do it no harm.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// Short times, so that tests need not wait long.
pub fn options(url: String) -> RedisOptions {
    let mut options = RedisOptions::new(url);
    options.lease = Duration::from_millis(900);
    options.unsubscribe_lag = Duration::from_millis(200);
    options
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// How often the server was sent a command.
pub fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// An engine on a runtime of all tests.
pub fn engine_on(url: String) -> Arc<dyn Engine> {
    connect(options(url)).expect("it can work")
}

pub fn connect(options: RedisOptions) -> Result<Arc<RedisEngine>, ConnectError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(runtime).block_on(RedisEngine::connect(options))
}

/// A node that can be killed: on a runtime of its own, which ends in the middle of everything.
pub fn node_on(url: String) -> Node {
    let runtime = runtime();
    let engine: Arc<dyn Engine> = runtime.block_on(RedisEngine::connect(options(url))).expect("it can work");
    Node { engine, kill: Box::new(move || runtime.shutdown_background()) }
}

/// One node with a sink, and a channel that nobody used before.
pub struct Bench {
    pub engine: Arc<dyn Engine>,
    pub sink: Arc<RecordingSink>,
    pub app: AppId,
    pub channel: ChannelName,
}

pub const POLICY: HistoryPolicy = HistoryPolicy { size: 1000, ttl: Duration::from_secs(3600) };

impl Bench {
    pub async fn new(url: String, channel: &str) -> Self {
        let bench = Self::uninterested(engine_on(url), channel);
        bench.want().await.expect("interest is taken");
        bench
    }

    pub fn uninterested(engine: Arc<dyn Engine>, channel: &str) -> Self {
        let sink = RecordingSink::new();
        engine.attach(sink.clone());
        Self { engine, sink, app: AppId::from("1"), channel: ChannelName::parse(channel).unwrap() }
    }

    pub async fn want(&self) -> Result<(), EngineError> {
        self.engine.interest(&self.app, &self.channel, true).wait().await
    }

    pub async fn try_publish(&self, id: &str, history: Option<HistoryPolicy>) -> Result<Published, EngineError> {
        let message = Message {
            app: self.app.clone(),
            channel: self.channel.clone(),
            id: MessageId::from(id),
            event: "message".into(),
            payload: Payload::Json(RawJson::of(id).unwrap()),
            user: None,
            ts: now(),
            position: None,
            key: None,
            exclude: None,
        };
        self.engine.publish(Publication { message, history, deduplicate: false }).wait().await
    }

    pub async fn publish(&self, id: &str) -> starling_core::Position {
        self.try_publish(id, Some(POLICY)).await.expect("published").position.expect("history gives a position")
    }

    pub async fn history(&self) -> Result<HistoryPage, EngineError> {
        let range = HistoryRange { limit: 1000, before: None, after: Some(0) };
        self.engine.history(&self.app, &self.channel, POLICY, range, now()).wait().await
    }

    pub async fn wait_for_resyncs(&self, count: usize) {
        let enough = |seen: &[Seen]| seen.iter().filter(|seen| **seen == Seen::Resync).count() >= count;
        self.sink.wait_for(PATIENCE, "a resync", enough).await;
    }

    /// Waits until the engine is up, or is not.
    pub fn wait_until_up(&self, up: bool) {
        wait_until(if up { "the engine to be up" } else { "the engine to be down" }, || self.engine.is_up() == up);
    }
}

pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn ids(messages: &[Arc<Message>]) -> Vec<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}
