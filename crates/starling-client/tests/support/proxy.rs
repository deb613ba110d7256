//! A TCP proxy that does to connections what networks do.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    Pass,
    /// Those that are there are reset, and new ones closed at once.
    Refuse,
    /// Nothing goes through, and nobody is told.
    BlackHole,
    /// The server's half ends: the client can still send, and nobody reads it.
    HalfOpen,
    /// As a proxy that knows nothing of WebSockets answers.
    NoWebSocket,
    /// WebSockets open, and are cut with the first message behind the one that authenticates.
    KillWebSocket,
    /// WebSockets open, and then nothing comes through.
    SwallowWebSocket,
    /// No WebSockets, and event streams are held back until they are whole.
    HoldStreams,
    /// Neither WebSockets nor event streams: nobody knows of them.
    NoStreams,
}

/// What a connection is for, as the head of its first request tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Unknown,
    WebSocket,
    Stream,
    Other,
}

/// What becomes of something that the client sent.
enum Verdict {
    Pass,
    Swallow,
    Cut,
    Answer(&'static str),
}

impl Purpose {
    fn of(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        match () {
            () if head.contains("upgrade: websocket") => Self::WebSocket,
            () if head.starts_with("get /sse") => Self::Stream,
            () => Self::Other,
        }
    }
}

impl Treatment {
    /// `sent`: how often the client has sent something, this time included.
    fn of_sent(self, purpose: Purpose, sent: usize) -> Verdict {
        match (self, purpose) {
            (Self::BlackHole | Self::HalfOpen, _) => Verdict::Swallow,
            (Self::NoWebSocket | Self::HoldStreams, Purpose::WebSocket) => Verdict::Answer("400 Bad Request"),
            (Self::NoStreams, Purpose::WebSocket | Purpose::Stream) => Verdict::Answer("404 Not Found"),
            (Self::KillWebSocket, Purpose::WebSocket) if sent > 2 => Verdict::Cut,
            _ => Verdict::Pass,
        }
    }

    /// Whether more of the server comes through. `received`: how often something did.
    fn lets_down(self, purpose: Purpose, received: usize) -> bool {
        match (self, purpose) {
            (Self::BlackHole | Self::HalfOpen, _) | (Self::HoldStreams, Purpose::Stream) => false,
            (Self::SwallowWebSocket, Purpose::WebSocket) => received == 0,
            _ => true,
        }
    }
}

pub struct FaultProxy {
    address: SocketAddr,
    /// Connections that were made through it.
    connections: watch::Sender<usize>,
    /// Those of them that are open.
    open: watch::Sender<usize>,
    /// Each change of the number resets the connections that are there.
    cuts: watch::Sender<usize>,
    treatment: watch::Sender<Treatment>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, _) = watch::channel(0);
        let (open, _) = watch::channel(0);
        let (cuts, _) = watch::channel(0);
        let (treatment, treated) = watch::channel(Treatment::Pass);
        let (count, cut, opened) = (connections.clone(), cuts.clone(), open.clone());
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // Before the connection is counted, so that who saw it can cut it.
                let cut = cut.subscribe();
                count.send_modify(|connections| *connections += 1);
                opened.send_modify(|open| *open += 1);
                let (treated, opened) = (treated.clone(), opened.clone());
                tokio::spawn(async move {
                    carry(client, target, cut, treated).await;
                    opened.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, connections, open, cuts, treatment, task }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Connections that were made through it.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until no connection is open.
    pub async fn until_idle(&self) {
        self.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }

    /// Resets every connection, and waits for another one.
    pub async fn cut_and_wait(&self) {
        let before = self.connections();
        self.cut();
        self.connections.subscribe().wait_for(|connections| *connections > before).await.unwrap();
    }

    /// Resets every connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Treats connections like this from now on, also those that are there.
    pub fn treat(&self, treatment: Treatment) {
        self.treatment.send_replace(treatment);
        if treatment == Treatment::Refuse {
            self.cut();
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

/// Carries one connection until somebody closes it or it is cut.
async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    mut cut: watch::Receiver<usize>,
    mut treatment: watch::Receiver<Treatment>,
) {
    if *treatment.borrow_and_update() == Treatment::Refuse {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let (mut purpose, mut sent, mut received) = (Purpose::Unknown, 0, 0);
    loop {
        let now = *treatment.borrow_and_update();
        if now == Treatment::HalfOpen {
            // Kept open, so that the client is not told; read from, so that its writes succeed.
            let _ = server.shutdown().await;
        }
        tokio::select! {
            biased;
            _ = cut.changed() => return reset(&client, &server),
            _ = treatment.changed() => {}
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                if purpose == Purpose::Unknown {
                    purpose = Purpose::of(&up[..length]);
                }
                sent += 1;
                match now.of_sent(purpose, sent) {
                    Verdict::Pass => {
                        if server.write_all(&up[..length]).await.is_err() {
                            return;
                        }
                    }
                    Verdict::Swallow => {}
                    Verdict::Cut => return reset(&client, &server),
                    Verdict::Answer(status) => {
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                        let _ = client.write_all(answer.as_bytes()).await;
                        return;
                    }
                }
            }
            read = server.read(&mut down), if now.lets_down(purpose, received) => {
                let Ok(length @ 1..) = read else { return };
                received += 1;
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A close with unread bytes, or with this option, is a reset.
fn reset(client: &TcpStream, server: &TcpStream) {
    let _ = reset_on_close(client);
    let _ = reset_on_close(server);
}

fn reset_on_close(stream: &TcpStream) -> std::io::Result<()> {
    #[expect(deprecated, reason = "the sockets are closed right after, so that nothing blocks on them")]
    stream.set_linger(Some(std::time::Duration::ZERO))
}
