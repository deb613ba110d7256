//! Three NATS servers, logs on all of them, and one that dies.

mod server;

use std::cell::OnceCell;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_core::{
    AppId, ChannelName, Engine, HistoryPolicy, HistoryRange, Message, MessageId, Payload, Position, Publication,
    RawJson,
};
use starling_nats::NatsOptions;
use starling_testkit::{Broker, RecordingSink, block_on};

const POLICY: HistoryPolicy = HistoryPolicy { size: 1000, ttl: Duration::from_secs(3600) };

fn cluster() -> Vec<Broker> {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(listeners);
    let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let start = |(index, port): (usize, &u16)| {
        server::nats_server(&format!(
            "server_name: n{index}\ncluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{}] }}",
            routes.join(", ")
        ))
    };
    ports.iter().enumerate().map(start).collect()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn publish(engine: &Arc<starling_nats::NatsEngine>, id: u64) -> Option<Position> {
    let message = Message {
        app: AppId::from("1"),
        channel: ChannelName::parse("room").unwrap(),
        id: MessageId::new(id.to_string()),
        event: "message".into(),
        payload: Payload::Json(RawJson::of(&id).unwrap()),
        user: None,
        ts: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
        position: None,
        key: None,
        exclude: None,
    };
    let publication = Publication { message, history: Some(POLICY), deduplicate: true };
    block_on(engine.publish(publication).wait()).ok()?.position
}

#[test]
fn a_server_of_three_dies_and_nothing_acknowledged_is_lost_or_repeated() {
    if !server::is_installed() {
        return;
    }
    let mut brokers = cluster();
    let urls: Vec<String> = brokers.iter().map(|broker| format!("nats://127.0.0.1:{}", broker.port())).collect();
    let mut options = NatsOptions::parse(&format!("{}?replicas=3", urls.join(","))).unwrap();
    options.timeout = Duration::from_secs(2);
    let (publisher, _one) = server::node(options.clone());
    let (hearer, _two) = server::node(options);
    until("a leader", || publisher.is_up() && hearer.is_up());
    let sink = RecordingSink::new();
    hearer.attach(sink.clone());
    let (app, room) = (AppId::from("1"), ChannelName::parse("room").unwrap());
    until("interest", || block_on(hearer.interest(&app, &room, true).wait()).is_ok());
    let mut places = Vec::new();
    for id in 1..=120 {
        if id == 40 {
            brokers[0].kill();
        }
        if id == 80 {
            brokers[0].restart();
            until("three again", || publisher.is_up() && hearer.is_up());
            brokers[1].kill();
        }
        // As a publisher does: again under the same id until it is acknowledged.
        let deadline = Instant::now() + Duration::from_secs(60);
        let position = loop {
            match publish(&publisher, id) {
                Some(position) => break position,
                None => assert!(Instant::now() < deadline, "message {id} is not taken"),
            }
        };
        places.push(position);
    }
    let offsets: Vec<u64> = places.iter().map(|position| position.offset).collect();
    assert_eq!(offsets, (1..=120).collect::<Vec<_>>());
    assert!(places.iter().all(|position| position.epoch == places[0].epoch));
    let range = HistoryRange { limit: 1000, before: None, after: None };
    // A reading may fail while a new leader is being chosen.
    let page = OnceCell::new();
    until("the log is read", || {
        block_on(hearer.history(&app, &room, POLICY, range, 0).wait()).is_ok_and(|read| page.set(read).is_ok())
    });
    let ids: Vec<String> = page.into_inner().unwrap().messages.iter().map(|message| message.id.to_string()).collect();
    assert_eq!(ids, (1..=120).map(|id: u64| id.to_string()).collect::<Vec<_>>());
}
