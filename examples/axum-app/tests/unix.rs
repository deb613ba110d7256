//! A stream that Starling's workers cannot own: a Unix socket.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_over_a_unix_socket_converses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let handlers = starling::handlers::Handlers::new()
        .on("twice", async |_: starling::handlers::Connection, n: u64| starling::handlers::Answer::Ok(n * 2));
    let realtime = starling::Server::builder().anonymous().workers(1).handlers(handlers).start().unwrap();
    let app: axum::Router = axum::Router::new().fallback_service(starling::axum::fallback(&realtime));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://localhost/ws", stream).await.unwrap();
    for n in [1, 21] {
        let event = json!({"type": "event", "id": n, "event": "twice", "payload": n});
        socket.send(Message::text(event.to_string())).await.unwrap();
        let answer: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(answer, json!({"type": "ack", "id": n, "payload": n * 2}));
    }
    realtime.stop().await;
    serving.abort();
}
