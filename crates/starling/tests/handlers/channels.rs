//! Channels by pattern: joins, events, publishes, presence, leaves.

use serde_json::{Value, json};
use starling::core::{ErrorCode, Publish, Refusal};
use starling::handlers::{Answer, Binary, Channel, Handlers, Join, Member};
use tokio::sync::mpsc;

use super::client::{Client, server};

async fn join(member: Member<u32>) -> Answer<Join> {
    match member.params() {
        0 => Err(Refusal::new(ErrorCode::Forbidden, "game 0 is closed")),
        7 => Ok(Join::accept().present_with(&json!({"status": "playing"}))),
        8 => Ok(Join::accept().present_with(&json!(["no", "object"]))),
        _ => Ok(Join::accept()),
    }
}

async fn moved(member: Member<u32>, to: (i32, i32)) -> Answer<Value> {
    member.broadcast_others("player_moved", json!({"who": member.user_id(), "to": to})).await?;
    Ok(json!({"game": member.params()}))
}

async fn who(member: Member<u32>) -> Answer<Vec<Value>> {
    let present = member.presence().await?;
    Ok(present.iter().map(|entry| starling::json(&entry.data).unwrap()).collect())
}

async fn kick(member: Member<u32>) -> Answer {
    member.kick().await
}

async fn filter(_: Member<u32>, publish: Publish) -> Answer<Value> {
    match &*publish.event {
        "rude" => Err(Refusal::custom("RUDE", "be nice")),
        event => Ok(json!({"was": event})),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_join_send_events_are_present_and_leave() {
    let (left, mut leaves) = mpsc::unbounded_channel();
    let games = Channel::new("game:{id}")
        .presence()
        .on_join(join)
        .on("move", moved)
        .on("who", who)
        .on("kick", kick)
        .on_publish(filter)
        .on_leave(move |member: Member<u32>| {
            let left = left.clone();
            async move { left.send((*member.params(), member.user_id().map(str::to_owned))).unwrap() }
        });
    let server = server().handlers(Handlers::new().channel(games)).start().unwrap();
    let mut ann = Client::connect(&server, Some("ann")).await;
    let mut bob = Client::connect(&server, Some("bob")).await;

    assert_eq!(ann.subscribe("game:0").await["code"], "FORBIDDEN");
    assert_eq!(ann.subscribe("game:x").await["code"], "INVALID_CHANNEL");
    assert_eq!(ann.subscribe("game:8").await["code"], "INTERNAL", "presence data is an object");
    assert_eq!(ann.event_in("game:7", "move", json!([1, 2])).await["code"], "NOT_SUBSCRIBED");
    assert_eq!(ann.subscribe("game:7").await["type"], "ack");
    assert_eq!(bob.subscribe("game:7").await["type"], "ack");

    assert_eq!(ann.event_in("game:7", "move", json!([1, 2])).await["payload"], json!({"game": 7}));
    let heard = bob.hear("message").await;
    assert_eq!((&heard["event"], &heard["userId"]), (&json!("player_moved"), &json!("ann")));
    assert_eq!(heard["payload"], json!({"who": "ann", "to": [1, 2]}));
    assert_eq!(ann.event_in("game:7", "move", json!({"x": 1})).await["code"], "INVALID_MESSAGE");
    let present = bob.event_in("game:7", "who", Value::Null).await;
    assert_eq!(present["payload"], json!([{"status": "playing"}, {"status": "playing"}]));

    let say = |event: &str| json!({"type": "publish", "channel": "game:7", "event": event, "payload": 1});
    assert_eq!(bob.ask(say("rude")).await["code"], "RUDE");
    assert_eq!(bob.ask(say("nice")).await["type"], "ack");
    assert_eq!(ann.hear("message").await["payload"], json!({"was": "nice"}));

    assert_eq!(bob.event_in("game:7", "kick", Value::Null).await["type"], "ack");
    assert_eq!(bob.hear("unsubscribed").await["channel"], "game:7");
    assert_eq!(leaves.recv().await, Some((7, Some("bob".to_owned()))));
    assert_eq!(bob.event_in("game:7", "who", Value::Null).await["code"], "NOT_SUBSCRIBED");
    ann.close().await;
    assert_eq!(leaves.recv().await, Some((7, Some("ann".to_owned()))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_come_and_go_as_bytes() {
    let echo = async |_: Member, Binary(bytes): Binary| -> Answer<Binary> {
        Ok(Binary(bytes.iter().rev().copied().collect()))
    };
    let channel: Channel = Channel::new("binary").on("echo", echo);
    let server = server().handlers(Handlers::new().channel(channel)).start().unwrap();
    let mut client = Client::connect(&server, Some("ann")).await;
    client.subscribe("binary").await;
    let message =
        json!({"type": "event", "channel": "binary", "event": "echo", "payload": "AQID", "encoding": "base64"});
    let answer = client.ask(message).await;
    assert_eq!((&answer["payload"], &answer["encoding"]), (&json!("AwIB"), &json!("base64")));
    assert_eq!(client.event_in("binary", "echo", json!("AQID")).await["code"], "INVALID_MESSAGE");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_that_does_not_fit_its_handlers_stops_the_start() {
    let rooms: Channel<(u32, u32)> = Channel::new("room:{id}");
    let refused = server().handlers(Handlers::new().channel(rooms)).start();
    let error = refused.err().expect("two parts from one").to_string();
    assert!(error.contains("room:{id}") && error.contains("2 parts"), "{error}");
}
