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
}

pub struct FaultProxy {
    address: SocketAddr,
    /// Connections that were made through it.
    connections: watch::Sender<usize>,
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
        let (cuts, _) = watch::channel(0);
        let (treatment, treated) = watch::channel(Treatment::Pass);
        let (count, cut) = (connections.clone(), cuts.clone());
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // Before the connection is counted, so that who saw it can cut it.
                let cut = cut.subscribe();
                count.send_modify(|connections| *connections += 1);
                tokio::spawn(carry(client, target, cut, treated.clone()));
            }
        });
        Self { address, connections, cuts, treatment, task }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Connections that were made through it.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
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
    loop {
        let now = *treatment.borrow_and_update();
        if now == Treatment::HalfOpen {
            // Kept open, so that the client is not told; read from, so that its writes succeed.
            let _ = server.shutdown().await;
        }
        tokio::select! {
            biased;
            _ = cut.changed() => {
                // A close with unread bytes, or with this option, is a reset.
                let _ = reset_on_close(&client);
                let _ = reset_on_close(&server);
                return;
            }
            _ = treatment.changed() => {}
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) if now == Treatment::Pass => {
                    if server.write_all(&up[..length]).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
            },
            read = server.read(&mut down), if now == Treatment::Pass => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    if client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

fn reset_on_close(stream: &TcpStream) -> std::io::Result<()> {
    #[expect(deprecated, reason = "the sockets are closed right after, so that nothing blocks on them")]
    stream.set_linger(Some(std::time::Duration::ZERO))
}
