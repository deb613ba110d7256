//! What every engine must do, as one suite: the memory engine, Redis, NATS and Kafka pass it unchanged.
//!
//! Each case gets an engine of its own and channels that nobody used before, so that the cases can run against one
//! broker, side by side and again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use starling_core::{
    AppId, ChannelName, ConnectionId, Control, Engine, Epoch, HistoryPage, HistoryPolicy, HistoryRange, Message,
    MessageId, NodeId, Payload, Position, PresenceChange, PresenceEntry, PresenceEvent, Publication, Published,
    RawJson, Target, UserId,
};

use crate::{RecordingSink, Seen, block_on};

/// Makes one test of each case: `engine_suite!(make_engine)`, where `make_engine()` is an `Arc<dyn Engine>` to which no
/// sink is attached. With `engine_suite!(make_engine, block_on)` the cases, and `make_engine`, run on the runtime of
/// `block_on`, a function or closure that takes a future.
#[macro_export]
macro_rules! engine_suite {
    ($make:expr) => {
        $crate::engine_suite!($make, $crate::block_on);
    };
    ($make:expr, $block_on:expr) => {
        $crate::engine_suite! { @cases $make, $block_on;
            offsets_count_from_one_in_one_epoch,
            without_history_there_is_no_position,
            interest_brings_messages_in_order,
            a_message_keeps_all_its_fields,
            a_second_message_id_gets_the_first_answer_and_is_not_delivered,
            message_ids_are_remembered_without_history,
            message_ids_are_of_one_channel,
            history_ranges,
            history_is_bounded_by_its_size,
            history_forgets_what_is_older_than_its_ttl,
            history_of_an_unused_channel_has_a_head,
            clearing_history_starts_an_epoch_and_tells_the_nodes,
            presence_versions_and_snapshots_agree,
            presence_updates_replace_the_entry,
            leaving_twice_is_one_leave,
            concurrent_publishers_make_no_holes,
            messages_keep_the_order_of_their_calls,
            controls_reach_the_sink,
            apps_are_apart,
            first_and_last_connections_of_a_user_are_told,
            an_update_tells_what_it_replaces,
            a_user_who_returns_in_time_never_left,
            who_does_not_return_in_time_leaves,
            a_name_is_claimed_once,
            notes_are_found_and_taken,
            who_is_not_there_cannot_be_asked,
        }
    };
    (@cases $make:expr, $block_on:expr; $($case:ident,)*) => {
        $(#[test]
        fn $case() {
            ($block_on)(async { $crate::engine_suite::$case(($make)()).await });
        })*
    };
}

struct Bench {
    engine: Arc<dyn Engine>,
    sink: Arc<RecordingSink>,
    app: AppId,
    channel: ChannelName,
    now: u64,
}

pub(crate) const POLICY: HistoryPolicy = HistoryPolicy { size: 1000, ttl: Duration::from_secs(3600) };

pub(crate) const NEWEST: HistoryRange = HistoryRange { limit: 1000, before: None, after: None };

pub(crate) fn fresh(name: &str) -> ChannelName {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    ChannelName::parse(&format!("suite:{name}:{}:{nanos}:{count}", std::process::id())).unwrap()
}

impl Bench {
    /// An engine with a sink, and a channel that the node is interested in.
    async fn new(engine: Arc<dyn Engine>) -> Self {
        let sink = RecordingSink::new();
        engine.attach(sink.clone());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let bench = Self { engine, sink, app: AppId::from("1"), channel: fresh("channel"), now };
        bench.want(&bench.channel).await;
        bench
    }

    async fn want(&self, channel: &ChannelName) {
        self.engine.interest(&self.app, channel, true).wait().await.expect("interest is taken");
    }

    fn message(&self, channel: &ChannelName, id: &str) -> Message {
        Message {
            app: self.app.clone(),
            channel: channel.clone(),
            id: MessageId::from(id),
            event: "message".into(),
            payload: Payload::Json(RawJson::of(id).unwrap()),
            user: None,
            ts: self.now,
            position: None,
            key: None,
            exclude: None,
        }
    }

    async fn send(&self, message: Message, history: Option<HistoryPolicy>) -> Published {
        let publication = Publication { message, history, deduplicate: false };
        self.engine.publish(publication).wait().await.expect("published")
    }

    async fn send_once(&self, message: Message, history: Option<HistoryPolicy>) -> Published {
        let publication = Publication { message, history, deduplicate: true };
        self.engine.publish(publication).wait().await.expect("published")
    }

    async fn publish(&self, id: &str) -> Position {
        self.send(self.message(&self.channel, id), Some(POLICY)).await.position.expect("history gives a position")
    }

    async fn publish_many(&self, count: u64) -> Epoch {
        let mut epoch = None;
        for n in 1..=count {
            epoch = Some(self.publish(&n.to_string()).await.epoch);
        }
        epoch.unwrap()
    }

    async fn page(&self, policy: HistoryPolicy, range: HistoryRange, now: u64) -> HistoryPage {
        self.engine.history(&self.app, &self.channel, policy, range, now).wait().await.expect("history is read")
    }

    async fn enter(&self, connection: &str, data: &str) {
        let entry = entry(connection, data);
        self.engine.presence(&self.app, &self.channel, PresenceChange::Enter(entry)).wait().await.expect("entered");
    }

    async fn leave(&self, connection: &str) {
        let change = PresenceChange::Leave(ConnectionId::from(connection));
        self.engine.presence(&self.app, &self.channel, change).wait().await.expect("left");
    }

    async fn present(&self) -> (Vec<PresenceEntry>, u64) {
        let snapshot = self.engine.members(&self.app, &self.channel).wait().await;
        let mut snapshot = snapshot.expect("members are listed");
        snapshot.members.sort_by(|a, b| a.connection.cmp(&b.connection));
        (without_revisions(&snapshot.members), snapshot.version)
    }

    async fn change(&self, change: PresenceChange) {
        self.engine.presence(&self.app, &self.channel, change).wait().await.expect("presence is changed");
    }

    async fn linger(&self, connection: &str, until: u64) {
        self.change(PresenceChange::Linger { connection: ConnectionId::from(connection), until }).await;
    }

    /// Lets the engine's time pass, as the server does, until `count` presence events were delivered.
    async fn sweep_until_presence(&self, count: usize) -> Vec<PresenceEvent> {
        let sweeper = Sweeper::start(vec![self.engine.clone()]);
        let events = self.sink.wait_for_presence(self.channel.as_str(), count).await;
        drop(sweeper);
        events
    }
}

/// The present time in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Lets the time of engines pass, as a server does, until it is dropped.
pub(crate) struct Sweeper(Option<thread::JoinHandle<()>>, Arc<AtomicBool>);

impl Sweeper {
    pub fn start(engines: Vec<Arc<dyn Engine>>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                engines.iter().for_each(|engine| engine.sweep(unix_ms()));
                thread::park_timeout(Duration::from_millis(50));
            }
        });
        Self(Some(thread), over)
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        if let Some(thread) = self.0.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

pub(crate) fn without_revisions(entries: &[PresenceEntry]) -> Vec<PresenceEntry> {
    entries.iter().map(|entry| PresenceEntry { revision: 0, ..entry.clone() }).collect()
}

pub(crate) fn names(entries: &[PresenceEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.connection.as_str()).collect()
}

pub(crate) fn entry(connection: &str, data: &str) -> PresenceEntry {
    PresenceEntry {
        user: Some(UserId::from("ann")),
        connection: ConnectionId::from(connection),
        data: RawJson::parse(data).unwrap(),
        revision: 0,
    }
}

pub(crate) fn offsets(messages: &[Arc<Message>]) -> Vec<u64> {
    messages.iter().map(|message| message.position.as_ref().map_or(0, |p| p.offset)).collect()
}

pub(crate) fn ids(messages: &[Arc<Message>]) -> Vec<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}

macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident($bench:ident) $body:block)*) => {$(
        $(#[$doc])*
        pub async fn $name(engine: Arc<dyn Engine>) {
            let $bench = Bench::new(engine).await;
            $body
        }
    )*};
}

cases! {
    /// Publishing assigns 1, 2, 3, … and the epoch stays.
    offsets_count_from_one_in_one_epoch(bench) {
        let first = bench.publish("a").await;
        assert_eq!(first.offset, 1);
        for offset in 2..=5 {
            let position = bench.publish(&offset.to_string()).await;
            assert_eq!((position.offset, &position.epoch), (offset, &first.epoch));
        }
    }

    /// A channel without history gives no positions, and still delivers.
    without_history_there_is_no_position(bench) {
        let published = bench.send(bench.message(&bench.channel, "a"), None).await;
        assert_eq!((published.id.as_str(), published.position), ("a", None));
        let messages = bench.sink.wait_for_messages(bench.channel.as_str(), 1).await;
        assert_eq!((messages[0].id.as_str(), &messages[0].position), ("a", &None));
    }

    /// What is published after a wish was answered arrives, in order.
    interest_brings_messages_in_order(bench) {
        bench.publish_many(50).await;
        let messages = bench.sink.wait_for_messages(bench.channel.as_str(), 50).await;
        assert_eq!(offsets(&messages), (1..=50).collect::<Vec<_>>());
    }

    /// Delivered and kept messages are what was published.
    a_message_keeps_all_its_fields(bench) {
        let mut message = bench.message(&bench.channel, "full");
        message.event = "événement".into();
        message.payload = Payload::Binary(vec![0, 255, 7].into());
        message.user = Some(UserId::from("ann"));
        message.key = Some("k".into());
        message.exclude = Some(ConnectionId::from("c1"));
        message.position = bench.send(message.clone(), Some(POLICY)).await.position;
        let delivered = bench.sink.wait_for_messages(bench.channel.as_str(), 1).await;
        assert_eq!(*delivered[0], message);
        assert_eq!(*bench.page(POLICY, NEWEST, bench.now).await.messages[0], message);
        message = bench.message(&bench.channel, "number");
        message.payload = Payload::Json(RawJson::parse("[12345678901234567890.10,{\"b\":1,\"a\":2}]").unwrap());
        message.position = bench.send(message.clone(), Some(POLICY)).await.position;
        let delivered = bench.sink.wait_for_messages(bench.channel.as_str(), 2).await;
        assert_eq!(*delivered[1], message, "JSON passes through byte by byte");
    }

    /// The same message id: the same answer, one delivery, one place in the log.
    a_second_message_id_gets_the_first_answer_and_is_not_delivered(bench) {
        let first = bench.send_once(bench.message(&bench.channel, "mine"), Some(POLICY)).await;
        bench.publish("other").await;
        let second = bench.send_once(bench.message(&bench.channel, "mine"), Some(POLICY)).await;
        assert_eq!(first, second);
        bench.publish("last").await;
        let delivered = bench.sink.wait_for_messages(bench.channel.as_str(), 3).await;
        assert_eq!(ids(&delivered), ["mine", "other", "last"]);
        assert_eq!(ids(&bench.page(POLICY, NEWEST, bench.now).await.messages), ["mine", "other", "last"]);
    }

    /// De-duplication does not need a log.
    message_ids_are_remembered_without_history(bench) {
        let first = bench.send_once(bench.message(&bench.channel, "mine"), None).await;
        let second = bench.send_once(bench.message(&bench.channel, "mine"), None).await;
        assert_eq!(first, second);
        bench.send(bench.message(&bench.channel, "last"), None).await;
        let delivered = bench.sink.wait_for_messages(bench.channel.as_str(), 2).await;
        assert_eq!(ids(&delivered), ["mine", "last"]);
    }

    /// The same id in another channel is another message.
    message_ids_are_of_one_channel(bench) {
        let other = fresh("other");
        bench.want(&other).await;
        bench.send_once(bench.message(&bench.channel, "mine"), Some(POLICY)).await;
        bench.send_once(bench.message(&other, "mine"), Some(POLICY)).await;
        bench.sink.wait_for_messages(other.as_str(), 1).await;
        bench.sink.wait_for_messages(bench.channel.as_str(), 1).await;
    }

    /// Every combination of limit, before and after.
    history_ranges(bench) {
        let epoch = bench.publish_many(10).await;
        for (limit, before, after, expected) in [
            (100, None, None, (1..=10).collect::<Vec<u64>>()),
            (3, None, None, vec![8, 9, 10]),
            (0, None, None, vec![]),
            (100, Some(4), None, vec![1, 2, 3]),
            (2, Some(4), None, vec![2, 3]),
            (100, Some(1), None, vec![]),
            (100, Some(0), None, vec![]),
            (2, Some(999), None, vec![9, 10]),
            (100, None, Some(7), vec![8, 9, 10]),
            (2, None, Some(7), vec![8, 9]),
            (100, None, Some(0), (1..=10).collect()),
            (100, None, Some(10), vec![]),
            (100, None, Some(999), vec![]),
            (100, None, Some(u64::MAX), vec![]),
            (100, Some(6), Some(3), vec![4, 5]),
            (1, Some(6), Some(3), vec![4]),
            (100, Some(3), Some(6), vec![]),
        ] {
            let range = HistoryRange { limit, before, after };
            let page = bench.page(POLICY, range, bench.now).await;
            assert_eq!(offsets(&page.messages), expected, "{range:?}");
            assert_eq!((&page.head.epoch, page.head.offset, page.oldest), (&epoch, 10, 1), "{range:?}");
        }
    }

    /// The newest `size` messages stay, and `oldest` tells.
    history_is_bounded_by_its_size(bench) {
        let policy = HistoryPolicy { size: 3, ..POLICY };
        for n in 1..=8 {
            bench.send(bench.message(&bench.channel, &n.to_string()), Some(policy)).await;
        }
        let page = bench.page(policy, NEWEST, bench.now).await;
        assert_eq!((offsets(&page.messages), page.oldest, page.head.offset), (vec![6, 7, 8], 6, 8));
        let page = bench.page(policy, HistoryRange { after: Some(1), ..NEWEST }, bench.now).await;
        assert_eq!(offsets(&page.messages), [6, 7, 8], "what is left of what comes after 1");
    }

    /// Messages expire one by one; the head stays.
    history_forgets_what_is_older_than_its_ttl(bench) {
        let policy = HistoryPolicy { ttl: Duration::from_secs(60), ..POLICY };
        for (n, age) in [(1, 0), (2, 20_000), (3, 40_000)] {
            let mut message = bench.message(&bench.channel, &n.to_string());
            message.ts += age;
            bench.send(message, Some(policy)).await;
        }
        let epoch = bench.page(policy, NEWEST, bench.now + 59_000).await.head.epoch;
        for (after, expected, oldest) in [
            (59_000, vec![1, 2, 3], 1),
            (61_000, vec![2, 3], 2),
            (81_000, vec![3], 3),
            (101_000, vec![], 4),
        ] {
            let page = bench.page(policy, NEWEST, bench.now + after).await;
            assert_eq!((offsets(&page.messages), page.oldest), (expected, oldest), "after {after} ms");
            assert_eq!((&page.head.epoch, page.head.offset), (&epoch, 3), "after {after} ms");
        }
    }

    /// Reading creates the log, and the first message is in the same epoch.
    history_of_an_unused_channel_has_a_head(bench) {
        let page = bench.page(POLICY, NEWEST, bench.now).await;
        assert_eq!((page.messages.len(), page.head.offset, page.oldest), (0, 0, 1));
        let position = bench.publish("a").await;
        assert_eq!((position.epoch, position.offset), (page.head.epoch, 1));
    }

    /// Another epoch, an empty log, and every node is told before the first new message.
    clearing_history_starts_an_epoch_and_tells_the_nodes(bench) {
        let before = bench.publish_many(3).await;
        let head = bench.engine.clear_history(&bench.app, &bench.channel).wait().await.expect("cleared");
        assert_ne!(head.epoch, before);
        assert_eq!(head.offset, 0);
        let page = bench.page(POLICY, NEWEST, bench.now).await;
        assert_eq!((page.messages.len(), &page.head, page.oldest), (0, &head, 1));
        let position = bench.publish("new").await;
        assert_eq!((&position.epoch, position.offset), (&head.epoch, 1));
        bench.sink.wait_for_messages(bench.channel.as_str(), 4).await;
        let told = Seen::Control(
            bench.app.clone(),
            Control::HistoryCleared { channel: bench.channel.clone(), head },
        );
        bench.sink.wait_until("the control", |seen| seen.contains(&told)).await;
        let seen = bench.sink.seen();
        let at = |wanted: &dyn Fn(&Seen) -> bool| seen.iter().position(wanted).unwrap();
        let control = at(&|seen| *seen == told);
        let new = at(&|seen| matches!(seen, Seen::Message(message) if message.id.as_str() == "new"));
        assert!(control < new, "members learn of the new log first");
    }

    /// Versions grow, and a snapshot is exactly the events up to its version.
    presence_versions_and_snapshots_agree(bench) {
        let (members, empty) = bench.present().await;
        assert_eq!(members, []);
        bench.enter("c1", "{}").await;
        bench.enter("c2", "{\"n\":2}").await;
        bench.enter("c3", "{}").await;
        bench.leave("c1").await;
        let (members, version) = bench.present().await;
        assert_eq!(members, [entry("c2", "{\"n\":2}"), entry("c3", "{}")]);
        bench.leave("c2").await;
        bench.leave("c3").await;
        let (members, last) = bench.present().await;
        assert_eq!(members, []);
        let events = bench.sink.wait_for_presence(bench.channel.as_str(), 6).await;
        let versions: Vec<u64> = events.iter().map(|event| event.version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert!(empty < versions[0], "an empty set is older than what follows: {empty}, {versions:?}");
        assert!((versions[3]..versions[4]).contains(&version), "{version} among {versions:?}");
        assert!(last >= versions[5], "{last} after {versions:?}");
        let told = |event: &PresenceEvent| {
            let names = |entries: &[PresenceEntry], sign: char| -> String {
                entries.iter().map(|entry| format!("{sign}{}", entry.connection)).collect()
            };
            names(&event.diff.joins, '+') + &names(&event.diff.leaves, '-')
        };
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["+c1", "+c2", "+c3", "-c1", "-c2", "-c3"]);
    }

    /// Entering again replaces the data, and is told as a join.
    presence_updates_replace_the_entry(bench) {
        bench.enter("c1", "{\"n\":1}").await;
        bench.enter("c1", "{\"n\":2}").await;
        assert_eq!(bench.present().await.0, [entry("c1", "{\"n\":2}")]);
        let events = bench.sink.wait_for_presence(bench.channel.as_str(), 2).await;
        assert_eq!(without_revisions(&events[1].diff.joins), [entry("c1", "{\"n\":2}")]);
    }

    /// Somebody who is not there cannot leave; the entry that left is told as it last was.
    leaving_twice_is_one_leave(bench) {
        bench.leave("c1").await;
        bench.enter("c1", "{\"n\":1}").await;
        bench.leave("c1").await;
        bench.leave("c1").await;
        bench.enter("c2", "{}").await;
        let events = bench.sink.wait_for_presence(bench.channel.as_str(), 3).await;
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(without_revisions(&events[1].diff.leaves), [entry("c1", "{\"n\":1}")]);
        assert_eq!(without_revisions(&events[2].diff.joins), [entry("c2", "{}")]);
    }

    /// Four threads publish at once: the sink sees every offset once and in order, and each publisher's own order.
    concurrent_publishers_make_no_holes(bench) {
        const EACH: u64 = 100;
        let publishers: Vec<_> = (0..4)
            .map(|publisher| {
                let engine = bench.engine.clone();
                let messages: Vec<Message> = (0..EACH)
                    .map(|n| bench.message(&bench.channel, &format!("{publisher}-{n:03}")))
                    .collect();
                thread::spawn(move || {
                    for message in messages {
                        let publication = Publication { message, history: Some(POLICY), deduplicate: false };
                        block_on(engine.publish(publication).wait()).expect("published");
                    }
                })
            })
            .collect();
        let delivered = bench.sink.wait_for_messages(bench.channel.as_str(), 4 * EACH as usize).await;
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert_eq!(offsets(&delivered), (1..=4 * EACH).collect::<Vec<_>>());
        for publisher in 0..4 {
            let own = |id: &&str| id.starts_with(&format!("{publisher}-"));
            let own: Vec<&str> = ids(&delivered).into_iter().filter(own).collect();
            assert!(own.is_sorted(), "publisher {publisher}: {own:?}");
        }
    }

    /// Who does not wait for one answer before the next call has its order all the same, with a log and without one,
    /// also where ids are remembered.
    messages_keep_the_order_of_their_calls(bench) {
        const COUNT: usize = 300;
        for (channel, history) in [(bench.channel.clone(), Some(POLICY)), (fresh("passing"), None)] {
            let publish = |n: usize| {
                let message = bench.message(&channel, &format!("{n:03}"));
                bench.engine.publish(Publication { message, history, deduplicate: n.is_multiple_of(3) })
            };
            bench.want(&channel).await;
            let answers: Vec<_> = (0..COUNT).map(publish).collect();
            for (answer, n) in answers.into_iter().zip(1..) {
                let offset = answer.wait().await.expect("published").position.map(|position| position.offset);
                assert_eq!(offset, history.map(|_| n));
            }
            let delivered = bench.sink.wait_for_messages(channel.as_str(), COUNT).await;
            assert!(ids(&delivered).is_sorted(), "{:?}", ids(&delivered));
        }
    }

    /// Every control comes back to the node that sent it, unchanged.
    controls_reach_the_sink(bench) {
        let user = UserId::from("ann");
        let channel = bench.channel.clone();
        for control in [
            Control::Disconnect { target: Target::User(user.clone()) },
            Control::Disconnect { target: Target::Connection(ConnectionId::from("c1")) },
            Control::Revoke { user: user.clone(), before: 1_700_000_000 },
            Control::Subscribe { target: Target::User(user.clone()), channel: channel.clone() },
            Control::Unsubscribe { target: Target::User(user), channel },
        ] {
            bench.engine.control(&bench.app, control.clone()).wait().await.expect("sent");
            let told = Seen::Control(bench.app.clone(), control);
            bench.sink.wait_until("the control", |seen| seen.contains(&told)).await;
        }
    }

    /// A channel of the same name in another app is another channel.
    apps_are_apart(bench) {
        bench.publish_many(3).await;
        bench.enter("c1", "{}").await;
        let other = AppId::from("2");
        let page = bench.engine.history(&other, &bench.channel, POLICY, NEWEST, bench.now).wait().await.unwrap();
        assert_eq!((page.messages.len(), page.head.offset), (0, 0));
        let snapshot = bench.engine.members(&other, &bench.channel).wait().await.unwrap();
        assert_eq!(snapshot.members, []);
        bench.engine.interest(&bench.app, &bench.channel, false).wait().await.expect("the wish is taken back");
    }

    /// A user is in with the first connection and out with the last; the asker is told that the change is its own.
    first_and_last_connections_of_a_user_are_told(bench) {
        let anonymous = PresenceEntry { user: None, ..entry("c3", "{}") };
        bench.enter("c1", "{}").await;
        bench.enter("c2", "{}").await;
        bench.change(PresenceChange::Enter(anonymous)).await;
        bench.leave("c1").await;
        bench.leave("c3").await;
        bench.leave("c2").await;
        let events = bench.sink.wait_for_presence(bench.channel.as_str(), 6).await;
        let ann = vec![UserId::from("ann")];
        let told = |event: &PresenceEvent| (event.diff.users_in.clone(), event.diff.users_out.clone());
        let nobody = || (vec![], vec![]);
        assert_eq!(
            events.iter().map(told).collect::<Vec<_>>(),
            [(ann.clone(), vec![]), nobody(), nobody(), nobody(), nobody(), (vec![], ann)]
        );
        assert!(events.iter().all(|event| event.ours), "{events:?}");
    }

    /// An update carries the entry as it was, and its own revision is the version of the event.
    an_update_tells_what_it_replaces(bench) {
        bench.enter("c1", "{\"n\":1}").await;
        bench.enter("c1", "{\"n\":2}").await;
        let bob = PresenceEntry { user: Some(UserId::from("bob")), ..entry("c1", "{\"n\":2}") };
        bench.change(PresenceChange::Enter(bob)).await;
        let events = bench.sink.wait_for_presence(bench.channel.as_str(), 3).await;
        let [first, second, third] = &events[..] else { panic!("{events:?}") };
        for event in &events {
            assert_eq!(event.diff.joins[0].revision, event.version);
        }
        assert_eq!(first.diff.replaced, []);
        assert_eq!(second.diff.replaced, first.diff.joins);
        assert_eq!((&second.diff.users_in[..], &second.diff.users_out[..]), (&[][..], &[][..]));
        assert_eq!(third.diff.replaced, second.diff.joins);
        let users = (&third.diff.users_in[..], &third.diff.users_out[..]);
        assert_eq!(users, (&[UserId::from("bob")][..], &[UserId::from("ann")][..]), "the connection is another user's");
        let snapshot = bench.engine.members(&bench.app, &bench.channel).wait().await.unwrap();
        assert_eq!(snapshot.members, third.diff.joins);
    }

    /// A lost connection whose user enters again with the same data: nobody is told; both names leave together.
    a_user_who_returns_in_time_never_left(bench) {
        bench.enter("c1", "{}").await;
        bench.linger("c1", unix_ms() + 60_000).await;
        bench.enter("c2", "{}").await;
        assert_eq!(bench.present().await.0, [entry("c2", "{}")]);
        bench.leave("c2").await;
        bench.enter("c3", "{\"n\":1}").await;
        bench.linger("c3", unix_ms() + 60_000).await;
        bench.enter("c4", "{\"n\":2}").await;
        let events = bench.sink.wait_for_presence(bench.channel.as_str(), 4).await;
        assert_eq!(names(&events[0].diff.joins), ["c1"]);
        let mut left = names(&events[1].diff.leaves);
        left.sort_unstable();
        assert_eq!(left, ["c1", "c2"], "under every name under which somebody may know it");
        assert_eq!(events[1].diff.users_out, [UserId::from("ann")]);
        assert_eq!(names(&events[2].diff.joins), ["c3"]);
        let diff = &events[3].diff;
        assert_eq!((names(&diff.joins), names(&diff.leaves)), (vec!["c4"], vec!["c3"]), "other data is told");
        assert_eq!((&diff.users_in[..], &diff.users_out[..]), (&[][..], &[][..]), "the user was there all the time");
    }

    /// A lost connection whose user does not come back leaves by itself when the time is over, and not before.
    who_does_not_return_in_time_leaves(bench) {
        bench.enter("c1", "{}").await;
        let until = unix_ms() + 700;
        bench.linger("c1", until).await;
        let events = bench.sweep_until_presence(2).await;
        assert!(unix_ms() >= until, "it left too early");
        assert_eq!(names(&events[1].diff.leaves), ["c1"]);
        assert!(events[1].ours, "{events:?}");
        assert_eq!(bench.present().await.0, []);
    }

    /// Of several claims of one name, one is granted; when its time is over it can be claimed again.
    a_name_is_claimed_once(bench) {
        let name = fresh("claim");
        let claim = |name: String, ttl: Duration| {
            let claim = bench.engine.claim(&name, ttl);
            async { claim.wait().await.expect("claimed or not") }
        };
        assert!(claim(name.to_string(), Duration::from_secs(60)).await);
        assert!(!claim(name.to_string(), Duration::from_secs(60)).await);
        assert!(claim(format!("{name} other"), Duration::from_secs(60)).await);
    }

    /// Notes have names and values; a later one takes the place of an earlier; whoever takes them has them alone.
    notes_are_found_and_taken(bench) {
        let prefix = format!("{}/", fresh("notes"));
        let keep = |name: &str, value: &[u8]| {
            let note = bench.engine.note(&format!("{prefix}{name}"), Bytes::copy_from_slice(value), POLICY.ttl);
            async { note.wait().await.expect("kept") }
        };
        let found = |take: bool| {
            let notes = bench.engine.notes(&prefix, take);
            async { notes.wait().await.expect("found") }
        };
        assert_eq!(found(false).await, []);
        keep("b", b"old").await;
        keep("b", &[0, 255]).await;
        keep("a", b"").await;
        let large = vec![7; 64 << 10];
        keep("c", &large).await;
        let all = [("a", &b""[..]), ("b", &[0, 255]), ("c", &large)];
        let all = all.map(|(name, value)| (format!("{prefix}{name}"), Bytes::copy_from_slice(value)));
        assert!(found(false).await == all);
        assert!(found(true).await == all);
        assert_eq!(found(true).await, []);
    }

    /// A question to a node that does not exist fails soon, and a survey of nobody has no answers.
    who_is_not_there_cannot_be_asked(bench) {
        let nobody = NodeId::from("n0body");
        assert_ne!(*bench.engine.node(), nobody);
        let reply = bench.engine.relay(&nobody, Bytes::from_static(b"?"), Duration::from_secs(2)).wait().await;
        assert!(reply.is_err(), "{reply:?}");
    }
}
