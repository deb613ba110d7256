//! Two clients that speak MessagePack, which carries bytes as bytes.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rmpv::Value;
use starling::Server;
use starling_example_binary::{CHANNEL, Frame, handlers};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

struct Painter(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Painter {
    async fn connect(server: &Server) -> Self {
        let mut request = format!("ws://{}/ws", server.addresses()[0]).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "starling.v1.msgpack".parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut painter = Self(socket);
        let joined = painter.ask(&[("type", "subscribe".into()), ("channel", CHANNEL.into())]).await;
        assert_eq!(joined["type"], Value::from("ack"), "{joined}");
        painter
    }

    async fn ask(&mut self, fields: &[(&str, Value)]) -> Value {
        let fields = fields.iter().cloned().chain([("id", Value::from(1))]);
        let message = Value::Map(fields.map(|(name, value)| (name.into(), value)).collect());
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &message).unwrap();
        self.0.send(Message::binary(bytes)).await.unwrap();
        self.hear().await
    }

    async fn send(&mut self, frame: Bytes) -> Value {
        let event = [("type", "event".into()), ("channel", CHANNEL.into()), ("event", "frame".into())];
        let fields: Vec<_> = event.into_iter().chain([("payload", Value::Binary(frame.to_vec()))]).collect();
        self.ask(&fields).await
    }

    async fn hear(&mut self) -> Value {
        match self.0.next().await.expect("the connection stands").unwrap() {
            Message::Binary(bytes) => rmpv::decode::read_value(&mut &bytes[..]).unwrap(),
            other => panic!("expected a binary frame, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_come_and_go_as_bytes() {
    let server = Server::builder().listen("127.0.0.1:0").anonymous().workers(2).handlers(handlers()).start().unwrap();
    let mut ann = Painter::connect(&server).await;
    let mut bob = Painter::connect(&server).await;

    let pong = ann.send(Frame::Ping(Bytes::from_static(b"\x00\xff")).encode()).await;
    assert_eq!(pong["payload"].as_slice(), Some(&b"\x04\x00\xff"[..]));
    for frame in [Frame::Draw { x: 300, y: 2, colour: 9 }, Frame::Clear] {
        assert_eq!(ann.send(frame.encode()).await["type"], Value::from("ack"));
        let heard = bob.hear().await;
        assert_eq!(heard["type"], Value::from("message"));
        let payload = heard["payload"].as_slice().expect("bytes").to_vec();
        assert_eq!(Frame::decode(&payload.into()), Ok(frame));
    }
    for bad in [&b""[..], b"\x01\x00", b"\x09", b"\x02\x02"] {
        let refused = ann.send(Bytes::from_static(bad)).await;
        assert_eq!(refused["code"], Value::from("INVALID_MESSAGE"), "{bad:?}");
    }
    server.stop().await;
}
