//! The client against a server that follows a script: what it sends, what it makes of what comes, and what it does
//! when the connection ends.

#[path = "support/script.rs"]
mod script;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use script::{
    PATIENCE, Server, lost_code, message, next, next_message, next_offset, position, publish, subscribed, until_closed,
};
use serde_json::json;
use starling_client::{ConnectError, Error, Item, Position, Publish, Status, SubscribeOptions};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message as Frame;

#[tokio::test]
async fn the_token_is_shown_on_the_upgrade_and_as_first_message() {
    let server = Server::start().await;
    let script = async {
        let mut peer = server.upgrade().await;
        assert_eq!(peer.authorization.as_deref(), Some("Bearer t.o.k"));
        assert_eq!(peer.receive().await, json!({"type": "auth", "token": "t.o.k"}));
        peer.send(json!({"type": "auth_ack", "userId": "ada", "connectionId": "c1", "expiresAt": 5})).await;
        peer
    };
    let (client, _peer) = tokio::join!(server.builder().token("t.o.k").connect(), script);
    let client = client.unwrap();
    let status = client.status().borrow().clone();
    let Status::Connected { connection_id, user_id, .. } = status else { panic!("connected") };
    assert_eq!((connection_id.as_str(), user_id.as_deref()), ("c1", Some("ada")));
}

#[tokio::test]
async fn messages_of_a_subscription_come_in_order_and_once() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    for offset in [5, 6, 6, 5, 7] {
        peer.message(offset).await;
    }
    peer.send(json!({"type": "gap", "channel": "room", "missed": 2})).await;
    peer.message(10).await;
    let first = next_message(&mut room).await;
    assert_eq!(
        (first.id.as_str(), first.event.as_str(), first.user_id.as_deref(), first.ts),
        ("m5", "said", Some("bob"), 5)
    );
    assert_eq!(first.position, Some(position(5)));
    assert_eq!((next_offset(&mut room).await, next_offset(&mut room).await), (6, 7));
    assert_eq!(next(&mut room).await, Some(Item::Gap { missed: 2, announced: true }));
    assert_eq!(next_offset(&mut room).await, 10);
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_recovered_from_the_last_position() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    peer.message(5).await;
    assert_eq!(next_offset(&mut room).await, 5);
    drop(peer);

    let recover =
        |offset: u64| json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": offset}});
    let mut peer = server.accept().await;
    peer.agree(recover(5), json!({"epoch": "e", "offset": 7, "recovered": true})).await;
    // The server should not repeat 5; if it does, it stays unseen.
    for offset in [5, 6, 7] {
        peer.message(offset).await;
    }
    assert_eq!(next(&mut room).await, Some(Item::Recovered(true)));
    assert_eq!((next_offset(&mut room).await, next_offset(&mut room).await), (6, 7));
    drop(peer);

    // The log is another one by now, in which offsets start over.
    let mut peer = server.accept().await;
    peer.agree(recover(7), json!({"epoch": "f", "offset": 2, "recovered": false})).await;
    let mut restarted = message(3);
    restarted["epoch"] = "f".into();
    peer.send(restarted).await;
    assert_eq!(next(&mut room).await, Some(Item::Recovered(false)));
    assert_eq!(next_message(&mut room).await.position, Some(Position { epoch: "f".into(), offset: 3 }));
}

#[tokio::test]
async fn a_position_without_messages_is_recovered_from_too() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    drop(peer);
    let mut peer = server.accept().await;
    let recover = json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 4}});
    peer.agree(recover, json!({"epoch": "e", "offset": 4, "recovered": true})).await;
    assert_eq!(next(&mut room).await, Some(Item::Recovered(true)));
}

#[tokio::test]
async fn without_history_a_reconnect_is_no_recovery() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let request = json!({"type": "subscribe", "channel": "room"});
    let (room, ()) =
        tokio::join!(client.subscribe("room", SubscribeOptions::default()), peer.agree(request.clone(), json!({})));
    let mut room = room.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    peer.agree(request, json!({})).await;
    assert_eq!(next(&mut room).await, Some(Item::Recovered(false)));
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_asked_to() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let since = SubscribeOptions::default().since(position(2));
    let request = json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 2}});
    let agree = peer.agree(request, json!({"epoch": "e", "offset": 3, "recovered": true}));
    let (room, ()) = tokio::join!(client.subscribe("room", since), agree);
    let mut room = room.unwrap();
    peer.message(3).await;
    assert_eq!(next(&mut room).await, Some(Item::Recovered(true)));
    assert_eq!(next_offset(&mut room).await, 3);

    let request = json!({"type": "subscribe", "channel": "other", "rewind": 2});
    let agree = peer.agree(request, json!({"epoch": "e", "offset": 9}));
    let (other, ()) = tokio::join!(client.subscribe("other", SubscribeOptions::default().rewind(2)), agree);
    let mut other = other.unwrap();
    for offset in [8, 9] {
        let mut rewound = message(offset);
        rewound["channel"] = "other".into();
        peer.send(rewound).await;
    }
    assert_eq!((next_offset(&mut other).await, next_offset(&mut other).await), (8, 9));
}

#[tokio::test]
async fn a_refused_subscription_is_an_error() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let script = async {
        let id = peer.expect(json!({"type": "subscribe", "channel": "room"})).await;
        peer.send(json!({"type": "error", "id": id, "channel": "room", "code": "FORBIDDEN", "message": "no"})).await;
    };
    let (room, ()) = tokio::join!(client.subscribe("room", SubscribeOptions::default()), script);
    assert_eq!(room.unwrap_err().to_string(), "FORBIDDEN: no");
    // The channel is free again, and taken once.
    let _room = subscribed(&client, &mut peer, 0).await;
    let again = client.subscribe("room", SubscribeOptions::default()).await;
    assert!(matches!(again, Err(Error::AlreadySubscribed(channel)) if channel == "room"));
}

#[tokio::test]
async fn a_subscription_that_is_refused_after_a_reconnect_ends() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    drop(peer);
    let mut peer = server.accept().await;
    // A passing trouble is not the end.
    let request = json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 4}});
    let id = peer.expect(request.clone()).await;
    peer.send(json!({"type": "error", "id": id, "code": "ENGINE_UNAVAILABLE", "message": "later"})).await;
    let id = peer.expect(request).await;
    peer.send(json!({"type": "error", "id": id, "code": "FORBIDDEN", "message": "no more"})).await;
    let Some(Item::Unsubscribed(refusal)) = next(&mut room).await else { panic!("unsubscribed") };
    assert_eq!(refusal.to_string(), "FORBIDDEN: no more");
    assert_eq!(next(&mut room).await, None);
}

#[tokio::test]
async fn the_server_ends_a_subscription() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let mut room = subscribed(&client, &mut peer, 4).await;
    peer.message(5).await;
    peer.send(json!({"type": "unsubscribed", "channel": "room", "code": "FORBIDDEN", "message": "out"})).await;
    peer.message(6).await;
    assert_eq!(next_offset(&mut room).await, 5);
    assert!(matches!(next(&mut room).await, Some(Item::Unsubscribed(refusal)) if refusal.code == "FORBIDDEN"));
    assert_eq!(next(&mut room).await, None);
}

#[tokio::test]
async fn a_dropped_subscription_is_unsubscribed_and_its_late_messages_are_not_the_next_ones() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    drop(subscribed(&client, &mut peer, 4).await);
    let left = peer.expect(json!({"type": "unsubscribe", "channel": "room"})).await;
    let script = async {
        peer.message(5).await;
        peer.send(json!({"type": "ack", "id": left, "channel": "room"})).await;
        let id = peer.expect(json!({"type": "subscribe", "channel": "room"})).await;
        peer.send(json!({"type": "ack", "id": id, "channel": "room", "epoch": "e", "offset": 5})).await;
        peer.message(6).await;
    };
    let (room, ()) = tokio::join!(client.subscribe("room", SubscribeOptions::default()), script);
    assert_eq!(next_offset(&mut room.unwrap()).await, 6);
}

#[tokio::test]
async fn a_publish_is_acknowledged_or_refused() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let script = async {
        let request = peer.receive().await;
        let (id, name) = (&request["id"], &request["messageId"]);
        assert!(name.as_str().unwrap().len() == 32, "{name}");
        assert_eq!(
            request,
            json!({"type": "publish", "id": id, "channel": "room", "payload": "one", "messageId": name})
        );
        peer.send(json!({"type": "ack", "id": id, "messageId": name, "epoch": "e", "offset": 7})).await;
        // What came too fast is sent again a little later.
        let request = peer.receive().await;
        peer.send(json!({"type": "error", "id": request["id"], "code": "RATE_LIMITED", "message": "slower"})).await;
        assert_eq!(peer.receive().await, request);
        peer.send(json!({"type": "error", "id": request["id"], "code": "FORBIDDEN", "message": "no"})).await;
        let request = peer.receive().await;
        assert_eq!(
            (&request["event"], &request["messageId"], &request["echo"]),
            (&json!("e"), &json!("mine"), &json!(false))
        );
        peer.send(json!({"type": "ack", "id": request["id"], "messageId": "mine"})).await;
    };
    let publishes = async {
        let ack = publish(&client, "one").await.unwrap().unwrap();
        assert_eq!(ack.position, Some(position(7)));
        assert!(
            matches!(publish(&client, "two").await.unwrap(), Err(Error::Refused(refusal)) if refusal.code == "FORBIDDEN")
        );
        let third = Publish::json("room", &3).unwrap().event("e").message_id("mine").echo(false);
        let ack = client.publish(third).await.unwrap();
        assert_eq!((ack.message_id.as_str(), ack.position), ("mine", None));
    };
    tokio::join!(script, publishes);
}

#[tokio::test]
async fn a_publish_without_an_acknowledgement_is_sent_again_behind_the_subscriptions() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let _room = subscribed(&client, &mut peer, 4).await;
    let first = publish(&client, "one");
    let sent = peer.receive().await;
    drop(peer);
    let mut peer = server.accept().await;
    let recover = json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 4}});
    peer.agree(recover, json!({"epoch": "e", "offset": 4, "recovered": true})).await;
    let again = peer.receive().await;
    assert_eq!(again, sent, "the same message under the same id");
    peer.send(json!({"type": "ack", "id": again["id"], "messageId": again["messageId"]})).await;
    assert_eq!(first.await.unwrap().unwrap().message_id, sent["messageId"]);
}

#[tokio::test]
async fn a_publish_that_the_server_closes_upon_is_not_sent_again() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let large = publish(&client, "too large");
    peer.receive().await;
    let (error, ()) = tokio::join!(large, peer.close(1009));
    assert_eq!(lost_code(&error.unwrap().unwrap_err()), Some(1009));
    let mut peer = server.accept().await;
    let small = publish(&client, "small");
    let request = peer.receive().await;
    assert_eq!(request["payload"], "small");
    peer.send(json!({"type": "ack", "id": request["id"], "messageId": "m"})).await;
    assert!(small.await.unwrap().is_ok());
}

#[tokio::test]
async fn publishes_that_wait_are_bounded() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected_with(|builder| builder.max_pending(1)).await;
    let first = publish(&client, "one");
    let request = peer.receive().await;
    assert!(matches!(publish(&client, "two").await.unwrap(), Err(Error::QueueFull)));
    peer.send(json!({"type": "ack", "id": request["id"], "messageId": "m"})).await;
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_drain_says_when_to_come_back() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let announced = Instant::now();
    peer.send(json!({"type": "drain", "reconnectIn": 300})).await;
    peer.close(1012).await;
    let _peer = server.accept().await;
    let after = announced.elapsed();
    assert!(after >= Duration::from_millis(300), "came back after {after:?}");
    drop(client);
}

#[tokio::test]
async fn closes_that_pass_are_followed_by_a_reconnect() {
    for code in [1000, 1001, 1011, 1012, 4008, 4029] {
        let server = Server::start().await;
        let (client, peer) = server.connected().await;
        tokio::join!(peer.close(code), server.accept());
        drop(client);
    }
}

#[tokio::test]
async fn closes_that_would_come_again_end_the_client() {
    for code in [4001, 4002, 4003] {
        let server = Server::start().await;
        let (client, mut peer) = server.connected_with(|builder| builder.token("t")).await;
        let mut room = subscribed(&client, &mut peer, 4).await;
        let waiting = publish(&client, "one");
        peer.receive().await;
        peer.close(code).await;
        assert_eq!(lost_code(&until_closed(&client).await), Some(code));
        assert_eq!(next(&mut room).await, None);
        assert_eq!(lost_code(&waiting.await.unwrap().unwrap_err()), Some(code));
        assert_eq!(lost_code(&publish(&client, "two").await.unwrap().unwrap_err()), Some(code));
        let refused = client.subscribe("other", SubscribeOptions::default()).await;
        assert_eq!(lost_code(&refused.unwrap_err()), Some(code));
    }
}

#[tokio::test]
async fn the_error_before_a_close_says_why() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    peer.send(json!({"type": "error", "code": "TOKEN_EXPIRED", "message": "at noon"})).await;
    peer.close(4002).await;
    assert_eq!(until_closed(&client).await.to_string(), "TOKEN_EXPIRED: at noon");
}

#[tokio::test]
async fn an_expired_token_is_replaced_where_there_is_a_source_of_them() {
    let server = Server::start().await;
    let tokens = std::sync::Mutex::new(VecDeque::from(["first", "second"]));
    let builder = server.builder().token_fn(move || {
        let token = tokens.lock().unwrap().pop_front();
        async move { token.map(str::to_owned).ok_or("no more tokens") }
    });
    let (client, peer) = tokio::join!(builder.connect(), server.accept());
    let client = client.unwrap();
    assert_eq!(peer.authorization.as_deref(), Some("Bearer first"));
    let ((), mut peer) = tokio::join!(peer.close(4002), server.accept());
    assert_eq!(peer.authorization.as_deref(), Some("Bearer second"));
    let _room = subscribed(&client, &mut peer, 0).await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = Server::start().await;
    let tokens = std::sync::Mutex::new(VecDeque::from(["first", "second"]));
    let builder = server.builder().token_fn(move || {
        let token = tokens.lock().unwrap().pop_front();
        async move { token.map(str::to_owned).ok_or("no more tokens") }
    });
    let script = async {
        let mut peer = server.upgrade().await;
        peer.receive().await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let expires = now.as_millis() as u64 + 2000;
        peer.send(json!({"type": "auth_ack", "userId": "ada", "connectionId": "c1", "expiresAt": expires})).await;
        peer
    };
    let (client, mut peer) = tokio::join!(builder.connect(), script);
    assert_eq!(peer.receive().await, json!({"type": "auth", "token": "second"}));
    drop(client);
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection_and_nothing_is_missed() {
    let garbage = [
        Frame::text("no json"),
        Frame::text("[]"),
        Frame::text(r#"{"type":"message","channel":"room"}"#),
        Frame::binary(vec![0x80]),
    ];
    for frame in garbage {
        let server = Server::start().await;
        let (client, mut peer) = server.connected().await;
        let mut room = subscribed(&client, &mut peer, 4).await;
        peer.message(5).await;
        peer.raw(frame).await;
        let mut peer = server.accept().await;
        let recover = json!({"type": "subscribe", "channel": "room", "recover": {"epoch": "e", "offset": 5}});
        peer.agree(recover, json!({"epoch": "e", "offset": 6, "recovered": true})).await;
        peer.message(6).await;
        assert_eq!(next_offset(&mut room).await, 5);
        assert_eq!(next(&mut room).await, Some(Item::Recovered(true)));
        assert_eq!(next_offset(&mut room).await, 6);
    }
}

#[tokio::test]
async fn frames_that_violate_the_protocol_end_the_connection() {
    // A masked frame, which only clients send; and bytes behind the upgrade that are no frame at all.
    for bytes in [&[0x81, 0x80, 1, 2, 3, 4][..], b"HTTP/1.1 200 OK\r\n\r\n"] {
        let server = Server::start().await;
        let (client, mut peer) = server.connected().await;
        let (written, _peer) = tokio::join!(peer.socket.get_mut().write_all(bytes), server.accept());
        written.unwrap();
        drop(client);
    }
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_given_up() {
    let server = Server::start().await;
    let brief = Duration::from_millis(50);
    let (client, mut peer) = server.connected_with(|builder| builder.heartbeat(brief, brief)).await;
    // Reading answers the first ping; from then on nothing is read, and nothing answered.
    assert!(matches!(peer.frame().await, Some(Frame::Ping(_))));
    let _second = server.accept().await;
    drop((client, peer));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_loses_nothing() {
    const MESSAGES: u64 = 20_000;
    let server = Server::start().await;
    let brief = Duration::from_millis(500);
    let (client, mut peer) = server.connected_with(|builder| builder.queue(2).heartbeat(brief, brief)).await;
    let mut room = subscribed(&client, &mut peer, 0).await;
    let script = tokio::spawn(async move {
        for offset in 1..=MESSAGES {
            peer.message(offset).await;
        }
        peer
    });
    // The socket's buffers fill up, and the client, which reads nothing, does not take that for silence.
    let mut status = client.status();
    let lost = status.wait_for(|status| !matches!(status, Status::Connected { .. }));
    assert!(tokio::time::timeout(4 * brief, lost).await.is_err(), "the connection stays");
    for offset in 1..=MESSAGES {
        assert_eq!(next_offset(&mut room).await, offset);
    }
    drop(script.await.unwrap());
}

#[tokio::test]
async fn closing_waits_for_acknowledgements_and_says_goodbye() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let waiting = publish(&client, "one");
    let request = peer.receive().await;
    let script = async {
        peer.send(json!({"type": "ack", "id": request["id"], "messageId": "m"})).await;
        let Some(Frame::Close(Some(frame))) = peer.frame().await else { panic!("a close frame") };
        assert_eq!(u16::from(frame.code), 1000);
        assert!(peer.frame().await.is_none());
    };
    tokio::join!(client.close(), script);
    assert!(waiting.await.unwrap().is_ok());
    assert!(matches!(until_closed(&client).await, Error::Closed));
    assert!(matches!(publish(&client, "two").await.unwrap(), Err(Error::Closed)));
}

#[tokio::test]
async fn the_connection_closes_when_all_handles_are_gone() {
    let server = Server::start().await;
    let (client, mut peer) = server.connected().await;
    let room = subscribed(&client, &mut peer, 0).await;
    drop(client);
    peer.message(1).await;
    drop(room);
    loop {
        match peer.frame().await {
            Some(Frame::Close(_)) => break,
            Some(_) => {}
            None => panic!("a close frame"),
        }
    }
}

#[tokio::test]
async fn a_client_can_be_closed_while_it_waits_to_reconnect() {
    let server = Server::start().await;
    let hour = Duration::from_secs(3600);
    let (client, mut peer) = server.connected_with(|builder| builder.backoff(hour, hour)).await;
    peer.send(json!({"type": "drain", "reconnectIn": 3_600_000})).await;
    peer.close(1012).await;
    let mut status = client.status();
    status.wait_for(|status| matches!(status, Status::Waiting { .. })).await.unwrap();
    tokio::time::timeout(PATIENCE, client.close()).await.expect("at once");
}

#[tokio::test]
async fn refused_upgrades_are_told_apart() {
    let server = Server::start().await;
    for (response, expected) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 59\r\n\r\n{\"error\":{\"code\":\"TOKEN_INVALID\",\"message\":\"bad signature\"}}",
            "the server refused the connection: HTTP 401: TOKEN_INVALID: bad signature",
        ),
        ("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n", "the server refused the connection: HTTP 503"),
        ("HTTP/1.1 404 Not Found\r\n\r\nnothing here\r\n", "the server refused the connection: HTTP 404: nothing here"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "not a Starling server: accept value does not match the key",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not a Starling server: no HTTP: invalid HTTP version"),
    ] {
        let (client, ()) = tokio::join!(server.builder().connect(), server.answer(response));
        assert_eq!(client.unwrap_err().to_string(), expected);
    }
    let (client, ()) =
        tokio::join!(server.builder().connect(), server.answer("HTTP/1.1 503 X\r\nRetry-After: 7\r\n\r\n"));
    let Err(Error::Connect(ConnectError::Status { retry_after, .. })) = client else { panic!("refused") };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_refused_token_on_reconnect_ends_the_client() {
    let server = Server::start().await;
    let (client, peer) = server.connected_with(|builder| builder.token("t")).await;
    drop(peer);
    server.answer("HTTP/1.1 401 Unauthorized\r\n\r\n").await;
    let reason = until_closed(&client).await;
    assert!(matches!(reason, Error::Connect(ConnectError::Status { status: 401, .. })), "{reason:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let server = Server::start().await;
    let brief = Duration::from_millis(50);
    let error = server.builder().connect_timeout(brief).connect().await.unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn a_token_cannot_smuggle_headers() {
    let server = Server::start().await;
    let error = server.builder().token("a\r\nX-Evil: 1").connect().await.unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Protocol(_))), "{error:?}");
}
