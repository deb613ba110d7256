//! How many publishes a second one engine sustains, beside what `redis-benchmark` shows for pipelined PUBLISH.
//!
//! ```text
//! cargo run --release -p starling-redis --example publish_rate -- redis://127.0.0.1:6379 [BYTES] [SECONDS]
//! redis-benchmark -P 16 -c 50 -n 1000000 -d 256 -q PUBLISH channel __data__
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_core::{
    AppId, BoxFuture, ChannelName, Engine, EngineError, HistoryPolicy, Message, MessageId, Payload, Pending,
    Publication, Published, RawJson, Sink,
};
use starling_redis::{RedisEngine, RedisOptions};

/// Publishes under way at a time.
const UNDER_WAY: usize = 4096;

struct Nobody;

impl Sink for Nobody {
    fn message(&self, _: Arc<Message>) {}
    fn presence(&self, _: starling_core::PresenceEvent) {}
    fn control(&self, _: &AppId, _: starling_core::Control) {}
    fn resync(&self) {}
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let bytes = arguments.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(256);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let engine = RedisEngine::connect(RedisOptions::new(url)).await.expect("the engine can work");
    engine.attach(Arc::new(Nobody));
    let policy = HistoryPolicy { size: 1000, ttl: Duration::from_secs(60) };
    for (what, history) in [("without history", None), ("with history", Some(policy))] {
        let (count, took) = publish(&engine, bytes, Duration::from_secs(seconds), history).await;
        println!("{what}: {:.0} publishes/s of {bytes} bytes", count as f64 / took.as_secs_f64());
    }
}

async fn publish(
    engine: &RedisEngine,
    bytes: usize,
    time: Duration,
    history: Option<HistoryPolicy>,
) -> (u64, Duration) {
    let payload = Payload::Json(RawJson::of(&"x".repeat(bytes)).expect("a text is JSON"));
    let channels: Vec<_> = (0..64).map(|n| ChannelName::parse(&format!("rate:{n}")).expect("a name")).collect();
    let mut under_way: VecDeque<BoxFuture<Result<Published, EngineError>>> = VecDeque::new();
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < time {
        let message = Message {
            app: AppId::from("1"),
            channel: channels[count as usize % channels.len()].clone(),
            id: MessageId::new(count.to_string()),
            event: "message".into(),
            payload: payload.clone(),
            user: None,
            ts: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            position: None,
            key: None,
            exclude: None,
        };
        if let Pending::Later(answer) = engine.publish(Publication { message, history, deduplicate: false }) {
            under_way.push_back(answer);
        }
        count += 1;
        if under_way.len() >= UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.await.expect("published");
        }
    }
    for answer in under_way {
        answer.await.expect("published");
    }
    (count, begin.elapsed())
}
