//! The client and a whole server, with proxies between them that do not let WebSockets through.

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/real.rs"]
mod real;

use std::time::Duration;

use futures_util::future::join_all;
use proxy::{FaultProxy, Treatment};
use real::{PATIENCE, connected, next_number, start, token};
use starling_client::{Builder, Client, ConnectError, Error, Publish, Status, SubscribeOptions, Transport};

/// A client of the proxy that is quick to come back and to try other transports.
fn client(proxy: &FaultProxy) -> Builder {
    Client::builder(proxy.url())
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .stable_after(Duration::from_millis(300))
        .upgrade_after(Duration::from_millis(200))
}

/// Waits until a transport that is `wanted` carries the connection.
async fn carried_by(client: &Client, wanted: impl Fn(Transport) -> bool) -> Transport {
    let mut status = client.status();
    let is_wanted = |status: &Status| matches!(status, Status::Connected { transport, .. } if wanted(*transport));
    let status = tokio::time::timeout(PATIENCE, status.wait_for(is_wanted)).await.expect("a connection").unwrap();
    match &*status {
        Status::Connected { transport, .. } => *transport,
        _ => unreachable!("waited for"),
    }
}

async fn ended(client: &Client) -> Error {
    let mut status = client.status();
    let closed = status.wait_for(|status| matches!(status, Status::Closed(_)));
    let status = tokio::time::timeout(PATIENCE, closed).await.expect("an end").unwrap();
    match &*status {
        Status::Closed(reason) => reason.clone(),
        _ => unreachable!("waited for"),
    }
}

async fn publish(client: &Client, number: u64) {
    client.publish(Publish::json("room", &number).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_websockets_it_is_an_event_stream_until_they_work_again() {
    for treatment in [Treatment::NoWebSocket, Treatment::KillWebSocket] {
        let (server, address) = start();
        let proxy = FaultProxy::start(address).await;
        proxy.treat(treatment);
        let reader = client(&proxy).connect().await.unwrap();
        let writer = Client::builder(format!("ws://{address}")).connect().await.unwrap();
        let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
        carried_by(&reader, |transport| transport == Transport::Sse).await;
        publish(&writer, 1).await;
        publish(&reader, 2).await;
        assert_eq!((next_number(&mut room).await, next_number(&mut room).await), (1, 2), "{treatment:?}");
        proxy.treat(Treatment::Pass);
        let publishing = async {
            for number in 3..100 {
                publish(&writer, number).await;
            }
            carried_by(&reader, |transport| transport == Transport::WebSocket).await;
            publish(&writer, 100).await;
        };
        let receiving = async {
            for number in 3..=100 {
                assert_eq!(next_number(&mut room).await, number, "{treatment:?}");
            }
        };
        tokio::join!(publishing, receiving);
        // Nothing is left of the other transport.
        reader.close().await;
        tokio::time::timeout(PATIENCE, proxy.until_idle()).await.expect("all closed");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_websockets_open_and_nothing_comes_through_it_is_another_transport() {
    let (server, address) = start();
    let proxy = FaultProxy::start(address).await;
    proxy.treat(Treatment::SwallowWebSocket);
    let reader = client(&proxy).connect_timeout(Duration::from_secs(3)).start().unwrap();
    let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
    carried_by(&reader, |transport| transport != Transport::WebSocket).await;
    publish(&reader, 1).await;
    assert_eq!(next_number(&mut room).await, 1);
    proxy.treat(Treatment::Pass);
    carried_by(&reader, |transport| transport == Transport::WebSocket).await;
    publish(&reader, 2).await;
    assert_eq!(next_number(&mut room).await, 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_streams_do_not_come_through_either_it_is_polls() {
    for treatment in [Treatment::HoldStreams, Treatment::NoStreams] {
        let (server, address) = start();
        let proxy = FaultProxy::start(address).await;
        proxy.treat(treatment);
        let reader = client(&proxy).connect_timeout(Duration::from_secs(3)).start().unwrap();
        let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
        carried_by(&reader, |transport| transport == Transport::Poll).await;
        publish(&reader, 1).await;
        assert_eq!(next_number(&mut room).await, 1, "{treatment:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_during_cuts_come_once_and_in_order_over_http() {
    const MESSAGES: u64 = 1000;
    const CUTS: u64 = 20;
    for transport in [Transport::Sse, Transport::Poll] {
        let (server, address) = start();
        let proxy = FaultProxy::start(address).await;
        let reader = client(&proxy).transports([transport]).connect().await.unwrap();
        let writer = client(&proxy).transports([transport]).msgpack().start().unwrap();
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
                assert_eq!(next_number(&mut room).await, number, "{transport}");
                if number % (MESSAGES / CUTS) == 10 {
                    proxy.cut_and_wait().await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.expect("done in time");
        assert_eq!(room.position().unwrap().offset, MESSAGES, "nothing was published twice over {transport}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_leaves_presence_and_connections_at_once() {
    for transport in [Transport::Sse, Transport::Poll] {
        let (server, address) = start();
        let proxy = FaultProxy::start(address).await;
        let watcher = Client::builder(format!("ws://{address}")).connect().await.unwrap();
        let watched = watcher.subscribe("room", SubscribeOptions::default().presence()).await.unwrap();
        let ann = client(&proxy).transports([transport]).connect().await.unwrap();
        let here = SubscribeOptions::default().enter(&serde_json::json!({"name": "Ann"})).unwrap();
        let _room = ann.subscribe("room", here).await.unwrap();
        let mut members = watched.members();
        tokio::time::timeout(PATIENCE, members.wait_for(|members| members.len() == 1)).await.expect("there").unwrap();
        ann.close().await;
        tokio::time::timeout(PATIENCE, members.wait_for(|members| members.is_empty())).await.expect("gone").unwrap();
        tokio::time::timeout(PATIENCE, proxy.until_idle()).await.expect("all closed");
        // Dropping every handle does the same.
        let bob = client(&proxy).transports([transport]).connect().await.unwrap();
        drop(bob);
        tokio::time::timeout(PATIENCE, proxy.until_idle()).await.expect("all closed");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_is_found_dead() {
    let (server, address) = start();
    let proxy = FaultProxy::start(address).await;
    let reader = client(&proxy).transports([Transport::Sse]).connect().await.unwrap();
    let writer = Client::builder(format!("ws://{address}")).connect().await.unwrap();
    let mut room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
    let first = connected(&reader).await;
    proxy.treat(Treatment::BlackHole);
    publish(&writer, 1).await;
    let mut status = reader.status();
    let lost = status.wait_for(|status| matches!(status, Status::Waiting { .. } | Status::Connecting));
    tokio::time::timeout(PATIENCE, lost).await.expect("noticed").unwrap();
    proxy.treat(Treatment::Pass);
    assert_eq!(next_number(&mut room).await, 1);
    assert_ne!(connected(&reader).await, first);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_mean_over_http_what_they_mean_on_a_websocket() {
    let (server, address) = start();
    let url = format!("http://{address}");
    for transport in [Transport::Sse, Transport::Poll] {
        // Nothing on the way is at fault, so that no other transport is tried.
        let builder = || Client::builder(&url).transports([transport, Transport::WebSocket]);
        let refused = builder().token("bad").connect().await.unwrap_err();
        assert!(matches!(refused, Error::Connect(ConnectError::Status { status: 401, .. })), "{refused:?}");
        let user = format!("user-{transport}");
        let good = builder().token(token(&user, Duration::from_secs(600))).connect().await.unwrap();
        let id = connected(&good).await;
        let Status::Connected { user_id, .. } = good.status().borrow().clone() else { panic!("connected") };
        assert_eq!(user_id.as_deref(), Some(user.as_str()));
        server.broadcaster().disconnect(starling::Audience::connection(&id)).await.unwrap();
        let end = ended(&good).await;
        assert!(end.to_string().contains("FORBIDDEN"), "{end}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_over_http_outlives_its_tokens() {
    let (server, address) = start();
    for transport in [Transport::Sse, Transport::Poll] {
        let (count, mut asked) = tokio::sync::watch::channel(0);
        let fetch = move || {
            count.send_modify(|asked| *asked += 1);
            async { Ok::<_, std::io::Error>(token("ann", Duration::from_secs(4))) }
        };
        let builder = Client::builder(format!("ws://{address}")).transports([transport]);
        let client = builder.token_fn(fetch).connect().await.unwrap();
        let first = connected(&client).await;
        let mut room = client.subscribe("room", SubscribeOptions::default()).await.unwrap();
        // Each is asked for a good three seconds after the one before it: the first has expired by then.
        let renewed = asked.wait_for(|asked| *asked == 4);
        tokio::time::timeout(PATIENCE, renewed).await.expect("renewed").unwrap();
        publish(&client, 1).await;
        assert_eq!(next_number(&mut room).await, 1);
        assert_eq!(connected(&client).await, first, "the connection stays");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_is_left_over_http_as_well() {
    for transport in [Transport::Sse, Transport::Poll] {
        let (server, address) = start();
        let reader = Client::builder(format!("ws://{address}")).transports([transport]).connect().await.unwrap();
        let _room = reader.subscribe("room", SubscribeOptions::default()).await.unwrap();
        let mut status = reader.status();
        let left = status.wait_for(|status| !matches!(status, Status::Connected { .. }));
        let (left, ()) = tokio::join!(tokio::time::timeout(PATIENCE, left), server.drain());
        let Status::Waiting { reason: Error::Lost(_), .. } = left.expect("left").unwrap().clone() else {
            panic!("not waiting")
        };
    }
}
