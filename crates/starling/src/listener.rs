//! Listening sockets: accept, TLS, HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::Request;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http;
use crate::shared::Shared;

/// Connections that the kernel keeps for us while we are busy: a deploy brings everybody at once.
const BACKLOG: i32 = 4096;

/// Connections of a listener that may be in HTTP at once; more wait in the backlog. An upgraded one counts no longer.
const IN_HTTP: usize = 16_384;

/// The largest head of a request, in bytes; more is answered with 431. A ticket in the URL has up to 32 KiB.
const MAX_HEAD: usize = 48 << 10;

/// How long a connection is kept for its next request: longer than the pools of HTTP clients keep one that is idle (Go:
/// 90 s), so that none is closed in the moment in which it is used.
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// Which of the two listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Admin,
}

/// Opens a listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until `stop` says so.
pub(crate) async fn run(listener: TcpListener, kind: Kind, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(IN_HTTP));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
            () = stopped(&mut stop) => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: those that are open must get a chance to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let shared = shared.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            serve(stream, peer, kind, &shared, stop).await;
            drop(place);
        });
    }
}

/// Returns when the server stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve(stream: TcpStream, peer: SocketAddr, kind: Kind, shared: &Arc<Shared>, stop: watch::Receiver<bool>) {
    // Small messages leave at once; a socket that refuses the option works all the same.
    let _ = stream.set_nodelay(true);
    // What a slow client does not take waits here, where the delivery policies see it, and not by the megabyte in the
    // system's buffers.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let most = shared.live.load().backpressure.high_water;
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(u32::try_from(most).unwrap_or(u32::MAX));
    }
    let tls = shared.tls.load_full().filter(|_| kind == Kind::Main);
    let Some(config) = tls else {
        return converse(stream, peer, kind, shared, stop).await;
    };
    let handshake = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(shared.live.load().handshake_timeout, handshake).await {
        Ok(Ok(stream)) => converse(stream, peer, kind, shared, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn converse<S: Stream>(
    stream: S,
    peer: SocketAddr,
    kind: Kind,
    shared: &Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let (leave, mut leaving) = mpsc::channel(1);
    let began = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        began.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Exit(leave.clone()));
        async move {
            Ok::<_, std::convert::Infallible>(match kind {
                Kind::Main => http::main(shared, request, peer.ip()).await,
                Kind::Admin => http::admin(shared, request, peer.ip()).await,
            })
        }
    });
    let patience = shared.live.load().handshake_timeout;
    let silent = async {
        tokio::time::sleep(patience).await;
        if began.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.max(KEEP_ALIVE)).max_buf_size(MAX_HEAD);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let result = tokio::select! {
        // Before hyper looks at the socket again, and reads what is not for it.
        biased;
        Some(leave) = leaving.recv() => return hand_over(connection.into_parts(), leave),
        result = &mut connection => result,
        () = silent => return tracing::debug!("no request came in time"),
        () = stopped(&mut stop) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                biased;
                Some(leave) = leaving.recv() => return hand_over(connection.into_parts(), leave),
                result = &mut connection => result,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

fn hand_over<S: Stream, V>(parts: hyper::server::conn::http1::Parts<TokioIo<S>, V>, leave: Leave) {
    // A copy, because the original keeps hyper's whole read buffer alive.
    let read_ahead = if parts.read_buf.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(&parts.read_buf) };
    match parts.io.into_inner().take_apart() {
        Ok((stream, tls)) => leave(RawSocket { stream, tls, read_ahead }),
        Err(error) => tracing::warn!(%error, "a connection could not be taken over"),
    }
}

/// A socket that is no longer hyper's.
pub(crate) struct RawSocket {
    pub stream: std::net::TcpStream,
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// What was read behind the request.
    pub read_ahead: Bytes,
}

type Leave = Box<dyn FnOnce(RawSocket) + Send>;

/// The way out of HTTP, with every request that came over a socket of ours: whoever answers it takes the socket instead,
/// and writes the response's head itself.
#[derive(Clone)]
pub(crate) struct Exit(mpsc::Sender<Leave>);

impl Exit {
    /// Takes the socket, and does not return: the request is not answered by hyper.
    pub async fn take(self, then: impl FnOnce(RawSocket) + Send + 'static) -> std::convert::Infallible {
        // It fails only when the connection is gone, and this future with it.
        let _ = self.0.send(Box::new(then)).await;
        std::future::pending().await
    }
}

/// What HTTP is spoken over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket, and the TLS on top of it.
    fn take_apart(self) -> std::io::Result<(std::net::TcpStream, Option<Box<rustls::ServerConnection>>)>;
}

impl Stream for TcpStream {
    fn take_apart(self) -> std::io::Result<(std::net::TcpStream, Option<Box<rustls::ServerConnection>>)> {
        Ok((self.into_std()?, None))
    }
}

impl Stream for TlsStream<TcpStream> {
    fn take_apart(self) -> std::io::Result<(std::net::TcpStream, Option<Box<rustls::ServerConnection>>)> {
        let (stream, tls) = self.into_inner();
        Ok((stream.into_std()?, Some(Box::new(tls))))
    }
}
