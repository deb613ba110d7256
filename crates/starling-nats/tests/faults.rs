//! What the engine does when the broker is restarted, loses its data, is away, hangs, or is no use.

mod server;

use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use starling_core::{
    AppId, ChannelName, ConnectionId, Engine, EngineError, HistoryPage, HistoryPolicy, HistoryRange, Message,
    MessageId, Payload, Position, PresenceChange, PresenceEntry, Publication, Published, RawJson, UserId,
};
use starling_nats::{ConnectError, NatsEngine, NatsOptions};
use starling_testkit::{Broker, RecordingSink, Seen, block_on};
use tokio::runtime::Runtime;

const POLICY: HistoryPolicy = HistoryPolicy { size: 1000, ttl: Duration::from_secs(3600) };
const ALL: HistoryRange = HistoryRange { limit: 1000, before: None, after: None };
const PATIENCE: Duration = Duration::from_secs(40);

struct Node {
    engine: Arc<NatsEngine>,
    sink: Arc<RecordingSink>,
    _runtime: Runtime,
}

impl Node {
    fn new(options: NatsOptions) -> Self {
        let (engine, runtime) = server::node(options);
        let sink = RecordingSink::new();
        engine.attach(sink.clone());
        Self { engine, sink, _runtime: runtime }
    }

    async fn want(&self, name: &str) {
        self.engine.interest(&app(), &channel(name), true).wait().await.expect("wanted");
    }

    async fn try_publish(
        &self,
        name: &str,
        id: &str,
        history: Option<HistoryPolicy>,
    ) -> Result<Published, EngineError> {
        let publication = Publication { message: message(name, id), history, deduplicate: false };
        self.engine.publish(publication).wait().await
    }

    async fn publish(&self, name: &str, id: &str) -> Position {
        self.try_publish(name, id, Some(POLICY)).await.expect("published").position.expect("a position")
    }

    async fn page(&self, name: &str) -> HistoryPage {
        self.engine.history(&app(), &channel(name), POLICY, ALL, now()).wait().await.expect("read")
    }

    async fn enter(&self, name: &str, connection: &str) {
        let change = PresenceChange::Enter(entry(connection));
        self.engine.presence(&app(), &channel(name), change).wait().await.expect("entered");
    }

    async fn present(&self, name: &str) -> Vec<String> {
        let snapshot = self.engine.members(&app(), &channel(name)).wait().await;
        snapshot.map_or_else(|_| Vec::new(), |s| s.members.iter().map(|entry| entry.connection.to_string()).collect())
    }

    fn resyncs(&self) -> usize {
        self.sink.seen().iter().filter(|seen| **seen == Seen::Resync).count()
    }
}

fn app() -> AppId {
    AppId::from("1")
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn message(name: &str, id: &str) -> Message {
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

fn ids(page: &HistoryPage) -> Vec<&str> {
    page.messages.iter().map(|message| message.id.as_str()).collect()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn with_server(test: impl FnOnce(Broker)) {
    if server::is_installed() {
        test(server::nats_server(""));
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    block_on(future)
}

#[test]
fn a_restarted_server_keeps_logs_and_presence_and_publishing_goes_on() {
    with_server(|mut broker| {
        let node = Node::new(server::options(&broker));
        wait(node.want("room"));
        let before = wait(node.publish("room", "a"));
        wait(node.enter("room", "c1"));
        broker.kill();
        until("down", || !node.engine.is_up());
        let refused = wait(node.try_publish("room", "x", Some(POLICY)));
        assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
        assert!(wait(node.try_publish("room", "y", None)).is_err(), "nobody takes it");
        broker.restart();
        until("up", || node.engine.is_up());
        until("resync", || node.resyncs() > 0);
        let after = wait(node.publish("room", "b"));
        assert_eq!((&after.epoch, after.offset), (&before.epoch, before.offset + 1));
        assert_eq!(ids(&wait(node.page("room"))), ["a", "b"], "what was refused is not there");
        wait(node.sink.wait_for_messages("room", 2));
        assert_eq!(wait(node.present("room")), ["c1"]);
    });
}

#[test]
fn a_server_that_lost_its_data_begins_new_epochs_and_presence_is_written_again() {
    with_server(|mut broker| {
        let node = Node::new(server::options(&broker));
        wait(node.want("room"));
        let before = wait(node.publish("room", "a"));
        wait(node.enter("room", "c1"));
        broker.kill();
        fs::remove_dir_all(broker.folder().join("data")).unwrap();
        broker.restart();
        until("resync", || node.resyncs() > 0);
        until("up", || node.engine.is_up());
        let page = wait(node.page("room"));
        assert_ne!(page.head.epoch, before.epoch);
        assert_eq!((ids(&page).len(), page.head.offset), (0, 0));
        let after = wait(node.publish("room", "b"));
        assert_eq!((&after.epoch, after.offset), (&page.head.epoch, 1));
        wait(node.sink.wait_for_messages("room", 2));
        until("presence", || wait(node.present("room")) == ["c1"]);
    });
}

#[test]
fn a_server_that_hangs_makes_operations_fail_in_time_and_heals() {
    with_server(|broker| {
        let mut options = server::options(&broker);
        options.timeout = Duration::from_secs(3);
        let node = Node::new(options);
        wait(node.want("room"));
        wait(node.publish("room", "a"));
        broker.pause();
        let begin = Instant::now();
        assert!(wait(node.try_publish("room", "b", Some(POLICY))).is_err());
        assert!(wait(node.engine.claim("x", Duration::from_secs(9)).wait()).is_err());
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        until("down", || !node.engine.is_up());
        broker.resume();
        until("up", || node.engine.is_up());
        let position = wait(node.publish("room", "c"));
        let page = wait(node.page("room"));
        // What was refused may have happened; what was acknowledged did, and nothing has the same place.
        assert_eq!(page.messages.last().unwrap().position, Some(position));
        assert!(ids(&page) == ["a", "c"] || ids(&page) == ["a", "b", "c"], "{:?}", ids(&page));
        let delivered = wait(node.sink.wait_for_messages("room", page.messages.len()));
        assert_eq!(delivered, page.messages);
    });
}

#[test]
fn a_node_that_starts_before_its_server_waits_for_it() {
    if !server::is_installed() {
        return;
    }
    let mut broker = server::nats_server("");
    broker.kill();
    let node = Node::new(server::options(&broker));
    assert!(!node.engine.is_up());
    assert!(wait(node.try_publish("room", "a", Some(POLICY))).is_err());
    assert!(wait(node.engine.interest(&app(), &channel("room"), true).wait()).is_err());
    broker.restart();
    until("up", || node.engine.is_up());
    wait(node.want("room"));
    wait(node.publish("room", "b"));
    assert_eq!(ids(&wait(node.page("room"))), ["b"]);
}

#[test]
fn what_can_never_work_is_said_at_once() {
    if !server::is_installed() {
        return;
    }
    let connect = |options: NatsOptions| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(NatsEngine::connect(options)).err()
    };
    let guarded = server::nats_server("authorization { user: ann, password: secret }");
    let url = |login: &str| format!("nats://{login}127.0.0.1:{}", guarded.port());
    for login in ["", "ann:wrong@", "token@"] {
        let error = connect(NatsOptions::parse(&url(login)).unwrap());
        assert!(matches!(error, Some(ConnectError::Credentials(_))), "{login:?}: {error:?}");
    }
    assert!(connect(NatsOptions::parse(&url("ann:secret@")).unwrap()).is_none());
    let plain = server::configured("");
    let error = connect(server::options(&plain));
    assert!(matches!(error, Some(ConnectError::NoJetStream)), "{error:?}");
    let mut options = server::options(&guarded);
    options.credentials = Some("/nowhere/x.creds".into());
    assert!(matches!(connect(options), Some(ConnectError::File { .. })));
}

#[test]
fn foreign_data_under_our_names_is_refused_and_nothing_is_made_of_it() {
    with_server(|broker| {
        let node = Node::new(server::options(&broker));
        wait(node.want("room"));
        wait(node.publish("room", "a"));
        let url = format!("127.0.0.1:{}", broker.port());
        node._runtime.block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            let context = async_nats::jetstream::new(client.clone());
            let stream = context.get_stream("starling_h_s1024t3600").await.unwrap();
            let mut subjects = stream.info_with_subjects(">").await.unwrap();
            use futures_util::StreamExt;
            let (subject, _) = subjects.next().await.unwrap().unwrap();
            context.publish(subject, Bytes::from_static(b"{\"not\":\"ours\"}")).await.unwrap().await.unwrap();
            client.publish("starling.all", Bytes::from_static(b"junk")).await.unwrap();
            client.flush().await.unwrap();
        });
        let read = wait(node.engine.history(&app(), &channel("room"), POLICY, ALL, now()).wait());
        assert!(matches!(read, Err(EngineError::Unavailable(_))), "{read:?}");
        assert!(wait(node.try_publish("room", "b", Some(POLICY))).is_err());
        assert_eq!(wait(node.publish("other", "c")).offset, 1, "other channels are not touched");
        assert_eq!(node.sink.messages("room").len(), 1);
    });
}

#[test]
fn a_paused_node_is_reaped_and_writes_its_entries_again() {
    with_server(|broker| {
        // A process of its own would be paused by SIGSTOP; here its registration is taken away, as a survivor does.
        let node = Node::new(server::options(&broker));
        wait(node.enter("room", "c1"));
        let other = Node::new(server::options(&broker));
        wait(other.want("room"));
        node._runtime.block_on(async {
            let client = async_nats::connect(format!("127.0.0.1:{}", broker.port())).await.unwrap();
            let stream = async_nats::jetstream::new(client).get_stream("KV_starling_presence").await.unwrap();
            stream.purge().await.unwrap();
        });
        assert_eq!(wait(other.present("room")), Vec::<String>::new());
        until("presence", || wait(other.present("room")) == ["c1"]);
        wait(other.sink.wait_for_presence("room", 1));
    });
}
