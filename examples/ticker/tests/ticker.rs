//! A client that keeps up, and one that does not read for a while.

use std::collections::HashMap;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use starling::Server;
use starling_example_ticker::{Feed, SYMBOLS, handlers};
use starling_scripted_client::Client;
use tokio_tungstenite::tungstenite::Message;

/// Prices of each symbol while one client does not read: many times what its socket takes.
const TICKS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_gets_the_latest_price_of_each_symbol() {
    let server = Server::builder().listen("127.0.0.1:0").anonymous().workers(1).handlers(handlers()).start().unwrap();
    let address = server.addresses()[0];
    let mut feed = Feed::new(server.broadcaster());

    let mut quick = Client::connect(&format!("ws://{address}/ws")).await;
    assert_eq!(quick.subscribe("ticker").await["type"], "ack");
    feed.tick().await.unwrap();
    for symbol in SYMBOLS {
        let price = quick.hear_message("price").await;
        assert_eq!((&price["payload"]["symbol"], &price["payload"]["count"]), (&json!(symbol), &json!(1)));
    }
    quick.close().await;

    // A small buffer, so that the server's side fills up soon.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(socket.into()).unwrap();
    let (mut slow, _) = tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream).await.unwrap();
    slow.send(Message::text(r#"{"type":"subscribe","channel":"ticker","id":1}"#)).await.unwrap();
    assert!(slow.next().await.unwrap().unwrap().to_text().unwrap().contains("ack"));
    for _ in 0..TICKS {
        feed.tick().await.unwrap();
    }
    feed.close().await.unwrap();

    let mut latest = HashMap::new();
    let mut heard = 0;
    while latest.len() < SYMBOLS.len() || latest.values().any(|count| *count < TICKS + 1) {
        let message = slow.next().await.expect("the slow client is not closed").unwrap();
        let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        if message["event"] != "price" {
            continue;
        }
        heard += 1;
        let symbol = message["payload"]["symbol"].as_str().unwrap().to_owned();
        let count = message["payload"]["count"].as_u64().unwrap();
        let before = latest.insert(symbol, count).unwrap_or(0);
        assert!(before < count, "never an older price after a newer one");
    }
    assert!(heard < TICKS * SYMBOLS.len() as u64, "prices that were overtaken are left out");
    server.stop().await;
}
