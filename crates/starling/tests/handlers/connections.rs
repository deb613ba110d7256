//! Connect, disconnect, events outside of channels, state, and acts from anywhere.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use starling::Audience;
use starling::core::{CloseReason, ErrorCode, Refusal};
use starling::handlers::{Answer, Channel, Connection, Handlers, Newcomer, Welcome};
use tokio::sync::mpsc;

use super::client::{Client, server};

#[derive(Deserialize)]
struct Sum {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
struct Total {
    total: i64,
}

async fn add(_: Connection, Sum { a, b }: Sum) -> Answer<Total> {
    match a.checked_add(b) {
        Some(total) => Ok(Total { total }),
        None => Err(Refusal::custom("OVERFLOW", "too much")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_have_typed_payloads_replies_and_errors() {
    let handlers = Handlers::new().on("add", add).on("nothing", async |_: Connection| {});
    let server = server().handlers(handlers).start().unwrap();
    let mut client = Client::connect(&server, None).await;
    // More often than a handler is on trial.
    for _ in 0..5 {
        assert_eq!(client.event("add", json!({"a": 1, "b": 2})).await["payload"], json!({"total": 3}));
    }
    let refused = client.event("add", json!({"a": i64::MAX, "b": 1})).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("OVERFLOW")));
    assert_eq!(client.event("add", json!({"a": "x"})).await["code"], "INVALID_MESSAGE");
    let nothing = client.event("nothing", json!(null)).await;
    assert_eq!((&nothing["type"], nothing.get("payload")), (&json!("ack"), None));
    assert_eq!(client.event("unknown", json!(null)).await["code"], "UNKNOWN_TYPE");
    server.stop().await;
}

struct Visit {
    clicks: AtomicU32,
}

async fn connect(newcomer: Newcomer) -> Result<Welcome<Visit>, Refusal> {
    let session = newcomer.headers().and_then(|headers| headers.get("cookie")).and_then(|it| it.to_str().ok());
    let visit = Visit { clicks: AtomicU32::new(0) };
    match (newcomer.user().map(|user| user.as_str()), session) {
        (Some("mallory"), _) => Err(Refusal::new(ErrorCode::Forbidden, "banned")),
        (_, Some("session=ann")) => Ok(Welcome::new(visit).user("ann").info(&json!({"name": "Ann"}))),
        _ => Ok(Welcome::new(visit).join("lobby").emit("hello", json!({"n": 1}))),
    }
}

async fn click(connection: Connection<Visit>) -> Answer<(u32, Option<String>)> {
    let clicks = connection.state().clicks.fetch_add(1, Ordering::Relaxed) + 1;
    Ok((clicks, connection.user_id().map(str::to_owned)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_carry_their_state_from_connect_to_disconnect() {
    let (gone, mut ends) = mpsc::unbounded_channel();
    let handlers = Handlers::connecting(connect)
        .on("click", click)
        .channel(Channel::<(), Visit>::new("lobby"))
        .on_disconnect(move |connection: Connection<Visit>, reason: CloseReason| {
            let gone = gone.clone();
            async move {
                gone.send((connection.state().clicks.load(Ordering::Relaxed), reason)).unwrap();
            }
        });
    let server = server().handlers(handlers).start().unwrap();
    let mut client = Client::connect(&server, Some("bob")).await;
    let hello = client.hear("event").await;
    assert_eq!((&hello["event"], &hello["payload"]), (&json!("hello"), &json!({"n": 1})));
    assert_eq!(client.hear("subscribed").await["channel"], "lobby");
    for clicks in 1..=4 {
        assert_eq!(client.event("click", json!(null)).await["payload"], json!([clicks, "bob"]));
    }
    let mut other = Client::connect(&server, None).await;
    assert_eq!(other.event("click", json!(null)).await["payload"], json!([1, null]), "each has its own");
    client.close().await;
    assert_eq!(ends.recv().await, Some((4, CloseReason::Normal)));

    let refused = Client::try_connect(server.addresses()[0], Some("mallory")).await;
    match refused {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("expected 403, got {:?}", other.is_ok()),
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_acts_on_connections_from_outside() {
    let whoami = async |connection: Connection| -> Answer<String> { Ok(connection.id().to_string()) };
    let room: Channel<String> = Channel::new("room:{name}").history(10, std::time::Duration::from_secs(60));
    let server = server().handlers(Handlers::new().on("whoami", whoami).channel(room)).start().unwrap();
    let news = server.broadcaster();
    let mut ann = Client::connect(&server, Some("ann")).await;
    let mut bob = Client::connect(&server, Some("bob")).await;
    let ann_id: String = ann.event("whoami", Value::Null).await["payload"].as_str().unwrap().to_owned();

    news.subscribe(Audience::user("ann"), "room:1").await.unwrap();
    assert_eq!(ann.hear("subscribed").await["channel"], "room:1");
    assert_eq!(bob.subscribe("room:1").await["type"], "ack");
    let members = news.connections(Audience::channel("room:1")).await.unwrap();
    assert_eq!(members.len(), 2);

    news.publish("room:1", "headline", json!({"n": 1})).await.unwrap();
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.hear("message").await["payload"], json!({"n": 1}));
    }
    let post = starling::Post::new("room:1", "headline", json!(2)).except(&ann_id).from_user("editor");
    news.send(post).await.unwrap();
    let heard = bob.hear("message").await;
    assert_eq!((&heard["payload"], &heard["userId"]), (&json!(2), &json!("editor")));
    let range = starling::core::HistoryRange { limit: 10, before: None, after: None };
    assert_eq!(news.history("room:1", range).await.unwrap().messages.len(), 2);

    news.publish_to_user("ann", "inbox", json!("for you")).await.unwrap();
    assert_eq!(ann.hear("message").await["payload"], "for you");
    news.emit(Audience::members(["room:1"]).except(&ann_id), "bell", json!(null)).await.unwrap();
    assert_eq!(bob.hear("event").await["event"], "bell");

    news.unsubscribe(Audience::connection(&ann_id), "room:1").await.unwrap();
    assert_eq!(ann.hear("unsubscribed").await["channel"], "room:1");
    news.disconnect(Audience::user("bob")).await.unwrap();
    assert_eq!(bob.hear_close().await, 4003);
    assert_eq!(news.publish("nowhere", "x", json!(1)).await.unwrap_err().code, "FORBIDDEN", "no rule");
    assert_eq!(news.presence("room:1").await.unwrap_err().code, "NO_PRESENCE");
    server.stop().await;
    assert_eq!(news.publish("room:1", "x", json!(1)).await.unwrap_err().code, "ENGINE_UNAVAILABLE");
}
