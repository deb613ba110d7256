//! A backend for tests that answers with the bytes that its script says, good or bad.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A request that came.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub head: String,
    pub body: String,
    /// Which connection it came on.
    pub connection: usize,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }
}

/// What is answered; nothing at all for `None`, and the connection stays open.
type Script = dyn Fn(&Heard) -> Option<Vec<u8>> + Send + Sync;

pub(super) struct Backend {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    came: Arc<Notify>,
}

impl Backend {
    /// Listens on a free port.
    pub async fn start(script: impl Fn(&Heard) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    pub fn on(listener: TcpListener, script: impl Fn(&Heard) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let (heard, came) = (Arc::<Mutex<Vec<Heard>>>::default(), Arc::new(Notify::new()));
        let script: Arc<Script> = Arc::new(script);
        let (to, tell) = (heard.clone(), came.clone());
        tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connections += 1;
                tokio::spawn(serve(stream, connections, script.clone(), to.clone(), tell.clone()));
            }
        });
        Self { url, heard, came }
    }

    /// Waits until so many requests have come.
    pub async fn heard(&self, count: usize) -> Vec<Heard> {
        loop {
            let came = self.came.notified();
            {
                let heard = self.heard.lock();
                if heard.len() >= count {
                    return heard.clone();
                }
            }
            came.await;
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<Script>,
    heard: Arc<Mutex<Vec<Heard>>>,
    came: Arc<Notify>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = request(&mut stream, &mut buffer, connection).await {
        let answer = script(&request);
        heard.lock().push(request);
        came.notify_waiters();
        match answer {
            // An answer that is not one ends the connection.
            Some(answer) if answer.starts_with(b"HTTP/1.1 200 OK\r\ncontent-length") => {
                let is_whole = answer.ends_with(b"}");
                if stream.write_all(&answer).await.is_err() || !is_whole {
                    return;
                }
            }
            Some(answer) => {
                // The other side may have closed before it took all of it.
                let _ = stream.write_all(&answer).await;
                return;
            }
            None => std::future::pending().await,
        }
    }
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Heard> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let mut heard = Heard { head, body: String::new(), connection };
            let length: usize = heard.header("content-length").unwrap().parse().unwrap();
            if buffer.len() >= end + 4 + length {
                heard.body = String::from_utf8(buffer[end + 4..end + 4 + length].to_vec()).unwrap();
                buffer.drain(..end + 4 + length);
                return Some(heard);
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A good answer.
pub(super) fn ok(body: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into())
}

/// An answer with another status, and no body.
pub(super) fn status(status: u16) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into())
}
