//! Handlers that misbehave hurt nobody but their own client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use starling::AskError;
use starling::handlers::{Answer, Connection, Handlers};
use tokio::sync::Notify;

use super::client::{Client, server};

async fn boom(_: Connection, when: String) -> Answer<u32> {
    match &*when {
        "at once" => panic!("this panic is part of a test"),
        "later" => {
            tokio::task::yield_now().await;
            panic!("this panic is part of a test")
        }
        _ => Ok(1),
    }
}

fn boom_in_the_call(_: Connection, _: Value) -> std::future::Ready<Answer<u32>> {
    panic!("this panic is part of a test")
}

async fn keys_that_are_no_text(_: Connection) -> Answer<HashMap<(u8, u8), u8>> {
    Ok(HashMap::from([((1, 2), 3)]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_an_error_for_one_client_only() {
    let handlers =
        Handlers::new().on("boom", boom).on("boom_in_the_call", boom_in_the_call).on("keys", keys_that_are_no_text);
    let server = server().workers(1).handlers(handlers).start().unwrap();
    let mut ann = Client::connect(&server, None).await;
    let mut bob = Client::connect(&server, None).await;
    for _ in 0..4 {
        for (event, payload) in
            [("boom", json!("at once")), ("boom", json!("later")), ("boom_in_the_call", json!(1)), ("keys", json!(1))]
        {
            let answer = ann.event(event, payload).await;
            assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("INTERNAL")), "{event}");
        }
        assert_eq!(ann.event("boom", json!("never")).await["payload"], 1, "the client lives on");
        assert_eq!(bob.event("boom", json!("never")).await["payload"], 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_has_only_so_much_time() {
    let wait = async |_: Connection| std::future::pending::<()>().await;
    let quick = async |_: Connection| -> Answer<u8> { Ok(1) };
    let handlers = Handlers::new().timeout(Duration::from_millis(50)).on("wait", wait).on("quick", quick);
    let server = server().handlers(handlers).start().unwrap();
    let mut client = Client::connect(&server, None).await;
    for _ in 0..4 {
        assert_eq!(client.event("wait", Value::Null).await["code"], "INTERNAL");
        assert_eq!(client.event("quick", Value::Null).await["payload"], 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_handlers_wait_at_once() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wait = {
        let (entered, release) = (entered.clone(), release.clone());
        move |_: Connection| {
            let (entered, release) = (entered.clone(), release.clone());
            async move {
                entered.notify_one();
                release.notified().await;
            }
        }
    };
    let quick = async |_: Connection| -> Answer<u8> { Ok(1) };
    let handlers = Handlers::new().running(1).on("wait", wait).on("quick", quick);
    let server = server().handlers(handlers).start().unwrap();
    let mut ann = Client::connect(&server, None).await;
    let mut bob = Client::connect(&server, None).await;
    for _ in 0..4 {
        ann.say(json!({"type": "event", "event": "wait", "payload": null, "id": "w"})).await;
        entered.notified().await;
        // It may be counted a moment after it was entered.
        while bob.event("quick", Value::Null).await["type"] == "ack" {}
        assert_eq!(bob.event("quick", Value::Null).await["code"], "LIMIT_EXCEEDED");
        release.notify_one();
        assert_eq!(ann.hear_where(|heard| heard["id"] == "w").await["type"], "ack");
        while bob.event("quick", Value::Null).await["type"] == "error" {}
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_block_delay_nobody_else() {
    let blocks = Arc::new(AtomicBool::new(true));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = Arc::new(std::sync::Mutex::new(receiver));
    let block = {
        let blocks = blocks.clone();
        move |_: Connection| {
            let (receiver, blocks) = (receiver.clone(), blocks.clone());
            async move {
                if blocks.load(Ordering::SeqCst) {
                    // Until the test says so, or is over.
                    let _ = receiver.lock().map(|receiver| receiver.recv());
                }
            }
        }
    };
    let quick = async |_: Connection| -> Answer<u8> { Ok(1) };
    let handlers = Handlers::new().on("block", block).on("quick", quick);
    let server = server().workers(1).handlers(handlers).start().unwrap();
    let mut others = Vec::new();
    for n in 0..8 {
        let mut client = Client::connect(&server, None).await;
        client.say(json!({"type": "event", "event": "block", "payload": null, "id": n})).await;
        others.push(client);
    }
    let mut bob = Client::connect(&server, None).await;
    for _ in 0..10 {
        assert_eq!(bob.event("quick", Value::Null).await["payload"], 1);
    }
    blocks.store(false, Ordering::SeqCst);
    drop(sender);
    for client in &mut others {
        assert_eq!(client.hear("ack").await["type"], "ack");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_cannot_ask_its_own_client_but_a_task_can() {
    let asks = async |connection: Connection| -> Answer<bool> {
        let asked = connection.ask::<u8>("really?", json!(null), Duration::from_secs(60)).await;
        assert!(matches!(asked, Err(AskError::OwnHandler)), "{asked:?}");
        tokio::spawn(async move {
            let asked = connection.ask::<u8>("really?", json!(null), Duration::from_millis(1)).await;
            let timed_out = matches!(asked, Err(AskError::TimedOut(_)));
            connection.emit("asked", json!({"timed_out": timed_out})).unwrap();
        });
        Ok(true)
    };
    let server = server().handlers(Handlers::new().on("ask", asks)).start().unwrap();
    let mut client = Client::connect(&server, None).await;
    for _ in 0..4 {
        assert_eq!(client.event("ask", Value::Null).await["payload"], true);
        let question = client.hear_where(|heard| heard["event"] == "really?").await;
        assert!(question["ack"].is_u64(), "{question}");
        assert_eq!(client.hear_where(|heard| heard["event"] == "asked").await["payload"], json!({"timed_out": true}));
    }
    let gone = server.broadcaster().ask::<u8>("nobody", "really?", json!(null), Duration::from_secs(60)).await;
    assert!(matches!(gone, Err(AskError::Gone)), "{gone:?}");
    server.stop().await;
}
