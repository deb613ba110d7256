//! Three NATS servers, logs on all of them: one that dies, and nodes that write at the same time.

mod server;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_core::{
    AppId, ChannelName, ConnectionId, Engine, HistoryPolicy, HistoryRange, Message, MessageId, Payload, Position,
    PresenceChange, PresenceEntry, Publication, RawJson, UserId,
};
use starling_nats::{NatsEngine, NatsOptions};
use starling_testkit::{Broker, RecordingSink, Seen, block_on};
use tokio::runtime::Runtime;

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

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn options(brokers: &[Broker]) -> NatsOptions {
    let urls: Vec<String> = brokers.iter().map(|broker| format!("nats://127.0.0.1:{}", broker.port())).collect();
    NatsOptions::parse(&format!("{}?replicas=3", urls.join(","))).unwrap()
}

/// A node on each of the servers, which have agreed on a leader.
fn nodes(brokers: &[Broker]) -> Vec<(Arc<NatsEngine>, Runtime)> {
    let node = |broker: &Broker, timeout| {
        let mut options = NatsOptions::parse(&format!("nats://127.0.0.1:{}?replicas=3", broker.port())).unwrap();
        options.timeout = Duration::from_secs(timeout);
        server::node(options)
    };
    for broker in brokers {
        // What is asked before there is a leader is not answered.
        let (early, _runtime) = node(broker, 2);
        until("a leader", || early.is_up());
    }
    let nodes: Vec<_> = brokers.iter().map(|broker| node(broker, 20)).collect();
    until("all nodes", || nodes.iter().all(|(engine, _)| engine.is_up()));
    nodes
}

fn app() -> AppId {
    AppId::from("1")
}

fn room() -> ChannelName {
    ChannelName::parse("room").unwrap()
}

fn publication(id: String, deduplicate: bool) -> Publication {
    let message = Message {
        app: app(),
        channel: room(),
        payload: Payload::Json(RawJson::of(&id).unwrap()),
        id: MessageId::new(id),
        event: "message".into(),
        user: None,
        ts: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
        position: None,
        key: None,
        exclude: None,
    };
    Publication { message, history: Some(POLICY), deduplicate }
}

fn publish(engine: &NatsEngine, id: u64) -> Option<Position> {
    block_on(engine.publish(publication(id.to_string(), true)).wait()).ok()?.position
}

/// Does something on all nodes at the same time.
fn at_once<T: Send>(nodes: &[(Arc<NatsEngine>, Runtime)], act: impl Fn(usize, &NatsEngine) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let act = &act;
        let acting: Vec<_> =
            nodes.iter().enumerate().map(|(index, (engine, _))| scope.spawn(move || act(index, engine))).collect();
        acting.into_iter().map(|acting| acting.join().unwrap()).collect()
    })
}

#[test]
fn a_server_of_three_dies_and_nothing_acknowledged_is_lost_or_repeated() {
    if !server::is_installed() {
        return;
    }
    let mut brokers = cluster();
    let mut options = options(&brokers);
    options.timeout = Duration::from_secs(2);
    let (publisher, _one) = server::node(options.clone());
    let (hearer, _two) = server::node(options);
    until("a leader", || publisher.is_up() && hearer.is_up());
    let sink = RecordingSink::new();
    hearer.attach(sink.clone());
    let (app, room) = (app(), room());
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

/// Records that each node writes, with the others writing at the same time.
const TURNS: u64 = 100;

#[test]
fn nodes_that_publish_to_one_channel_at_the_same_time_lose_nothing_and_hear_one_order() {
    if !server::is_installed() {
        return;
    }
    let brokers = cluster();
    let nodes = nodes(&brokers);
    let sinks: Vec<_> = nodes.iter().map(|_| RecordingSink::new()).collect();
    for ((engine, _), sink) in nodes.iter().zip(&sinks) {
        engine.attach(sink.clone());
        until("interest", || block_on(engine.interest(&app(), &room(), true).wait()).is_ok());
    }
    // A subscription takes a moment to be known on all servers.
    let mut first = 0;
    until("all nodes hear", || {
        first += u64::from(publish(&nodes[0].0, first).is_some());
        sinks.iter().all(|sink| !sink.messages("room").is_empty())
    });
    let acknowledged = at_once(&nodes, |index, engine| {
        let turn = |turn: u64| {
            let id = |nth: u64| format!("{index} {turn} {nth}");
            let under_way =
                [engine.publish(publication(id(0), false)), engine.publish(publication(id(1), turn.is_multiple_of(8)))];
            let published = under_way.map(|published| block_on(published.wait()).expect("published"));
            published.map(|published| (published.id.to_string(), published.position.expect("a position")))
        };
        (0..TURNS).flat_map(turn).collect::<Vec<_>>()
    });
    let acknowledged: HashMap<String, Position> = acknowledged.into_iter().flatten().collect();
    assert_eq!(acknowledged.len() as u64, 3 * 2 * TURNS);
    let range = HistoryRange { limit: 1000, before: None, after: Some(first) };
    let mut logs = Vec::new();
    for (engine, _) in &nodes {
        let page = block_on(engine.history(&app(), &room(), POLICY, range, 0).wait()).unwrap();
        assert_eq!(page.head.offset, first + 3 * 2 * TURNS);
        logs.push(page.messages);
    }
    let log: Vec<(String, Position)> =
        logs[0].iter().map(|message| (message.id.to_string(), message.position.clone().unwrap())).collect();
    let offsets: Vec<u64> = log.iter().map(|(_, position)| position.offset).collect();
    assert_eq!(offsets, (first + 1..=first + 3 * 2 * TURNS).collect::<Vec<_>>());
    assert_eq!(log.iter().cloned().collect::<HashMap<_, _>>(), acknowledged, "each where it was said to be");
    assert!(logs.iter().all(|log| *log == logs[0]), "one log, whoever reads it");
    let last = log.last().map(|(_, position)| position);
    for sink in &sinks {
        let is_last = |seen: &Seen| matches!(seen, Seen::Message(message) if message.position.as_ref() == last);
        block_on(sink.wait_until("the last message", |seen| seen.iter().any(is_last)));
        let heard = sink.messages("room").into_iter();
        let heard: Vec<_> = heard.filter(|message| message.position.as_ref().unwrap().offset > first).collect();
        assert_eq!(heard, logs[0], "what is heard is the log");
    }
}

#[test]
fn of_nodes_that_want_the_same_at_the_same_time_one_gets_it() {
    if !server::is_installed() {
        return;
    }
    let brokers = cluster();
    let nodes = nodes(&brokers);
    let count = |won: Vec<bool>| won.into_iter().filter(|won| *won).count();
    for round in 0..25 {
        let name = format!("job {round}");
        // One that is over as soon as it is there: the next takes its place.
        let claimed = block_on(nodes[round % 3].0.claim(&name, Duration::ZERO).wait());
        assert!(claimed.unwrap());
        let claimed =
            at_once(&nodes, |_, engine| block_on(engine.claim(&name, Duration::from_secs(3600)).wait()).unwrap());
        assert_eq!(count(claimed), 1, "claims of {name}");
        let note = nodes[round % 3].0.note(&name, "value".into(), Duration::from_secs(3600));
        block_on(note.wait()).unwrap();
        let taken = at_once(&nodes, |_, engine| !block_on(engine.notes(&name, true).wait()).unwrap().is_empty());
        assert_eq!(count(taken), 1, "who took the note {name}");
    }
}

#[test]
fn connections_of_one_user_that_enter_on_several_nodes_at_the_same_time_are_all_there() {
    if !server::is_installed() {
        return;
    }
    let brokers = cluster();
    let nodes = nodes(&brokers);
    let present = || block_on(nodes[0].0.members(&app(), &room()).wait()).unwrap().members.len();
    let change = |engine: &NatsEngine, change| block_on(engine.presence(&app(), &room(), change).wait()).unwrap();
    let name = |round: usize, node: usize| ConnectionId::from(format!("{round} {node}").as_str());
    for round in 0..40 {
        at_once(&nodes, |node, engine| {
            let (user, data) = (Some(UserId::from("ann")), RawJson::null());
            let entry = PresenceEntry { user, connection: name(round, node), data, revision: 0 };
            change(engine, PresenceChange::Enter(entry));
        });
    }
    until("all are present", || present() == 40 * 3);
    for round in 0..40 {
        at_once(&nodes, |node, engine| change(engine, PresenceChange::Leave(name(round, node))));
    }
    until("nobody is present", || present() == 0);
}
