//! Webhooks against a scripted receiver and a scripted cluster.

use parking_lot::Mutex;
use serde_json::Value;
use starling_core::{Caller, CloseReason};
use tokio::sync::oneshot;

use super::*;
use crate::hooks::WebhookFormat;
use crate::hooks::scripted::{Backend, Heard, ok, status};
use crate::hooks::tests::{caller, publish, secrets};

/// A channel that no other node has members of.
fn alone() -> Elsewhere {
    Arc::new(|_, _| Pending::Ready(0))
}

fn webhooks(url: &str, elsewhere: Elsewhere, change: impl FnOnce(&mut WebhookOptions)) -> Arc<Webhooks> {
    let mut options = WebhookOptions::new(url);
    options.first_pause = Duration::from_millis(1);
    options.longest_pause = Duration::from_millis(5);
    options.max_delay = Duration::from_millis(1);
    change(&mut options);
    Webhooks::asking(vec![options], &secrets(), elsewhere, Handle::current()).unwrap()
}

fn app() -> AppId {
    AppId::from("1")
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn say(webhooks: &Webhooks, room: &str, number: usize) {
    webhooks.observe(Happening::ClientPublished(&caller("c1"), &publish(room, &number.to_string())));
}

fn gone(caller: &Caller) -> Happening<'_> {
    Happening::Disconnected { caller, reason: CloseReason::Lost, lasted: Duration::from_millis(1500) }
}

fn events(heard: &[Heard]) -> Vec<Value> {
    heard.iter().flat_map(|request| request.json()["events"].as_array().unwrap().clone()).collect()
}

/// Waits until so many events have been taken.
async fn taken(backend: &Backend, count: usize) -> Vec<Value> {
    let mut requests = 1;
    loop {
        let heard = backend.heard(requests).await;
        let events = events(&heard);
        if events.len() >= count {
            return events;
        }
        requests = heard.len() + 1;
    }
}

async fn flushed(webhooks: &Webhooks) {
    assert_eq!(webhooks.flush(Instant::now() + Duration::from_secs(20)).await, 0);
    assert!(webhooks.endpoints.iter().all(|endpoint| endpoint.waiting() == 0));
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_everything_in_order_under_stable_ids() {
    let failures = Mutex::new(40);
    let backend = Backend::start(move |_| {
        let mut left = failures.lock();
        *left -= 1;
        if *left > 0 { status(503) } else { ok("{}") }
    })
    .await;
    let webhooks = webhooks(&backend.url, alone(), |options| options.max_batch = 7);
    for number in 0..50 {
        say(&webhooks, "room", number);
    }
    let heard = backend.heard(39 + 8).await;
    let failed = &heard[..39];
    assert!(failed.iter().all(|request| request.body == failed[0].body), "the same id and body each time");
    let numbers: Vec<u64> = events(&heard[39..]).iter().map(|event| event["payload"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    flushed(&webhooks).await;
    let counted = Fate::ALL.map(|fate| webhooks.counters().read(&app(), fate));
    assert_eq!(counted, [50, 39 * 7, 0]);
}

#[tokio::test]
async fn what_has_no_room_is_dropped_but_never_a_disconnected_that_is_owed() {
    let backend = Backend::start(|_| ok("{}")).await;
    let webhooks = webhooks(&backend.url, alone(), |options| options.max_queue = 2);
    let (told, late) = (caller("told"), caller("late"));
    // No task runs between these lines: the queue only grows.
    webhooks.observe(Happening::Connected(&told));
    say(&webhooks, "room", 1);
    say(&webhooks, "room", 2);
    webhooks.observe(Happening::Connected(&late));
    webhooks.observe(gone(&late));
    webhooks.observe(gone(&told));
    flushed(&webhooks).await;
    let mut told: Vec<String> = events(&backend.heard(1).await)
        .iter()
        .map(|event| format!("{} {}", event["type"].as_str().unwrap(), event["connectionId"].as_str().unwrap()))
        .collect();
    told.sort();
    assert_eq!(told, ["client_event c1", "connected told", "disconnected told"]);
    assert_eq!(webhooks.counters().read(&app(), Fate::Dropped), 3);
}

#[tokio::test]
async fn a_disconnected_tells_why_and_after_how_long() {
    let backend = Backend::start(|_| ok("{}")).await;
    let webhooks = webhooks(&backend.url, alone(), |_| {});
    webhooks.observe(gone(&caller("c1")));
    let mut event = taken(&backend, 1).await.remove(0);
    assert!(event["ts"].take().is_u64());
    let expected = serde_json::json!({
        "type": "disconnected", "ts": null, "connectionId": "c1", "userId": "ann", "protocol": "native",
        "reason": "lost", "duration": 1500,
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn only_the_first_and_the_last_member_in_the_cluster_are_told_in_the_order_of_the_channel() {
    // Each question is answered when the test says so.
    let asked: Arc<Mutex<Vec<oneshot::Sender<u64>>>> = Arc::default();
    let questions = asked.clone();
    let elsewhere: Elsewhere = Arc::new(move |_, _| {
        let (answer, answered) = oneshot::channel();
        questions.lock().push(answer);
        Pending::later(async move { answered.await.unwrap() })
    });
    let backend = Backend::start(|_| ok("{}")).await;
    let webhooks = webhooks(&backend.url, elsewhere, |_| {});
    let room = channel("room");
    webhooks.observe(Happening::Occupied(&app(), &room));
    say(&webhooks, "room", 1);
    webhooks.observe(Happening::Vacated(&app(), &room));
    let mut answers = std::mem::take(&mut *asked.lock());
    answers.pop().unwrap().send(3).unwrap();
    answers.pop().unwrap().send(0).unwrap();
    flushed(&webhooks).await;
    let told: Vec<String> =
        events(&backend.heard(1).await).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["channel_occupied", "client_event"], "others are still in the channel");
}

#[tokio::test]
async fn counts_of_members_are_added_up_and_the_latest_is_told() {
    let backend = Backend::start(|_| ok("{}")).await;
    let webhooks = webhooks(&backend.url, Arc::new(|_, _| Pending::Ready(5)), |_| {});
    for count in 1..=100 {
        webhooks.observe(Happening::Members { app: &app(), channel: &channel("room"), count });
    }
    flushed(&webhooks).await;
    let told = events(&backend.heard(1).await);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["count"], 105);
}

#[tokio::test]
async fn in_pushers_format_presence_channels_are_not_counted() {
    for (format, expected) in [(WebhookFormat::Starling, 2), (WebhookFormat::Pusher, 1)] {
        let backend = Backend::start(|_| ok("{}")).await;
        let webhooks = webhooks(&backend.url, alone(), |options| options.format = format);
        for name in ["presence-room", "room"] {
            webhooks.observe(Happening::Members { app: &app(), channel: &channel(name), count: 1 });
        }
        flushed(&webhooks).await;
        let told = events(&backend.heard(1).await);
        assert_eq!((told.len(), told.iter().filter(|event| event["channel"] == "room").count()), (expected, 1));
    }
}

#[tokio::test]
async fn only_what_is_wanted_is_told() {
    let backend = Backend::start(|_| ok("{}")).await;
    let webhooks = webhooks(&backend.url, alone(), |options| options.events = vec![WebhookEvent::CacheMiss]);
    webhooks.observe(Happening::Connected(&caller("c1")));
    webhooks.observe(Happening::Occupied(&app(), &channel("room")));
    webhooks.observe(Happening::CacheMissed(&app(), &channel("room")));
    flushed(&webhooks).await;
    let told = events(&backend.heard(1).await);
    assert_eq!((told.len(), &told[0]["type"], &told[0]["channel"]), (1, &"cache_miss".into(), &"room".into()));
}

#[tokio::test]
async fn what_is_tried_for_too_long_is_given_up() {
    let backend = Backend::start(|_| status(500)).await;
    let webhooks = webhooks(&backend.url, alone(), |options| options.give_up_after = Duration::ZERO);
    say(&webhooks, "room", 1);
    while webhooks.counters().read(&app(), Fate::Dropped) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(backend.heard(1).await.len(), 1, "it is tried once in any case");
}

#[tokio::test]
async fn what_is_given_up_at_the_end_is_lost() {
    let backend = Backend::start(|_| status(500)).await;
    let webhooks = webhooks(&backend.url, alone(), |_| {});
    say(&webhooks, "room", 1);
    webhooks.flush(Instant::now()).await;
    while webhooks.counters().read(&app(), Fate::Dropped) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(webhooks.flush(Instant::now()).await, 1);
}
