//! A server that follows a script, and what its tests have in common.

#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use starling_client::{
    Builder, Client, Error, Item, Message, Position, Publish, Status, SubscribeOptions, Subscription, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Longer than anything here takes, so that a broken test ends.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub listener: TcpListener,
}

/// One accepted connection.
pub struct Peer {
    pub socket: WebSocketStream<TcpStream>,
    pub authorization: Option<String>,
}

impl Server {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn builder(&self) -> Builder {
        let url = format!("ws://{}", self.listener.local_addr().unwrap());
        // The script is about one transport; what follows when it fails is told elsewhere.
        let builder = Client::builder(url).transports([Transport::WebSocket]);
        builder.backoff(Duration::from_millis(1), Duration::from_millis(1))
    }

    /// Accepts a connection, up to the upgrade.
    pub async fn upgrade(&self) -> Peer {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("a connection").unwrap();
        let mut authorization = None;
        #[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
        let callback = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/ws");
            assert_eq!(request.headers()["sec-websocket-protocol"], "starling.v1.json");
            authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            response.headers_mut().insert("sec-websocket-protocol", "starling.v1.json".parse().unwrap());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, callback).await.unwrap();
        Peer { socket, authorization }
    }

    /// Accepts a connection and takes whatever it authenticates with.
    pub async fn accept(&self) -> Peer {
        let mut peer = self.upgrade().await;
        assert_eq!(peer.receive().await["type"], "auth");
        peer.send(json!({"type": "auth_ack", "userId": "ada", "connectionId": "c1"})).await;
        peer
    }

    /// A client that is connected, and its connection.
    pub async fn connected(&self) -> (Client, Peer) {
        self.connected_with(|builder| builder).await
    }

    pub async fn connected_with(&self, set: impl FnOnce(Builder) -> Builder) -> (Client, Peer) {
        let (client, peer) = tokio::join!(set(self.builder()).connect(), self.accept());
        (client.unwrap(), peer)
    }

    /// Answers the next connection with plain HTTP.
    pub async fn answer(&self, response: &str) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(response.as_bytes()).await.unwrap();
    }
}

impl Peer {
    /// The next text message; pings and pongs are skipped.
    pub async fn receive(&mut self) -> Value {
        loop {
            match self.frame().await {
                Some(Frame::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Frame::Ping(_) | Frame::Pong(_)) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    pub async fn frame(&mut self) -> Option<Frame> {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
        frame.and_then(Result::ok)
    }

    pub async fn send(&mut self, value: Value) {
        self.raw(Frame::text(value.to_string())).await;
    }

    pub async fn raw(&mut self, frame: Frame) {
        self.socket.send(frame).await.unwrap();
    }

    /// Expects a request, all fields but the `id`, which is returned.
    pub async fn expect(&mut self, mut expected: Value) -> Value {
        let request = self.receive().await;
        expected["id"] = request["id"].clone();
        assert_eq!(request, expected);
        request["id"].clone()
    }

    /// Expects a subscription and agrees with these fields.
    pub async fn agree(&mut self, expected: Value, mut ack: Value) {
        let id = self.expect(expected.clone()).await;
        ack["type"] = "ack".into();
        ack["id"] = id;
        ack["channel"] = expected["channel"].clone();
        self.send(ack).await;
    }

    pub async fn message(&mut self, offset: u64) {
        self.send(message(offset)).await;
    }

    pub async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "scripted".into() };
        self.socket.close(Some(frame)).await.unwrap();
        while self.frame().await.is_some() {}
    }
}

pub fn message(offset: u64) -> Value {
    json!({"type": "message", "channel": "room", "event": "said", "payload": {"n": offset}, "id": format!("m{offset}"),
        "ts": 5, "userId": "bob", "offset": offset, "epoch": "e"})
}

pub fn position(offset: u64) -> Position {
    Position { epoch: "e".into(), offset }
}

pub async fn next(subscription: &mut Subscription) -> Option<Item> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an item in time")
}

pub async fn next_message(subscription: &mut Subscription) -> Message {
    match next(subscription).await {
        Some(Item::Message(message)) => message,
        other => panic!("expected a message, got {other:?}"),
    }
}

pub async fn next_offset(subscription: &mut Subscription) -> u64 {
    next_message(subscription).await.position.unwrap().offset
}

/// Subscribes to `room`, whose log stands at `offset`.
pub async fn subscribed(client: &Client, peer: &mut Peer, offset: u64) -> Subscription {
    let request = json!({"type": "subscribe", "channel": "room"});
    let agree = peer.agree(request, json!({"epoch": "e", "offset": offset}));
    let (subscription, ()) = tokio::join!(client.subscribe("room", SubscribeOptions::default()), agree);
    subscription.unwrap()
}

/// Starts a publish, which waits for its acknowledgement.
pub fn publish(client: &Client, payload: &str) -> JoinHandle<Result<starling_client::Ack, Error>> {
    let (client, publish) = (client.clone(), Publish::json("room", payload).unwrap());
    tokio::spawn(async move { client.publish(publish).await })
}

pub async fn until_closed(client: &Client) -> Error {
    let mut status = client.status();
    let closed = status.wait_for(|status| matches!(status, Status::Closed(_)));
    let status = tokio::time::timeout(PATIENCE, closed).await.expect("an end").unwrap();
    match &*status {
        Status::Closed(reason) => reason.clone(),
        _ => unreachable!("waited for"),
    }
}

pub fn lost_code(error: &Error) -> Option<u16> {
    match error {
        Error::Lost(lost) => lost.code,
        other => panic!("expected the end of a connection, got {other:?}"),
    }
}
