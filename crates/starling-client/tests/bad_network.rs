//! The client and a whole server, with a network between them that fails.

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/real.rs"]
mod real;

use std::time::Duration;

use futures_util::future::join_all;
use proxy::{FaultProxy, Treatment};
use real::{PATIENCE, connected, next, next_number, start};
use starling_client::{Builder, Client, Error, Item, Position, Publish, Status, SubscribeOptions, Transport};

/// A client of the proxy that is quick to come back, and to notice a silent connection. What follows a WebSocket that
/// does not last is told elsewhere.
fn client(proxy: &FaultProxy) -> Builder {
    Client::builder(proxy.url())
        .transports([Transport::WebSocket])
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .heartbeat(Duration::from_millis(300), Duration::from_millis(700))
        .connect_timeout(Duration::from_secs(5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_during_fifty_cuts_come_once_and_in_order() {
    const MESSAGES: u64 = 1000;
    const CUTS: u64 = 50;
    let (server, address) = start();
    let proxy = FaultProxy::start(address).await;
    let reader = client(&proxy).connect().await.unwrap();
    let writer = client(&proxy).start().unwrap();
    let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
    let sending = async {
        for first in (0..MESSAGES).step_by(20) {
            let publish = |number| writer.publish(Publish::json("room", &number).unwrap());
            let acks = join_all((first..first + 20).map(publish)).await;
            assert!(acks.iter().all(Result::is_ok), "{acks:?}");
        }
    };
    let receiving = async {
        for number in 0..MESSAGES {
            assert_eq!(next_number(&mut room).await, number);
            if number % (MESSAGES / CUTS) == 10 {
                proxy.cut_and_wait().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.expect("done in time");
    assert_eq!(room.position().unwrap().offset, MESSAGES, "nothing was published twice");
    assert!(proxy.connections() > CUTS as usize, "{} connections", proxy.connections());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_wait_while_there_is_no_server_and_go_out_once() {
    const MESSAGES: u64 = 20;
    let (server, address) = start();
    let proxy = FaultProxy::start(address).await;
    let reader = Client::builder(format!("ws://{address}")).connect().await.unwrap();
    let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
    let writer = client(&proxy).max_pending(MESSAGES as usize).connect().await.unwrap();
    proxy.treat(Treatment::Refuse);
    let mut status = writer.status();
    status.wait_for(|status| matches!(status, Status::Waiting { .. })).await.unwrap();
    let publishes = (0..MESSAGES).map(|number| writer.publish(Publish::json("room", &number).unwrap()));
    let one_too_many = async {
        let refused = writer.publish(Publish::json("room", "one too many").unwrap()).await;
        assert!(matches!(refused, Err(Error::QueueFull)), "{refused:?}");
        proxy.treat(Treatment::Pass);
    };
    let (acks, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(join_all(publishes), one_too_many) })
        .await
        .expect("acknowledged");
    assert!(acks.iter().all(Result::is_ok), "{acks:?}");
    let mut seen = Vec::new();
    for _ in 0..MESSAGES {
        seen.push(next_number(&mut room).await);
    }
    assert_eq!(seen, (0..MESSAGES).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_connection_is_found_and_what_was_missed_recovered() {
    for fault in [Treatment::BlackHole, Treatment::HalfOpen] {
        let (server, address) = start();
        let proxy = FaultProxy::start(address).await;
        let reader = client(&proxy).connect().await.unwrap();
        let writer = Client::builder(format!("ws://{address}")).connect().await.unwrap();
        let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
        let first = connected(&reader).await;
        proxy.treat(fault);
        writer.publish(Publish::json("room", &1).unwrap()).await.unwrap();
        let mut status = reader.status();
        let lost = status.wait_for(|status| matches!(status, Status::Waiting { .. } | Status::Connecting));
        tokio::time::timeout(PATIENCE, lost).await.expect("noticed").unwrap();
        proxy.treat(Treatment::Pass);
        assert_eq!(next_number(&mut room).await, 1, "{fault:?}");
        assert_ne!(connected(&reader).await, first);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recovered_is_told() {
    let (server, address) = start();
    let proxy = FaultProxy::start(address).await;
    let reader = client(&proxy).connect().await.unwrap();
    let mut room = reader.subscribe("brief:room", SubscribeOptions::default()).await.unwrap();
    proxy.cut();
    assert_eq!(next(&mut room).await, Item::Recovered(false));
    // A log that begins anew, behind the back of who has read it.
    let old = Position { epoch: "old".into(), offset: 7 };
    let mut kept = reader.subscribe("room", SubscribeOptions::default().since(old)).await.unwrap();
    assert_eq!(next(&mut kept).await, Item::Recovered(false));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_entered_again_and_a_change_told_once() {
    let (server, address) = start();
    let proxy = FaultProxy::start(address).await;
    let ann = client(&proxy).connect().await.unwrap();
    let here = SubscribeOptions::default().presence().enter(&serde_json::json!({"name": "Ann"})).unwrap();
    let mut room = ann.subscribe("room", here).await.unwrap();
    let first = connected(&ann).await;
    let mut members = room.members();
    let settled = members.wait_for(|members| members.is_live() && members.get(&first).is_some());
    tokio::time::timeout(PATIENCE, settled).await.expect("present").unwrap();
    proxy.cut();
    let again = members.wait_for(|members| members.is_live() && members.len() == 1 && members.get(&first).is_none());
    let now = tokio::time::timeout(PATIENCE, again).await.expect("present again").unwrap().clone();
    let name: serde_json::Value = now.iter().next().unwrap().json().unwrap();
    assert_eq!(name["name"], "Ann");
    // The items tell the same as the set.
    let mut there = std::collections::BTreeSet::new();
    loop {
        if let Item::Presence(change) = next(&mut room).await {
            there.retain(|id| !change.leaves.iter().any(|member| member.connection_id == *id));
            there.extend(change.joins.into_iter().map(|member| member.connection_id));
            if there.iter().eq(now.iter().map(|member| &member.connection_id)) {
                break;
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_is_left_when_it_said() {
    let (server, address) = start();
    let reader = Client::builder(format!("ws://{address}")).connect().await.unwrap();
    let _room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
    let mut status = reader.status();
    let left = status.wait_for(|status| !matches!(status, Status::Connected { .. }));
    let (left, ()) = tokio::join!(tokio::time::timeout(PATIENCE, left), server.drain());
    let Status::Waiting { reason: Error::Lost(_), .. } = left.expect("left").unwrap().clone() else {
        panic!("not waiting")
    };
}
