//! A native client that is told what to say, and tells what it heard.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use starling::Server;
use starling::auth::{Algorithm, AppKeys, NewToken, mint};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SECRET: &str = "a secret of some length";

/// How long a client waits for what must come. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A builder of a server that these clients can connect to.
pub fn server() -> starling::Builder {
    Server::builder().listen("127.0.0.1:0").app(AppKeys::new("1", "key", SECRET)).anonymous().workers(2)
}

pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came before it was asked for.
    early: VecDeque<Value>,
    asked: u64,
}

impl Client {
    /// Connects as a user, or as nobody.
    pub async fn connect(server: &Server, user: Option<&str>) -> Self {
        Self::try_connect(server.addresses()[0], user).await.expect("the server takes the connection")
    }

    pub async fn try_connect(
        address: SocketAddr,
        user: Option<&str>,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://{address}/ws").into_client_request()?;
        if let Some(user) = user {
            let token = NewToken { user, ..NewToken::default() };
            let token = mint(Algorithm::Hs256, SECRET.as_bytes(), &token).unwrap();
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        let mut client = Self { socket, early: VecDeque::new(), asked: 0 };
        if user.is_some() {
            client.hear("auth_ack").await;
        }
        Ok(client)
    }

    pub async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
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

    /// Becomes a member of a channel, if it may.
    pub async fn subscribe(&mut self, channel: &str) -> Value {
        self.ask(json!({"type": "subscribe", "channel": channel})).await
    }

    /// The next of this type.
    pub async fn hear(&mut self, kind: &str) -> Value {
        self.hear_where(|heard| heard["type"] == kind).await
    }

    pub async fn hear_where(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.early.iter().position(&is_it) {
            return self.early.remove(at).unwrap();
        }
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("nothing came but {:?}", self.early)) {
                Some(Ok(Message::Text(text))) => {
                    let heard: Value = serde_json::from_str(&text).unwrap();
                    if is_it(&heard) {
                        return heard;
                    }
                    self.early.push_back(heard);
                }
                Some(Ok(_)) => {}
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

    pub async fn close(mut self) {
        self.socket.close(None).await.unwrap();
    }
}
