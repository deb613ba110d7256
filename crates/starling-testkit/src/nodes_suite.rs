//! What several nodes on one broker must do, as one suite: Redis, NATS and Kafka pass it unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_core::{
    AppId, ChannelName, ConnectionId, Control, Engine, HistoryPolicy, Message, MessageId, Payload, PresenceChange,
    PresenceEntry, PresenceEvent, Publication, Published, Query, RawJson, Target, UserId,
};

use crate::engine_suite::{NEWEST, POLICY, Sweeper, fresh, ids, names, offsets, unix_ms, without_revisions};
use crate::{RecordingSink, Seen, block_on};

/// Makes one test of each case: `nodes_suite!(make_node)`, where each `make_node()` is a [`Node`](crate::nodes_suite::Node) of one and the same
/// cluster, to whose engine no sink is attached. Leases should be short: the cases wait for them.
///
/// With `nodes_suite!(make_node, block_on)` the cases, and `make_node`, run on the runtime of `block_on`.
#[macro_export]
macro_rules! nodes_suite {
    ($make:expr) => {
        $crate::nodes_suite!($make, $crate::block_on);
    };
    ($make:expr, $block_on:expr) => {
        $crate::nodes_suite! { @cases $make, $block_on;
            messages_reach_every_interested_node,
            a_node_hears_only_what_it_wants,
            wishes_are_counted,
            one_log_for_all_nodes,
            message_ids_are_remembered_across_nodes,
            publishers_on_two_nodes_make_one_order,
            clearing_history_reaches_every_node,
            controls_reach_every_node_once,
            one_node_asks_another,
            every_other_node_is_surveyed,
            a_name_is_claimed_on_one_node,
            notes_are_for_the_whole_cluster,
            presence_is_one_set,
            a_user_who_returns_on_another_node_never_left,
            who_lingers_leaves_once,
            a_killed_node_leaves_no_entries,
            who_lingers_on_a_killed_node_stays_for_its_time,
        }
    };
    (@cases $make:expr, $block_on:expr; $($case:ident,)*) => {
        $(#[test]
        fn $case() {
            ($block_on)(async {
                let make = || ($make)();
                $crate::nodes_suite::$case(&make).await
            });
        })*
    };
}

/// One node of a cluster.
pub struct Node {
    /// What links it to the others.
    pub engine: Arc<dyn Engine>,
    /// Ends it without a word, as SIGKILL ends a process: its connections close, nothing is said.
    pub kill: Box<dyn FnOnce() + Send>,
}

struct Member {
    engine: Arc<dyn Engine>,
    sink: Arc<RecordingSink>,
    kill: Option<Box<dyn FnOnce() + Send>>,
}

/// Some nodes, and a channel that nobody used before and that nobody is interested in yet.
struct Bench {
    nodes: Vec<Member>,
    app: AppId,
    channel: ChannelName,
    sweeper: Option<Sweeper>,
}

type Make<'a> = &'a dyn Fn() -> Node;

/// As long as a dead node's entries may stay, and some time for the broker.
const GONE_WITHIN: Duration = Duration::from_secs(30);

impl Bench {
    fn new(make: Make<'_>, count: usize) -> Self {
        let mut bench = Self { nodes: Vec::new(), app: AppId::from("1"), channel: fresh("channel"), sweeper: None };
        (0..count).for_each(|_| bench.add(make()));
        bench
    }

    fn add(&mut self, node: Node) {
        let sink = RecordingSink::new();
        node.engine.attach(sink.clone());
        self.nodes.push(Member { engine: node.engine, sink, kill: Some(node.kill) });
        self.sweeper = None;
        self.sweeper = Some(Sweeper::start(self.nodes.iter().map(|node| node.engine.clone()).collect()));
    }

    /// Nodes that are all interested in the channel.
    async fn interested(make: Make<'_>, count: usize) -> Self {
        let bench = Self::new(make, count);
        for node in 0..count {
            bench.want(node, true).await;
        }
        bench
    }

    async fn want(&self, node: usize, wanted: bool) {
        self.nodes[node].engine.interest(&self.app, &self.channel, wanted).wait().await.expect("interest is taken");
    }

    fn message(&self, id: &str) -> Message {
        Message {
            app: self.app.clone(),
            channel: self.channel.clone(),
            id: MessageId::from(id),
            event: "message".into(),
            payload: Payload::Json(RawJson::of(id).unwrap()),
            user: Some(UserId::from("ann")),
            ts: unix_ms(),
            position: None,
            key: None,
            exclude: None,
        }
    }

    async fn publish(&self, node: usize, id: &str, history: Option<HistoryPolicy>) -> Published {
        let publication = Publication { message: self.message(id), history, deduplicate: false };
        self.nodes[node].engine.publish(publication).wait().await.expect("published")
    }

    async fn publish_once(&self, node: usize, id: &str) -> Published {
        let publication = Publication { message: self.message(id), history: Some(POLICY), deduplicate: true };
        self.nodes[node].engine.publish(publication).wait().await.expect("published")
    }

    async fn change(&self, node: usize, change: PresenceChange) {
        self.nodes[node].engine.presence(&self.app, &self.channel, change).wait().await.expect("presence is changed");
    }

    async fn enter(&self, node: usize, user: &str, connection: &str) {
        self.change(node, PresenceChange::Enter(entry(user, connection, "{}"))).await;
    }

    async fn leave(&self, node: usize, connection: &str) {
        self.change(node, PresenceChange::Leave(ConnectionId::from(connection))).await;
    }

    async fn linger(&self, node: usize, connection: &str, until: u64) {
        self.change(node, PresenceChange::Linger { connection: ConnectionId::from(connection), until }).await;
    }

    async fn present(&self, node: usize) -> Vec<PresenceEntry> {
        let snapshot = self.nodes[node].engine.members(&self.app, &self.channel).wait().await;
        let mut members = snapshot.expect("members are listed").members;
        members.sort_by(|a, b| a.connection.cmp(&b.connection));
        members
    }

    async fn events(&self, node: usize, count: usize) -> Vec<PresenceEvent> {
        self.nodes[node].sink.wait_for_presence(self.channel.as_str(), count).await
    }

    async fn messages(&self, node: usize, count: usize) -> Vec<Arc<Message>> {
        self.nodes[node].sink.wait_for_messages(self.channel.as_str(), count).await
    }

    fn kill(&mut self, node: usize) {
        self.sweeper = None;
        if let Some(kill) = self.nodes[node].kill.take() {
            kill();
        }
        let others = self.nodes.iter().filter(|node| node.kill.is_some());
        self.sweeper = Some(Sweeper::start(others.map(|node| node.engine.clone()).collect()));
    }
}

fn entry(user: &str, connection: &str, data: &str) -> PresenceEntry {
    PresenceEntry {
        user: Some(UserId::from(user)),
        connection: ConnectionId::from(connection),
        data: RawJson::parse(data).unwrap(),
        revision: 0,
    }
}

/// What must be the same on every node.
fn told(events: &[PresenceEvent]) -> Vec<PresenceEvent> {
    events.iter().map(|event| PresenceEvent { ours: false, ..event.clone() }).collect()
}

macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident($make:ident) $body:block)*) => {$(
        $(#[$doc])*
        pub async fn $name($make: &dyn Fn() -> Node) $body
    )*};
}

cases! {
    /// With and without history, each node gets the same message with the same position.
    messages_reach_every_interested_node(make) {
        let bench = Bench::interested(make, 3).await;
        let first = bench.publish(0, "kept", Some(POLICY)).await;
        bench.publish(1, "passed on", None).await;
        for node in 0..3 {
            let messages = bench.messages(node, 2).await;
            assert_eq!(ids(&messages), ["kept", "passed on"]);
            assert_eq!(messages[0].position, first.position);
            assert_eq!(messages[0].user, Some(UserId::from("ann")));
            assert_eq!(messages[1].position, None);
        }
    }

    /// What nobody on a node is interested in does not come there.
    a_node_hears_only_what_it_wants(make) {
        let bench = Bench::new(make, 2);
        bench.want(0, true).await;
        bench.publish(1, "not for 1", Some(POLICY)).await;
        bench.messages(0, 1).await;
        bench.want(1, true).await;
        bench.publish(0, "for both", Some(POLICY)).await;
        assert_eq!(ids(&bench.messages(1, 1).await), ["for both"]);
    }

    /// An interest lasts until each wish was taken back, and can begin again at once.
    wishes_are_counted(make) {
        let bench = Bench::new(make, 2);
        bench.want(1, true).await;
        bench.want(1, true).await;
        bench.want(1, false).await;
        bench.publish(0, "a", None).await;
        assert_eq!(ids(&bench.messages(1, 1).await), ["a"]);
        for _ in 0..5 {
            bench.want(1, false).await;
            bench.want(1, true).await;
        }
        bench.publish(0, "b", None).await;
        assert_eq!(ids(&bench.messages(1, 2).await), ["a", "b"]);
    }

    /// Any node continues the log, and any node reads it.
    one_log_for_all_nodes(make) {
        let bench = Bench::new(make, 2);
        let first = bench.publish(0, "a", Some(POLICY)).await.position.unwrap();
        let second = bench.publish(1, "b", Some(POLICY)).await.position.unwrap();
        assert_eq!((first.offset, second.offset, &second.epoch), (1, 2, &first.epoch));
        for node in &bench.nodes {
            let page = node.engine.history(&bench.app, &bench.channel, POLICY, NEWEST, unix_ms()).wait().await.unwrap();
            assert_eq!((ids(&page.messages), page.head), (vec!["a", "b"], second.clone()));
        }
    }

    /// A publisher that tries again elsewhere gets the first answer, and nobody gets the message twice.
    message_ids_are_remembered_across_nodes(make) {
        let bench = Bench::interested(make, 2).await;
        let first = bench.publish_once(0, "mine").await;
        assert_eq!(bench.publish_once(1, "mine").await, first);
        bench.publish(1, "last", Some(POLICY)).await;
        for node in 0..2 {
            assert_eq!(ids(&bench.messages(node, 2).await), ["mine", "last"]);
        }
    }

    /// Two publishers on each of two nodes: every node sees each offset once, in order, and the same messages.
    publishers_on_two_nodes_make_one_order(make) {
        const EACH: usize = 100;
        let bench = Bench::interested(make, 3).await;
        let publishers: Vec<_> = (0..4)
            .map(|publisher| {
                let engine = bench.nodes[publisher % 2].engine.clone();
                let messages: Vec<_> = (0..EACH).map(|n| bench.message(&format!("{publisher}-{n:03}"))).collect();
                thread::spawn(move || {
                    for message in messages {
                        let publication = Publication { message, history: Some(POLICY), deduplicate: false };
                        block_on(engine.publish(publication).wait()).expect("published");
                    }
                })
            })
            .collect();
        let seen = bench.messages(0, 4 * EACH).await;
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert_eq!(offsets(&seen), (1..=4 * EACH as u64).collect::<Vec<_>>());
        for node in 1..3 {
            assert!(bench.messages(node, 4 * EACH).await == seen, "node {node} sees what node 0 saw");
        }
    }

    /// Every node learns of the new log before its first message.
    clearing_history_reaches_every_node(make) {
        let bench = Bench::interested(make, 2).await;
        bench.publish(0, "old", Some(POLICY)).await;
        let head = bench.nodes[1].engine.clear_history(&bench.app, &bench.channel).wait().await.expect("cleared");
        let new = bench.publish(0, "new", Some(POLICY)).await.position.unwrap();
        assert_eq!((&new.epoch, new.offset), (&head.epoch, 1));
        let order = Control::HistoryCleared { channel: bench.channel.clone(), head };
        for node in 0..2 {
            bench.messages(node, 2).await;
            let seen = bench.nodes[node].sink.seen();
            let cleared = seen.iter().position(|seen| *seen == Seen::Control(bench.app.clone(), order.clone()));
            let new = seen.iter().position(|seen| matches!(seen, Seen::Message(m) if m.id.as_str() == "new"));
            assert!(cleared.is_some() && cleared < new, "node {node}: {seen:#?}");
        }
    }

    /// Each node, the sender included, gets each order once, unchanged.
    controls_reach_every_node_once(make) {
        let bench = Bench::new(make, 3);
        let connection = |name: &str| Target::Connection(ConnectionId::from(name));
        let user = || Target::User(UserId::from("ann"));
        let members = || Target::Members {
            of: vec![bench.channel.clone(), ChannelName::parse("ü").unwrap()],
            except: vec![ChannelName::parse("b").unwrap()],
            except_connections: vec![ConnectionId::from("c1"), ConnectionId::from("c2")],
        };
        let emit = |target, channel, payload| Control::Emit { target, channel, event: "événement".into(), payload };
        let number = || Payload::Json(RawJson::parse("[1.0,{\"b\":1}]").unwrap());
        let controls = [
            Control::Disconnect { target: connection("c1") },
            Control::Disconnect { target: members() },
            Control::Revoke { user: UserId::from("ann"), before: 1_700_000_000 },
            Control::Subscribe { target: user(), channel: bench.channel.clone() },
            Control::Unsubscribe { target: connection("c2"), channel: bench.channel.clone() },
            emit(members(), Some(bench.channel.clone()), number()),
            emit(user(), None, Payload::Binary(vec![0, 255].into())),
        ];
        for control in &controls {
            bench.nodes[1].engine.control(&bench.app, control.clone()).wait().await.expect("taken");
        }
        let marker = Control::Disconnect { target: connection("marker") };
        bench.nodes[1].engine.control(&bench.app, marker.clone()).wait().await.expect("taken");
        for node in &bench.nodes {
            let marker = Seen::Control(bench.app.clone(), marker.clone());
            node.sink.wait_until("the last control", |seen| seen.contains(&marker)).await;
            let seen = node.sink.seen();
            for control in &controls {
                let count = seen.iter().filter(|seen| **seen == Seen::Control(bench.app.clone(), control.clone()));
                assert_eq!(count.count(), 1, "{control:?}");
            }
        }
    }

    /// The right node answers; one that is gone does not, and that is told in time.
    one_node_asks_another(make) {
        let mut bench = Bench::new(make, 3);
        let names: Vec<_> = bench.nodes.iter().map(|node| node.engine.node().clone()).collect();
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        for (from, to) in [(0, 1), (1, 0), (2, 0), (1, 2)] {
            for request in [Bytes::from(format!("{from} to {to}")), Bytes::new(), Bytes::from(vec![7; 100_000])] {
                let expected = RecordingSink::reply_to(&request);
                let timeout = Duration::from_secs(10);
                let reply = bench.nodes[from].engine.relay(&names[to], request.clone(), timeout).wait().await;
                assert!(reply == Ok(expected), "{from} to {to}");
                assert!(bench.nodes[to].sink.seen().contains(&Seen::Relayed(request)));
            }
        }
        bench.kill(2);
        let begin = Instant::now();
        let request = Bytes::from_static(b"?");
        let reply = bench.nodes[0].engine.relay(&names[2], request, Duration::from_secs(1)).wait().await;
        assert!(reply.is_err(), "{reply:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    /// Every other node answers each question, the asker does not; a dead one is left out.
    every_other_node_is_surveyed(make) {
        let mut bench = Bench::new(make, 3);
        let channel = bench.channel.clone();
        let app = AppId::new(format!("{}", unix_ms()));
        for query in [
            Query::Channels { prefix: "room:".into() },
            Query::Channel { channel: channel.clone() },
            Query::Connection { connection: ConnectionId::from("c1") },
            Query::Connection { connection: ConnectionId::from("nobody") },
            Query::Connections { target: Target::User(UserId::from("ann")) },
            Query::Stats,
        ] {
            let answers = bench.nodes[0].engine.survey(&app, query.clone()).wait().await.expect("asked");
            let mine = answers.iter().filter(|answer| **answer == RecordingSink::answer_to(&query));
            // Nodes of other tests may be on the broker, too.
            assert!(mine.count() >= 2, "{query:?}: {answers:?}");
            let asked = Seen::Surveyed(app.clone(), query);
            let was_asked = |node: usize| bench.nodes[node].sink.seen().contains(&asked);
            assert_eq!([was_asked(0), was_asked(1), was_asked(2)], [false, true, true]);
        }
        bench.kill(2);
        let answers = bench.nodes[0].engine.survey(&app, Query::Stats).wait().await.expect("asked");
        assert!(!answers.is_empty());
    }

    /// Two nodes claim the same names at once: one gets each.
    a_name_is_claimed_on_one_node(make) {
        let bench = Bench::new(make, 2);
        let names: Vec<_> = (0..20).map(|n| format!("{}:{n}", bench.channel)).collect();
        let claims: Vec<_> = bench
            .nodes
            .iter()
            .map(|node| {
                let (engine, names) = (node.engine.clone(), names.clone());
                thread::spawn(move || {
                    let claim = |name: &String| block_on(engine.claim(name, Duration::from_secs(60)).wait()).unwrap();
                    names.iter().map(claim).collect::<Vec<bool>>()
                })
            })
            .collect();
        let granted: Vec<Vec<bool>> = claims.into_iter().map(|claims| claims.join().unwrap()).collect();
        for (n, name) in names.iter().enumerate() {
            assert!(granted[0][n] != granted[1][n], "{name}: {granted:?}");
        }
        let short = format!("{} short", bench.channel);
        assert!(bench.nodes[0].engine.claim(&short, Duration::from_millis(300)).wait().await.unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !bench.nodes[1].engine.claim(&short, Duration::from_secs(60)).wait().await.unwrap() {
            assert!(Instant::now() < deadline, "a claim is over after its ttl");
        }
    }

    /// Notes are seen everywhere, by nodes that start later, too; of all who take them, one gets each; they expire.
    notes_are_for_the_whole_cluster(make) {
        let mut bench = Bench::new(make, 2);
        let prefix = format!("{}/", bench.channel);
        let hour = Duration::from_secs(3600);
        let expected: BTreeMap<String, Bytes> =
            (0..30).map(|n| (format!("{prefix}{n:02}"), Bytes::from(format!("value {n}")))).collect();
        for (name, value) in &expected {
            bench.nodes[0].engine.note(name, value.clone(), hour).wait().await.expect("kept");
        }
        bench.add(make());
        for node in &bench.nodes {
            let found = node.engine.notes(&prefix, false).wait().await.expect("found");
            assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>());
        }
        let takers: Vec<_> = bench
            .nodes
            .iter()
            .map(|node| {
                let (engine, prefix) = (node.engine.clone(), prefix.clone());
                thread::spawn(move || block_on(engine.notes(&prefix, true).wait()).expect("taken"))
            })
            .collect();
        let mut taken: Vec<_> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        taken.sort();
        assert_eq!(taken, expected.into_iter().collect::<Vec<_>>());
        let short = format!("{prefix}short");
        bench.nodes[0].engine.note(&short, Bytes::from_static(b"x"), Duration::from_millis(300)).wait().await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !bench.nodes[1].engine.notes(&short, false).wait().await.expect("found").is_empty() {
            assert!(Instant::now() < deadline, "a note is gone after its ttl");
        }
    }

    /// Every node sees the same events in the same order, and exactly one node calls each its own.
    presence_is_one_set(make) {
        let bench = Bench::new(make, 3);
        bench.want(0, true).await;
        bench.want(1, true).await;
        // The third node is not interested, and still gets the events of its own doing.
        bench.enter(0, "ann", "a0").await;
        bench.enter(1, "ann", "a1").await;
        bench.enter(2, "bob", "b2").await;
        bench.change(0, PresenceChange::Enter(entry("ann", "a0", "{\"n\":2}"))).await;
        let present = bench.present(2).await;
        assert_eq!(
            without_revisions(&present),
            [entry("ann", "a0", "{\"n\":2}"), entry("ann", "a1", "{}"), entry("bob", "b2", "{}")]
        );
        bench.leave(0, "a0").await;
        bench.leave(1, "a1").await;
        bench.leave(2, "b2").await;
        let here = bench.events(0, 7).await;
        let there = bench.events(1, 7).await;
        let third = bench.events(2, 2).await;
        assert_eq!(told(&here), told(&there));
        assert!(here.iter().map(|event| event.version).is_sorted_by(|a, b| a < b), "{here:?}");
        let ours = |events: &[PresenceEvent]| events.iter().map(|event| event.ours).collect::<Vec<_>>();
        assert_eq!(ours(&here), [true, false, false, true, true, false, false]);
        assert_eq!(ours(&there), [false, true, false, false, false, true, false]);
        assert_eq!(third, [
            PresenceEvent { ours: true, ..here[2].clone() },
            PresenceEvent { ours: true, ..here[6].clone() },
        ]);
        let (ann, bob) = (UserId::from("ann"), UserId::from("bob"));
        let users = |event: &PresenceEvent| (event.diff.users_in.clone(), event.diff.users_out.clone());
        assert_eq!(here.iter().map(users).collect::<Vec<_>>(), [
            (vec![ann.clone()], vec![]),
            (vec![], vec![]),
            (vec![bob.clone()], vec![]),
            (vec![], vec![]),
            (vec![], vec![]),
            (vec![], vec![ann]),
            (vec![], vec![bob]),
        ]);
        assert_eq!(here[3].diff.replaced, here[0].diff.joins);
        assert_eq!(present[0], here[3].diff.joins[0], "with its revision");
    }

    /// The grace of a lost connection counts on every node.
    a_user_who_returns_on_another_node_never_left(make) {
        let bench = Bench::interested(make, 2).await;
        bench.enter(0, "ann", "a0").await;
        bench.linger(0, "a0", unix_ms() + 60_000).await;
        bench.enter(1, "ann", "a1").await;
        assert_eq!(without_revisions(&bench.present(0).await), [entry("ann", "a1", "{}")]);
        bench.leave(1, "a1").await;
        for node in 0..2 {
            let events = bench.events(node, 2).await;
            assert_eq!(names(&events[0].diff.joins), ["a0"]);
            let mut left = names(&events[1].diff.leaves);
            left.sort_unstable();
            assert_eq!(left, ["a0", "a1"]);
        }
    }

    /// When the time of grace is over, one node notices.
    who_lingers_leaves_once(make) {
        let bench = Bench::interested(make, 3).await;
        bench.enter(0, "ann", "a0").await;
        bench.linger(0, "a0", unix_ms() + 500).await;
        let mut ours = 0;
        for node in 0..3 {
            let events = bench.events(node, 2).await;
            assert_eq!(names(&events[1].diff.leaves), ["a0"]);
            assert_eq!(events[1].diff.users_out, [UserId::from("ann")]);
            ours += usize::from(events[1].ours);
        }
        assert_eq!(ours, 1);
        assert_eq!(bench.present(1).await, []);
    }

    /// A node dies without a word: its entries leave soon, those of others stay; one survivor calls each leave its own.
    a_killed_node_leaves_no_entries(make) {
        let mut bench = Bench::interested(make, 3).await;
        bench.enter(0, "ann", "a0").await;
        bench.enter(2, "ann", "a2").await;
        bench.enter(2, "bob", "b2").await;
        bench.kill(2);
        let begin = Instant::now();
        let leaves = |events: &[PresenceEvent]| {
            let leaves = events.iter().flat_map(|event| &event.diff.leaves);
            let mut leaves: Vec<String> = leaves.map(|entry| entry.connection.to_string()).collect();
            leaves.sort_unstable();
            leaves
        };
        let mut ours = [0, 0];
        for (node, ours) in ours.iter_mut().enumerate() {
            let of_channel = |seen: &Seen| match seen {
                Seen::Presence(event) if event.channel == bench.channel => event.diff.leaves.len(),
                _ => 0,
            };
            let sink = &bench.nodes[node].sink;
            let two = |seen: &[Seen]| seen.iter().map(of_channel).sum::<usize>() >= 2;
            sink.wait_for(GONE_WITHIN, "the dead node's entries to leave", two).await;
            let events = sink.presence(bench.channel.as_str());
            assert_eq!(leaves(&events), ["a2", "b2"]);
            let users_out: Vec<_> = events.iter().flat_map(|event| event.diff.users_out.clone()).collect();
            assert_eq!(users_out, [UserId::from("bob")], "another connection of ann is there");
            *ours = events.iter().filter(|event| event.ours).flat_map(|event| &event.diff.leaves).count();
        }
        assert!(begin.elapsed() < GONE_WITHIN, "{:?}", begin.elapsed());
        assert_eq!(ours[0] + ours[1], 2, "{ours:?}");
        assert_eq!(without_revisions(&bench.present(1).await), [entry("ann", "a0", "{}")]);
    }

    /// A survivor takes over what lingers: it can still be taken over by a returning user, and leaves when it is due.
    who_lingers_on_a_killed_node_stays_for_its_time(make) {
        let mut bench = Bench::interested(make, 2).await;
        bench.enter(1, "ann", "a1").await;
        bench.enter(1, "bob", "b1").await;
        bench.enter(1, "cid", "c1").await;
        bench.linger(1, "a1", unix_ms() + 120_000).await;
        let due = unix_ms() + 10_000;
        bench.linger(1, "b1", due).await;
        bench.kill(1);
        // The one that does not linger goes first: the survivor has noticed.
        let sink = &bench.nodes[0].sink;
        let left = |seen: &[Seen], connection: &str| {
            let is_left = |seen: &Seen| match seen {
                Seen::Presence(event) => names(&event.diff.leaves).contains(&connection),
                _ => false,
            };
            seen.iter().any(is_left)
        };
        sink.wait_for(GONE_WITHIN, "the dead node's entry to leave", |seen| left(seen, "c1")).await;
        sink.wait_for(GONE_WITHIN, "the time of grace to end", |seen| left(seen, "b1")).await;
        assert!(unix_ms() >= due);
        bench.enter(0, "ann", "a0").await;
        assert_eq!(without_revisions(&bench.present(0).await), [entry("ann", "a0", "{}")]);
        assert!(!left(&bench.nodes[0].sink.seen(), "a1"), "she never left");
    }
}
