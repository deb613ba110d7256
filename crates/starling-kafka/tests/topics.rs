//! What is in the topics: read by nodes that start later, from Kafka where it is no longer in memory; foreign data; and
//! what can never work.

mod server;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use starling_core::{Engine, EngineError, HistoryRange, Payload, Publication};
use starling_kafka::{ConnectError, KafkaEngine, KafkaOptions};
use starling_testkit::{Broker, kafka};
use tokio::runtime::Runtime;

use server::room::{ALL, Node, POLICY, app, channel, ids, message, now, wait};

fn shared() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| kafka(""))
}

/// Nodes of these meet nobody else.
fn options(prefix: &str) -> KafkaOptions {
    let mut options = server::options(shared());
    options.prefix = prefix.into();
    options
}

fn connect(options: KafkaOptions) -> Option<ConnectError> {
    Runtime::new().unwrap().block_on(KafkaEngine::connect(options)).err()
}

#[test]
fn what_is_not_in_memory_is_read_from_kafka_by_a_node_that_starts_later_too() {
    if !server::is_installed() {
        return;
    }
    let first = Node::new(options("cold"));
    for n in 0..60 {
        first.publish("room", &n.to_string());
        first.publish("other", &n.to_string());
    }
    let epoch = first.publish("room", "60").epoch;
    let expected: Vec<String> = (0..=60).map(|n| n.to_string()).collect();
    let mut small = options("cold");
    small.cache = 1;
    let later = Node::new(small);
    let page = later.page("room");
    assert_eq!(ids(&page), expected);
    assert_eq!((page.head.epoch, page.head.offset, page.oldest), (epoch.clone(), 61, 1));
    let offsets: Vec<u64> = page.messages.iter().map(|m| m.position.as_ref().unwrap().offset).collect();
    assert_eq!(offsets, (1..=61).collect::<Vec<_>>());
    let range = HistoryRange { limit: 3, before: None, after: Some(10) };
    let page = wait(later.engine.history(&app(), &channel("room"), POLICY, range, now()).wait()).unwrap();
    assert_eq!(ids(&page), ["10", "11", "12"]);
    // And the one goes on where the other was.
    assert_eq!(later.publish("room", "61"), starling_core::Position { epoch, offset: 62 });
    assert_eq!(ids(&first.page("room")).len(), 62);
}

#[test]
fn records_that_starling_did_not_write_are_left_out() {
    if !server::is_installed() {
        return;
    }
    let node = Node::new(options("foreign"));
    node.want("room");
    node.publish("room", "a");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", format!("127.0.0.1:{}", shared().port())).create().unwrap();
    for topic in ["foreign.log", "foreign.live", "foreign.presence"] {
        for partition in 0..2 {
            let record = BaseRecord::to(topic).partition(partition).key("1\0room").payload("{\"not\":\"ours\"}");
            producer.send(record).unwrap();
        }
    }
    for topic in ["foreign.notes", "foreign.nodes"] {
        producer.send(BaseRecord::to(topic).partition(0).key("n\0junk").payload("junk")).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let position = node.publish("room", "b");
    assert_eq!(position.offset, 2);
    node.enter("room", "c1");
    assert_eq!(node.present("room"), ["c1"]);
    let later = Node::new(options("foreign"));
    assert_eq!(ids(&later.page("room")), ["a", "b"]);
    assert_eq!(later.present("room"), ["c1"]);
    assert_eq!(node.heard("room", 2), ["a", "b"]);
}

#[test]
fn topics_that_are_not_what_they_must_be_are_named() {
    if !server::is_installed() {
        return;
    }
    drop(Node::new(options("fixed")));
    let mut other = options("fixed");
    other.partitions = 3;
    let error = connect(other);
    let Some(ConnectError::Partitions { topic, found: 2, wanted: 3 }) = &error else { panic!("{error:?}") };
    assert_eq!(topic, "fixed.log");
    let mut longer = options("fixed");
    longer.retention = Duration::from_secs(7 * 86_400);
    let error = connect(longer);
    assert!(matches!(&error, Some(ConnectError::ForeignTopic { topic, .. }) if topic == "fixed.log"), "{error:?}");
    let mut nowhere = options("nowhere");
    nowhere.tls = true;
    nowhere.ca = Some("/nowhere/ca.pem".into());
    assert!(matches!(connect(nowhere), Some(ConnectError::File { .. })));
}

#[test]
fn what_is_too_large_for_a_broker_is_refused_as_that() {
    if !server::is_installed() {
        return;
    }
    let node = Node::new(options("large"));
    let publish = |size: usize, history| {
        let mut message = message("room", "a");
        message.payload = Payload::Binary(vec![7; size].into());
        wait(node.engine.publish(Publication { message, history, deduplicate: false }).wait())
    };
    for history in [Some(POLICY), None] {
        let refused = publish(2 << 20, history);
        assert!(matches!(refused, Err(EngineError::TooLarge(_))), "{refused:?}");
        publish(500 << 10, history).expect("what fits is taken");
    }
    assert!(node.engine.is_up());
}

/// Java's own tool makes the broker's certificate.
fn keytool(store: &Path, arguments: &[&str]) {
    let mut command = Command::new("keytool");
    command.args(arguments).args(["-alias", "broker", "-storetype", "PKCS12", "-storepass", "secret", "-keystore"]);
    let output = command.arg(store).output().expect("keytool comes with java");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_broker_with_tls_and_logins() {
    if !server::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, ca) = (folder.path().join("broker.p12"), folder.path().join("ca.pem"));
    keytool(&store, &["-genkeypair", "-keyalg", "RSA", "-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1"]);
    keytool(&store, &["-exportcert", "-rfc", "-file", ca.to_str().unwrap()]);
    let broker = kafka(&format!(
        "listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT\nssl.keystore.type=PKCS12\n\
         ssl.keystore.location={0}\nssl.keystore.password=secret\nssl.key.password=secret\n\
         ssl.truststore.type=PKCS12\nssl.truststore.location={0}\nssl.truststore.password=secret\n\
         sasl.enabled.mechanisms=PLAIN\n\
         sasl.mechanism.inter.broker.protocol=PLAIN\nlistener.name.client.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" password=\"b\" \
         user_a=\"b\" user_ann=\"secret\";\n",
        store.display()
    ));
    let url = |login: &str, ca: &str| format!("kafkas://{login}127.0.0.1:{}?partitions=2{ca}", broker.port());
    let trusted = format!("&ca={}", ca.display());
    let connect = |url: String| {
        let mut options = KafkaOptions::parse(&url).unwrap();
        options.timeout = Duration::from_secs(15);
        connect(options)
    };
    let error = connect(url("ann:wrong@", &trusted));
    assert!(matches!(error, Some(ConnectError::Credentials(_))), "{error:?}");
    let error = connect(url("ann:secret@", &format!("{trusted}&mechanism=SCRAM-SHA-256")));
    assert!(matches!(error, Some(ConnectError::Credentials(_))), "{error:?}");
    let error = connect(url("ann:secret@", ""));
    assert!(matches!(error, Some(ConnectError::Tls(_))), "{error:?}");
    let node = Node::new(KafkaOptions::parse(&url("ann:secret@", &trusted)).unwrap());
    node.publish("room", "a");
    let page = wait(node.engine.history(&app(), &channel("room"), POLICY, ALL, now()).wait()).unwrap();
    assert_eq!(ids(&page), ["a"]);
}
