//! Starling mounted in an axum application: your routes, your state, your middleware, your listener.
//!
//! Build a server that listens nowhere, and mount its paths:
//!
//! ```no_run
//! use axum::Router;
//! use axum::routing::get;
//! use starling::Server;
//! use starling::handlers::{Answer, Connection, Handlers};
//!
//! async fn echo(_: Connection, text: String) -> Answer<String> {
//!     Ok(text)
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let realtime = Server::builder().anonymous().handlers(Handlers::new().on("echo", echo)).start()?;
//!     let app: Router = Router::new()
//!         .route("/", get(async || "hello"))
//!         .merge(starling::axum::router(&realtime));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     let stop = async move {
//!         let _ = tokio::signal::ctrl_c().await;
//!         realtime.drain().await;
//!     };
//!     axum::serve(listener, app).with_graceful_shutdown(stop).await?;
//!     Ok(())
//! }
//! ```
//!
//! # Shutdown
//!
//! As above: drain Starling within the signal that axum waits for. New connections are turned away with 503 from then
//! on, those that are open are told and closed, and then axum stops taking requests.
//!
//! # Who is who
//!
//! Your middleware can leave what it knows of a request in its extensions; the connect handler finds it there, by
//! [`Newcomer::extensions`](crate::handlers::Newcomer::extensions), and cookies by
//! [`Newcomer::headers`](crate::handlers::Newcomer::headers). Serve the application with
//! `into_make_service_with_connect_info::<SocketAddr>()` where limits by address are configured: without, all clients
//! have one address.
//!
//! # What it costs
//!
//! A WebSocket on a plain TCP listener, or on one whose stream is `tokio_rustls::server::TlsStream<TcpStream>`, is taken
//! out of axum's hands and costs what it costs elsewhere. One on any other stream (a Unix socket, another TLS) is carried
//! over a loopback socket by a task of its own: 20 KB and two system calls more per connection. Event streams stay in
//! axum's hands. WebSockets over HTTP/2 are not supported.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::axum::Router;
use ::axum::body::Body;
use ::axum::extract::{ConnectInfo, Request};
use ::axum::response::Response;
use ::axum::routing::any;
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use parking_lot::Mutex;
use starling_core::BoxFuture;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http;
use crate::listener::{RawSocket, Stream};
use crate::server::Server;
use crate::shared::Shared;

/// All paths that Starling answers, but for `/`, in axum's words.
const PATHS: &[&str] = &[
    "/ws",
    "/sse",
    "/poll",
    "/send",
    "/ticket",
    "/socket.io/",
    "/socket/websocket",
    "/socket/longpoll",
    "/app/{key}",
    "/apps/{*rest}",
    "/channels/{*rest}",
    "/keys/{*rest}",
    "/time",
    "/stats",
    "/api/{*rest}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/admin/",
    "/admin/{*rest}",
];

/// Starling's paths, to be merged into a router of yours, or nested in one.
///
/// A path that both have is a panic of axum's when they are merged; nest Starling then, under `/realtime` say, and give
/// clients that path (`path: "/realtime/socket.io/"`, `wsPath: "/realtime"`). The path `/`, where Ably's clients connect,
/// is not among them: see [`fallback`].
///
/// ```no_run
/// # async fn example(server: starling::Server) {
/// let app: axum::Router = axum::Router::new().nest("/realtime", starling::axum::router(&server));
/// # let _ = app;
/// # }
/// ```
pub fn router<S: Clone + Send + Sync + 'static>(server: &Server) -> Router<S> {
    let route = any(handler(server.shared().clone()));
    PATHS.iter().fold(Router::new(), |router, path| router.route(path, route.clone()))
}

/// Everything that Starling answers, `/` included, for what your own routes leave: give it to
/// `Router::fallback_service`.
///
/// ```no_run
/// # async fn example(server: starling::Server) {
/// use axum::Router;
/// use axum::routing::get;
///
/// let app: Router = Router::new()
///     .route("/about", get(async || "about"))
///     .fallback_service(starling::axum::fallback(&server));
/// # let _ = app;
/// # }
/// ```
pub fn fallback(server: &Server) -> Router {
    Router::new().fallback(handler(server.shared().clone()))
}

fn handler(shared: Arc<Shared>) -> impl Fn(Request) -> BoxFuture<Response> + Clone + Send + Sync + 'static {
    move |request| {
        let shared = shared.clone();
        Box::pin(async move { answer(&shared, request).await })
    }
}

async fn answer(shared: &Arc<Shared>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip());
    http::main(shared, request.map(|body| Incoming(Mutex::new(body))), peer).await.map(Body::new)
}

/// A request's body. Nobody shares it, but the compiler has to see that: the lock is never taken.
struct Incoming(Mutex<Body>);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = ::axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(self.0.get_mut()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}

/// Takes the socket out of axum's hands.
pub(crate) fn take_apart(upgraded: Upgraded) -> std::io::Result<RawSocket> {
    let upgraded = match downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => return raw(parts.io.into_inner(), &parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match downcast::<TokioIo<TlsStream<TcpStream>>>(upgraded) {
        Ok(parts) => raw(parts.io.into_inner(), &parts.read_buf),
        Err(upgraded) => carried(upgraded),
    }
}

fn raw(stream: impl Stream, read_buf: &Bytes) -> std::io::Result<RawSocket> {
    let (stream, tls) = stream.take_apart()?;
    // A copy, because the original keeps hyper's whole read buffer alive.
    Ok(RawSocket { stream, tls, read_ahead: Bytes::copy_from_slice(read_buf) })
}

/// Carries a stream that a worker cannot own over a socket that it can.
fn carried(upgraded: Upgraded) -> std::io::Result<RawSocket> {
    let (ours, theirs) = loopback()?;
    let mut ours = TcpStream::from_std(ours)?;
    tokio::spawn(async move {
        let mut client = TokioIo::new(upgraded);
        // Either end may go away, and with it the other.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut ours).await;
    });
    Ok(RawSocket { stream: theirs, tls: None, read_ahead: Bytes::new() })
}

/// Two ends of one connection.
fn loopback() -> std::io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (theirs, peer) = listener.accept()?;
    if peer != ours.local_addr()? {
        return Err(std::io::Error::other("somebody else connected to the loopback socket"));
    }
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)?;
        end.set_nodelay(true)?;
    }
    Ok((ours, theirs))
}
