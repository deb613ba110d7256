//! Logs that share a stream, records of many messages, and channels that are heard by groups.

mod server;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_core::{
    AppId, ChannelName, Engine, HistoryPage, HistoryPolicy, HistoryRange, Message, MessageId, Payload, Publication,
    Published, RawJson,
};
use starling_nats::{NatsEngine, NatsOptions};
use starling_testkit::{RecordingSink, block_on};
use tokio::runtime::Runtime;

struct Node {
    engine: Arc<NatsEngine>,
    sink: Arc<RecordingSink>,
    _runtime: Runtime,
}

fn node(options: NatsOptions) -> Node {
    let (engine, runtime) = server::node(options);
    let sink = RecordingSink::new();
    engine.attach(sink.clone());
    Node { engine, sink, _runtime: runtime }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn publication(name: &str, id: u64, history: Option<HistoryPolicy>) -> Publication {
    let message = Message {
        app: AppId::from("1"),
        channel: channel(name),
        id: MessageId::new(id.to_string()),
        event: "message".into(),
        payload: Payload::Json(RawJson::of(&id).unwrap()),
        user: None,
        ts: now(),
        position: None,
        key: None,
        exclude: None,
    };
    Publication { message, history, deduplicate: false }
}

impl Node {
    /// Publishes without waiting in between, so that records hold many messages.
    fn publish_burst(&self, name: &str, ids: std::ops::RangeInclusive<u64>, policy: HistoryPolicy) {
        let under_way: Vec<_> = ids.map(|id| self.engine.publish(publication(name, id, Some(policy)))).collect();
        for published in under_way {
            block_on(published.wait()).expect("published");
        }
    }

    fn page(&self, name: &str, policy: HistoryPolicy, range: HistoryRange) -> HistoryPage {
        let read = self.engine.history(&AppId::from("1"), &channel(name), policy, range, now());
        block_on(read.wait()).expect("read")
    }

    fn want(&self, name: &str) {
        block_on(self.engine.interest(&AppId::from("1"), &channel(name), true).wait()).expect("wanted");
    }

    fn publish(&self, name: &str, id: u64) -> Published {
        block_on(self.engine.publish(publication(name, id, None)).wait()).expect("published")
    }
}

fn offsets(page: &HistoryPage) -> Vec<u64> {
    page.messages.iter().map(|message| message.position.as_ref().unwrap().offset).collect()
}

#[test]
fn any_place_of_a_log_among_others_is_found() {
    if !server::is_installed() {
        return;
    }
    let broker = server::nats_server("");
    let node = node(server::options(&broker));
    let policy = HistoryPolicy { size: 700, ttl: Duration::from_secs(3600) };
    // Bursts of different lengths, with other channels in between: records of one and of many, far apart.
    let mut next = 1;
    for burst in [1, 90, 1, 1, 300, 7, 200, 1, 250, 3, 146] {
        node.publish_burst("room", next..=next + burst - 1, policy);
        node.publish_burst("noise", 1..=burst * 3, policy);
        next += burst;
    }
    assert_eq!(next, 1001);
    for after in [0, 1, 299, 300, 301, 302, 393, 394, 600, 851, 998, 999, 1000] {
        for limit in [1, 5, 1000] {
            let page = node.page("room", policy, HistoryRange { limit, before: None, after: Some(after) });
            let first = (after + 1).max(301);
            let expected: Vec<u64> = (first..=1000).take(limit).collect();
            assert_eq!(offsets(&page), expected, "{limit} after {after}");
            assert_eq!((page.oldest, page.head.offset), (301, 1000));
        }
    }
    for before in [302, 310, 555, 1000, 1001] {
        let page = node.page("room", policy, HistoryRange { limit: 20, before: Some(before), after: None });
        assert_eq!(offsets(&page), (before.saturating_sub(20).max(301)..before).collect::<Vec<_>>(), "before {before}");
    }
    let texts: Vec<String> = node
        .page("room", policy, HistoryRange { limit: 1000, before: None, after: None })
        .messages
        .iter()
        .map(|message| message.id.to_string())
        .collect();
    assert_eq!(texts, (301..=1000).map(|id| id.to_string()).collect::<Vec<_>>(), "each at its own offset");
}

#[test]
fn past_the_limit_channels_are_heard_by_groups_and_nothing_is_heard_twice_or_unasked() {
    if !server::is_installed() {
        return;
    }
    let broker = server::nats_server("");
    let mut options = server::options(&broker);
    options.max_subscriptions = 2;
    let node = node(options.clone());
    let names: Vec<String> = (0..3000).map(|n| format!("room:{n}")).collect();
    let wanted = &names[..40];
    wanted.iter().for_each(|name| node.want(name));
    // 3000 channels in 1024 groups: many share a group with one that is wanted.
    for (id, name) in names.iter().enumerate().filter(|(id, _)| *id < 40 || id % 3 == 0) {
        node.publish(name, id as u64);
    }
    for (id, name) in wanted.iter().enumerate() {
        node.publish(name, 10_000 + id as u64);
    }
    for (id, name) in wanted.iter().enumerate() {
        let heard = block_on(node.sink.wait_for_messages(name, 2));
        let heard: Vec<&str> = heard.iter().map(|message| message.id.as_str()).collect();
        assert_eq!(heard, [id.to_string(), (10_000 + id).to_string()]);
    }
    assert_eq!(node.sink.seen().len(), 80, "nothing that nobody wants");
}
