//! The same handlers, for a Socket.IO client: protocol 5 over WebSocket, written out.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use starling::core::Access;
use starling::handlers::{Answer, Channel, Connection, Handlers, Member};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::server;

struct SocketIo(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl SocketIo {
    async fn connect(server: &starling::Server) -> Self {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", server.addresses()[0]);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut client = Self(socket);
        assert!(client.hear().await.starts_with("0{"), "the Engine.IO handshake");
        client.say("40").await;
        assert!(client.hear().await.starts_with("40{"), "the namespace is entered");
        client
    }

    async fn say(&mut self, packet: &str) {
        self.0.send(Message::text(packet.to_owned())).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await.expect("something comes");
            match message.unwrap().unwrap() {
                Message::Text(text) if text == "2" => self.say("3").await,
                Message::Text(text) => return text.to_string(),
                other => panic!("expected a packet, got {other:?}"),
            }
        }
    }

    /// Emits an event with an ack, and gives the ack's arguments.
    async fn emit(&mut self, arguments: Value) -> Value {
        self.say(&format!("421{arguments}")).await;
        let ack = self.hear().await;
        serde_json::from_str(ack.strip_prefix("431").unwrap_or_else(|| panic!("{ack} is no ack"))).unwrap()
    }
}

async fn moved(member: Member<u32>, to: (i32, i32)) -> Answer<Value> {
    Ok(json!({"game": member.params(), "to": to}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_io_client_reaches_the_same_handlers() {
    let add = async |_: Connection, (a, b): (i64, i64)| -> Answer<i64> { Ok(a + b) };
    let ask = async |connection: Connection| {
        tokio::spawn(async move {
            let answer: String =
                connection.ask("name?", json!({"really": true}), Duration::from_secs(30)).await.unwrap();
            connection.emit("so you are", answer).unwrap();
        });
    };
    let games = Channel::new("game:{id}").subscribe(Access::Anyone).on("move", moved);
    let handlers = Handlers::new().on("add", add).on("ask", ask).channel(games);
    let server = server().handlers(handlers).start().unwrap();
    let mut client = SocketIo::connect(&server).await;

    assert_eq!(client.emit(json!(["add", 1, 2])).await, json!([3]));
    assert_eq!(client.emit(json!(["move", "game:7", [1, 2]])).await[0]["error"]["code"], "NOT_SUBSCRIBED");
    assert_eq!(client.emit(json!(["subscribe", "game:7"])).await[0]["ok"], true);
    for _ in 0..4 {
        assert_eq!(client.emit(json!(["move", "game:7", [1, 2]])).await, json!([{"game": 7, "to": [1, 2]}]));
    }
    assert_eq!(client.emit(json!(["move", "game:8", [1, 2]])).await[0]["error"]["code"], "NOT_SUBSCRIBED");
    assert_eq!(client.emit(json!(["fly", "game:7", [1, 2]])).await[0]["error"]["code"], "UNKNOWN_TYPE");

    // The question and the ack come in either order.
    client.say("421[\"ask\"]").await;
    let mut heard = [client.hear().await, client.hear().await];
    heard.sort();
    let [question, ack] = heard;
    assert_eq!(ack, r#"431[{"ok":true}]"#);
    let (number, arguments) = question[2..].split_at(question[2..].find('[').unwrap());
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!(["name?", {"really": true}]));
    client.say(&format!("43{number}[\"Ann\"]")).await;
    // What a handler emits can be recovered as well: it carries its position in the last place.
    let emitted: Vec<String> = serde_json::from_str(&client.hear().await[2..]).unwrap();
    assert_eq!(emitted[..2], ["so you are", "Ann"]);
    assert!(emitted.len() == 3 && !emitted[2].is_empty(), "{emitted:?}");
    server.stop().await;
}
