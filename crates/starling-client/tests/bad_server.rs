//! The client against servers that do what they should not, and requests other than publish.

#[path = "support/script.rs"]
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use script::{PATIENCE, Server, message, next, next_offset, position, publish, subscribed, until_closed};
use serde_json::json;
use starling_client::{
    Arrival, Client, ConnectError, Error, HistoryOptions, Item, Publish, Request, Status, SubscribeOptions,
};

#[tokio::test]
async fn a_skipped_offset_is_a_gap_and_the_next_message_is_behind_it() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    for offset in [5, 8, 9] {
        peer.message(offset).await;
    }
    assert_eq!(next_offset(&mut room).await, 5);
    assert_eq!(next(&mut room).await, Some(Item::Gap { missed: 2, announced: false }));
    assert_eq!((next_offset(&mut room).await, next_offset(&mut room).await), (8, 9));
    assert_eq!(room.position(), Some(&position(9)));
}

#[tokio::test]
async fn own_messages_without_echo_are_no_gap() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    let silent = client.publish(Publish::json("room", &1).unwrap().message_id("mine").echo(false));
    let script = async {
        let request = peer.receive().await;
        peer.send(json!({"type": "ack", "id": request["id"], "messageId": "mine", "epoch": "e", "offset": 5})).await;
        peer.message(6).await;
    };
    let (taken, ()) = tokio::join!(silent, script);
    assert_eq!(taken.unwrap().position, Some(position(5)));
    assert_eq!(next_offset(&mut room).await, 6);
    // A recovery on another connection brings it back; it is left out here.
    drop(peer);
    let mut peer = server.accept().await;
    let recover = json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 6}});
    peer.agree(recover, json!({"epoch": "e", "offset": 8, "recovered": true})).await;
    let mut mine = message(7);
    mine["id"] = "mine".into();
    peer.send(mine).await;
    peer.message(8).await;
    assert_eq!(next(&mut room).await, Some(Item::Recovered(true)));
    assert_eq!(next_offset(&mut room).await, 8);
}

#[tokio::test]
async fn repeats_without_offsets_are_told_by_their_ids() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let agree = peer.agree(json!({"type": "subscribe", "channel": "room"}), json!({}));
    let (room, ()) = tokio::join!(client.subscribe("room", SubscribeOptions::default()), agree);
    let mut room = room.unwrap();
    for id in ["a", "a", "b"] {
        let payload = json!({"type": "message", "channel": "room", "event": "e", "payload": 1, "id": id, "ts": 5});
        peer.send(payload).await;
    }
    for expected in ["a", "b"] {
        assert_eq!(script::next_message(&mut room).await.id, expected);
    }
}

#[tokio::test]
async fn answers_that_nobody_waits_for_and_unknown_types_pass() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    peer.send(json!({"type": "ack", "id": 4711})).await;
    peer.send(json!({"type": "error", "id": 4712, "code": "FORBIDDEN", "message": "no"})).await;
    peer.send(json!({"type": "of tomorrow", "field": [1]})).await;
    let _room = subscribed(&client, &mut peer, 0).await;
    assert!(matches!(&*client.status().borrow(), Status::Connected { .. }));
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_met_with_growing_delays() {
    let server = Server::start().await;
    let client = Client::builder(format!("ws://{}", server.listener.local_addr().unwrap()))
        .backoff(Duration::from_millis(1), Duration::from_millis(64))
        .start()
        .unwrap();
    let mut status = client.status();
    let closes = async {
        for _ in 0..8 {
            drop(server.listener.accept().await.unwrap());
        }
        // Whichever attempt comes next is closed as well.
        let waiting = status.wait_for(|status| matches!(status, Status::Waiting { .. }));
        let closing = async {
            loop {
                drop(server.listener.accept().await.unwrap());
            }
        };
        tokio::select! {
            status = waiting => status.unwrap().clone(),
            () = closing => unreachable!("it goes on for ever"),
        }
    };
    let status = tokio::time::timeout(PATIENCE, closes).await.unwrap();
    let Status::Waiting { reason: Error::Connect(ConnectError::Io { .. }), retry_in } = status else {
        panic!("not {status:?}")
    };
    assert!(retry_in <= Duration::from_millis(64), "{retry_in:?}");
    client.close().await;
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = Server::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let client = server
        .builder()
        .token_fn(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, std::io::Error>("bad".to_owned()) }
        })
        .start()
        .unwrap();
    let refused = async {
        loop {
            server.answer("HTTP/1.1 401 Unauthorized\r\n\r\n").await;
        }
    };
    let reason = tokio::select! {
        reason = until_closed(&client) => reason,
        () = refused => unreachable!("it goes on for ever"),
    };
    assert!(matches!(reason, Error::Connect(ConnectError::Status { status: 401, .. })), "{reason:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(publish(&client, "late").await.unwrap().is_err());
}

#[tokio::test]
async fn who_answers_in_the_place_of_a_server_that_restarts_is_waited_out() {
    let server = Server::start().await;
    let (client, peer) = server.connected().await;
    drop(peer);
    server.answer("HTTP/1.1 404 Not Found\r\n\r\n").await;
    server.answer("SSH-2.0-OpenSSH_9.2\r\n").await;
    let mut peer = server.accept().await;
    let _room = subscribed(&client, &mut peer, 0).await;
}

#[tokio::test]
async fn requests_are_answered_or_late() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let script = async {
        let id = peer.expect(json!({"type": "event", "event": "sum", "payload": [1, 2], "channel": "room"})).await;
        peer.send(json!({"type": "ack", "id": id, "payload": 3})).await;
        let id = peer.expect(json!({"type": "event", "event": "none", "payload": null})).await;
        peer.send(json!({"type": "ack", "id": id})).await;
        let id = peer.expect(json!({"type": "history", "channel": "room", "limit": 2, "before": 9})).await;
        let messages = [message(7), message(8)];
        peer.send(json!({"type": "ack", "id": id, "messages": messages, "epoch": "e", "offset": 9})).await;
        peer.receive().await
    };
    let calls = async {
        let sum = Request::json("sum", &[1, 2]).unwrap().channel("room");
        assert_eq!(client.request(sum).await.unwrap().json::<u32>().unwrap(), 3);
        let none = client.request(Request::json("none", &()).unwrap()).await.unwrap();
        assert_eq!(none.json::<Option<u32>>().unwrap(), None);
        let past = client.history("room", HistoryOptions::default().limit(2).before(9)).await.unwrap();
        assert_eq!(past.messages.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["m7", "m8"]);
        assert_eq!(past.position, Some(position(9)));
        let late = Request::json("late", &1).unwrap().timeout(Duration::from_millis(20));
        assert!(matches!(client.request(late).await, Err(Error::Timeout(_))));
    };
    let (late, ()) = tokio::join!(script, calls);
    // The answer to what was given up passes, and the next request is not taken for it.
    peer.send(json!({"type": "ack", "id": late["id"], "payload": "too late"})).await;
    let script = async {
        let id = peer.expect(json!({"type": "event", "event": "sum", "payload": 1})).await;
        peer.send(json!({"type": "ack", "id": id, "payload": 1})).await;
    };
    let (sum, ()) = tokio::join!(client.request(Request::json("sum", &1).unwrap()), script);
    assert_eq!(sum.unwrap().json::<u32>().unwrap(), 1);
}

#[tokio::test]
async fn a_request_to_the_application_is_sent_once_and_a_question_about_presence_again() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let presence = client.presence("room");
    let (event, get) = (client.request(Request::json("pay", &1).unwrap()), presence.get());
    let script = async {
        for _ in 0..2 {
            peer.receive().await;
        }
        drop(peer);
        let mut peer = server.accept().await;
        let id = peer.expect(json!({"type": "presence", "channel": "room", "action": "get"})).await;
        peer.send(json!({"type": "ack", "id": id, "members": []})).await;
    };
    let (event, get, ()) = tokio::join!(event, get, script);
    assert!(matches!(event, Err(Error::Lost(_))), "{event:?}");
    assert_eq!(get.unwrap(), []);
}

#[tokio::test]
async fn a_publish_that_was_given_up_offline_is_not_sent() {
    let server = Server::start().await;
    let (client, peer) = server.connected_with(|builder| builder.max_pending(1).connect_timeout(PATIENCE)).await;
    drop(peer);
    // The next connection is accepted by the system, and answered only below.
    let brief = Duration::from_millis(30);
    let given_up = client.publish(Publish::json("room", "given up").unwrap().timeout(brief)).await;
    assert!(matches!(given_up, Err(Error::Timeout(_))), "{given_up:?}");
    let wanted = publish(&client, "wanted");
    let mut peer = server.accept().await;
    let request = peer.receive().await;
    assert_eq!(request["payload"], "wanted");
    peer.send(json!({"type": "ack", "id": request["id"], "messageId": "m"})).await;
    assert!(wanted.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_nobody_subscribed_to_arrives_in_the_inbox_and_questions_are_answered() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut inbox = client.inbox().await.unwrap();
    // What follows the answer to a request comes after the inbox was made.
    let _room = subscribed(&client, &mut peer, 0).await;
    let mut own = message(1);
    own["channel"] = "#user:ada".into();
    peer.send(own).await;
    peer.send(json!({"type": "event", "event": "sure?", "payload": {"n": 1}, "ack": 7})).await;
    let Some(Arrival::Message(message)) = inbox.next().await else { panic!("a message") };
    assert_eq!(message.channel, "#user:ada");
    let Some(Arrival::Event(question)) = inbox.next().await else { panic!("a question") };
    assert!(question.wants_reply() && question.event == "sure?");
    question.reply(&"yes").await.unwrap();
    assert_eq!(peer.receive().await, json!({"type": "reply", "ack": 7, "payload": "yes"}));
    peer.send(json!({"type": "event", "event": "still?", "payload": null, "ack": 8})).await;
    let Some(Arrival::Event(question)) = inbox.next().await else { panic!("a question") };
    drop(peer);
    let mut peer = server.accept().await;
    peer.agree(
        json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 0}}),
        json!({"epoch": "e", "offset": 0, "recovered": true}),
    )
    .await;
    // Asked on another connection: the answer is left out, and what follows is not.
    question.reply(&"late").await.unwrap();
    let sent = publish(&client, "next");
    assert_eq!(peer.receive().await["type"], "publish");
    drop((client, sent));
}
