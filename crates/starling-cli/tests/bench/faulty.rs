//! A server of the native protocol that loses, repeats and swaps messages, and dies, when it is told to.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

/// What goes wrong, by the number of the publish, from 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// This one reaches nobody.
    pub drop: Option<u64>,
    /// This one reaches everybody twice.
    pub repeat: Option<u64>,
    /// This one comes after the next.
    pub swap: Option<u64>,
    /// After so many client messages every connection is cut, and no other is taken.
    pub die_after: Option<u64>,
}

pub struct Faulty {
    pub url: String,
}

#[derive(Default)]
struct Hub {
    faults: Faults,
    streams: Vec<TcpStream>,
    members: Vec<WebSocket<TcpStream>>,
    heard: u64,
    published: u64,
    held: Option<String>,
    dead: bool,
}

impl Faulty {
    pub fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Mutex::new(Hub { faults, ..Hub::default() }));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if hub.lock().unwrap().dead {
                    return;
                }
                let hub = hub.clone();
                thread::spawn(move || serve(stream, &hub));
            }
        });
        Self { url }
    }
}

fn serve(stream: TcpStream, hub: &Mutex<Hub>) {
    let writing = stream.try_clone().unwrap();
    // The first connection of a run only looks whether somebody is there.
    let Ok(mut socket) = accept(stream) else { return };
    hub.lock().unwrap().streams.push(writing.try_clone().unwrap());
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else { continue };
        let request: Value = serde_json::from_str(&text).unwrap();
        let mut hub = hub.lock().unwrap();
        hub.heard += 1;
        if !request["id"].is_null() {
            let ack = json!({"type": "ack", "id": request["id"], "channel": request["channel"]});
            let _ = socket.send(Message::text(ack.to_string()));
        }
        match request["type"].as_str() {
            Some("subscribe") => {
                let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
                hub.members.push(WebSocket::from_raw_socket(writing.try_clone().unwrap(), role, None));
            }
            Some("publish") => hub.publish(&request),
            other => panic!("{other:?}"),
        }
        if hub.faults.die_after.is_some_and(|most| hub.heard >= most) {
            hub.die();
        }
    }
}

impl Hub {
    fn publish(&mut self, request: &Value) {
        self.published += 1;
        let now = Some(self.published);
        let message = json!({"type": "message", "channel": request["channel"], "payload": request["payload"]});
        let text = message.to_string();
        if now == self.faults.drop {
            return;
        }
        if now == self.faults.swap {
            self.held = Some(text);
            return;
        }
        self.send(&text);
        if now == self.faults.repeat {
            self.send(&text);
        }
        if let Some(held) = self.held.take() {
            self.send(&held);
        }
    }

    fn send(&mut self, text: &str) {
        for member in &mut self.members {
            let _ = member.send(Message::text(text));
        }
    }

    fn die(&mut self) {
        self.dead = true;
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
