//! A native client that is told what to say, and tells what it heard. For tests: whatever goes wrong is a panic.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long a client waits for what must come. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came before it was asked for.
    early: VecDeque<Value>,
    asked: u64,
}

impl Client {
    /// Connects to `ws://…/ws` as nobody.
    pub async fn connect(url: &str) -> Self {
        Self::connect_with(url, &[]).await.expect("the server takes the connection")
    }

    /// Connects with a token.
    pub async fn connect_as(url: &str, token: &str) -> Self {
        let authorization = format!("Bearer {token}");
        let connected = Self::connect_with(url, &[("authorization", &authorization)]).await;
        let mut client = connected.expect("the server takes the connection");
        client.hear("auth_ack").await;
        client
    }

    /// Connects with these headers.
    ///
    /// # Errors
    /// When the server refuses, with its answer.
    pub async fn connect_with(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, Box<Error>> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header's value"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        Ok(Self { socket, early: VecDeque::new(), asked: 0 })
    }

    /// Says something.
    pub async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("the connection stands");
    }

    /// Says something with an id, and waits for its answer.
    pub async fn ask(&mut self, mut message: Value) -> Value {
        self.asked += 1;
        let id = json!(self.asked);
        message["id"] = id.clone();
        self.say(message).await;
        self.hear_where(|heard| heard["id"] == id && heard["type"] != "message").await
    }

    /// Sends an event, and waits for its answer.
    pub async fn event(&mut self, event: &str, payload: Value) -> Value {
        self.ask(json!({"type": "event", "event": event, "payload": payload})).await
    }

    /// Sends an event in a channel, and waits for its answer.
    pub async fn event_in(&mut self, channel: &str, event: &str, payload: Value) -> Value {
        self.ask(json!({"type": "event", "channel": channel, "event": event, "payload": payload})).await
    }

    /// Asks to become a member of a channel.
    pub async fn subscribe(&mut self, channel: &str) -> Value {
        self.ask(json!({"type": "subscribe", "channel": channel})).await
    }

    /// The next of this type.
    pub async fn hear(&mut self, kind: &str) -> Value {
        self.hear_where(|heard| heard["type"] == kind).await
    }

    /// The next message of this event.
    pub async fn hear_message(&mut self, event: &str) -> Value {
        self.hear_where(|heard| heard["type"] == "message" && heard["event"] == event).await
    }

    /// The next that is it.
    pub async fn hear_where(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(heard) = self.early.iter().position(&is_it).and_then(|at| self.early.remove(at)) {
            return heard;
        }
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("nothing came but {:?}", self.early)) {
                Some(Ok(Message::Text(text))) => {
                    let heard: Value = serde_json::from_str(&text).expect("the server sends JSON");
                    if is_it(&heard) {
                        return heard;
                    }
                    self.early.push_back(heard);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                end => panic!("the connection ended with {end:?} after {:?}", self.early),
            }
        }
    }

    /// Waits for the close, and tells its code.
    pub async fn hear_close(&mut self) -> u16 {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the close comes") {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                end => panic!("ended without a close: {end:?}"),
            }
        }
    }

    /// Says good-bye.
    pub async fn close(mut self) {
        self.socket.close(None).await.expect("the connection stands");
    }
}
