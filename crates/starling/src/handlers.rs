//! Rust handlers: the program's own say about connections, channels and events.
//!
//! [`Handlers`] collects functions; [`Builder::handlers`](crate::Builder::handlers) gives them to a server. They serve
//! every protocol alike: an event handler answers a native `event`, a Socket.IO `emit` and a Phoenix `push`.
//!
//! ```no_run
//! use serde_json::json;
//! use starling::Server;
//! use starling::core::Refusal;
//! use starling::handlers::{Answer, Channel, Connection, Handlers, Join, Member};
//!
//! async fn time(_: Connection) -> Answer<u64> {
//!     Ok(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()))
//! }
//!
//! async fn join(member: Member<u32>) -> Answer<Join> {
//!     match member.params() {
//!         0 => Err(Refusal::custom("ROOM_CLOSED", "room 0 is being cleaned")),
//!         _ => Ok(Join::accept().present_with(&json!({"since": "today"}))),
//!     }
//! }
//!
//! async fn say(member: Member<u32>, text: String) -> Answer {
//!     member.broadcast("said", json!({"who": member.user_id(), "text": text})).await?;
//!     Ok(())
//! }
//!
//! # async fn example() -> Result<(), starling::StartError> {
//! let rooms = Channel::new("room:{number}").presence().on_join(join).on("say", say);
//! let handlers = Handlers::new().on("time", time).channel(rooms);
//! let server = Server::builder().listen("127.0.0.1:8080").handlers(handlers).start()?;
//! # server.stop().await; Ok(())
//! # }
//! ```
//!
//! # How handlers run
//!
//! - **Async.** A handler that does not wait is answered within the worker's turn, without a task switch. One that
//!   waits does so as a task of the tokio runtime; meanwhile nothing more is read from its connection, so that the
//!   events of one connection are handled in order. Others are not delayed.
//! - **Bounded** by [`HandlerLimits`]: in time, and in number.
//! - **Apart.** A handler that panics answers `INTERNAL` to its one client. One that blocks the thread runs on threads
//!   of its own from then on; better, give blocking work to [`tokio::task::spawn_blocking`].
//! - What a handler spawns lives on after it. A handler itself may be dropped where it waits, when its time is over.

mod addressed;
mod answer;
mod call;
mod channel;
mod connection;
mod dispatch;
mod newcomer;
mod payload;
mod route;
mod run;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use starling_core::{Application, CloseReason, Payload, Rule};

pub(crate) use answer::channel_name;
pub use answer::{Answer, Join, JoinReply, PublishReply, Reply, Welcome};
use call::Events;
pub use call::{
    Alone, ConnectHandler, DisconnectHandler, EventHandler, JoinHandler, LeaveHandler, PublishHandler, With,
};
pub use channel::Channel;
pub use connection::{Connection, Member};
pub use newcomer::Newcomer;
pub(crate) use newcomer::with_head;
pub use payload::{Binary, FromPayload, IntoPayload, Raw};
pub use route::{RouteError, RouteProblem};
pub use run::HandlerLimits;
pub(crate) use run::{Runner, current_connection};

use call::Handler;
use channel::BuiltChannel;
pub(crate) use dispatch::Attached;
use dispatch::{Asked, Dispatch, Front, Newcomers};

/// The handlers of a server. `S` is the state that the connect handler gives each connection.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use starling::core::{ErrorCode, Refusal};
/// use starling::handlers::{Answer, Connection, Handlers, Newcomer, Welcome};
///
/// #[derive(Default)]
/// struct Visit {
///     clicks: AtomicU32,
/// }
///
/// async fn connect(newcomer: Newcomer) -> Result<Welcome<Visit>, Refusal> {
///     match newcomer.user() {
///         Some(user) if user.as_str() == "mallory" => Err(Refusal::new(ErrorCode::Forbidden, "banned")),
///         _ => Ok(Welcome::new(Visit::default())),
///     }
/// }
///
/// async fn click(connection: Connection<Visit>) -> Answer<u32> {
///     Ok(connection.state().clicks.fetch_add(1, Ordering::Relaxed) + 1)
/// }
///
/// let handlers = Handlers::connecting(connect).on("click", click);
/// # let _ = handlers;
/// ```
///
/// Handlers of connections with another state do not compile:
///
/// ```compile_fail
/// use starling::core::Refusal;
/// use starling::handlers::{Answer, Connection, Handlers, Newcomer, Welcome};
///
/// async fn connect(newcomer: Newcomer) -> Result<Welcome<u32>, Refusal> {
///     Ok(Welcome::new(7))
/// }
///
/// async fn click(connection: Connection<String>) -> Answer {
///     Ok(())
/// }
///
/// let handlers = Handlers::connecting(connect).on("click", click);
/// ```
///
/// Nor does a handler whose answer cannot be written:
///
/// ```compile_fail
/// use starling::handlers::{Answer, Connection, Handlers};
///
/// struct NotSerde;
///
/// async fn click(connection: Connection) -> Answer<NotSerde> {
///     Ok(NotSerde)
/// }
///
/// let handlers = Handlers::new().on("click", click);
/// ```
///
/// Nor one that may not move between threads:
///
/// ```compile_fail
/// use std::rc::Rc;
///
/// use starling::handlers::{Answer, Connection, Handlers};
///
/// async fn click(connection: Connection) -> Answer {
///     let count = Rc::new(1);
///     tokio::task::yield_now().await;
///     println!("{count}");
///     Ok(())
/// }
///
/// let handlers = Handlers::new().on("click", click);
/// ```
pub struct Handlers<S = ()> {
    newcomers: Newcomers<S>,
    events: Events<Connection<S>>,
    disconnect: Option<Handler<Connection<S>, CloseReason, ()>>,
    channels: Vec<Result<BuiltChannel<S>, RouteError>>,
    limits: HandlerLimits,
}

impl Handlers {
    /// No handlers yet. Every connection that the server lets in comes in as who it is.
    pub fn new() -> Self {
        Self::of(Newcomers::Alike(Arc::new(())))
    }
}

impl Default for Handlers {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Send + Sync + 'static> Handlers<S> {
    /// Handlers with one that is asked about each connection: `async fn(Newcomer) -> Result<Welcome<S>, E>`.
    ///
    /// It is asked after the token was checked, or for a connection without one where anonymous ones are let in
    /// ([`Builder::anonymous`](crate::Builder::anonymous)); a native connection that came in anonymously and
    /// authenticates later is asked about again. A refusal is HTTP 403, or close 4003 after the upgrade.
    pub fn connecting<M>(handler: impl ConnectHandler<S, M>) -> Self {
        let connect = Handler::new(move |newcomer, &()| Ok(handler.handle(newcomer)));
        Self::of(Newcomers::Asked(Arc::new(Asked::new(connect))))
    }

    fn of(newcomers: Newcomers<S>) -> Self {
        Self {
            newcomers,
            events: Events::default(),
            disconnect: None,
            channels: Vec::new(),
            limits: HandlerLimits::default(),
        }
    }

    /// Handles an event that a connection sends outside of any channel: `async fn(Connection<S>)` or
    /// `async fn(Connection<S>, T)`. Its answer goes to the sender.
    ///
    /// Socket.IO's events are of this kind; one with other than one argument has an array as payload. One that nobody
    /// handles here, and whose first argument is a channel that has a handler for it, goes to that handler, with the rest
    /// as payload: `socket.emit("move", "game:7", {x: 1}, ack)`.
    pub fn on<M>(mut self, event: &str, handler: impl EventHandler<Connection<S>, M>) -> Self {
        let handler = Handler::new(move |connection, payload: &Payload| handler.handle(connection, payload));
        self.events.insert(event.into(), handler);
        self
    }

    /// Is told of each connection that is gone, after it left its channels:
    /// `async fn(Connection<S>, `[`CloseReason`]`)`.
    pub fn on_disconnect<M>(mut self, handler: impl DisconnectHandler<S, M>) -> Self {
        let handle = move |connection, reason: &CloseReason| Ok(handler.handle(connection, *reason));
        self.disconnect = Some(Handler::new(handle));
        self
    }

    /// Adds channels. The first whose pattern matches counts.
    pub fn channel<P: DeserializeOwned + Send + 'static>(mut self, channel: Channel<P, S>) -> Self {
        self.channels.push(channel.build());
        self
    }

    /// Other bounds than the default ones.
    pub fn limits(mut self, limits: HandlerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long one call of a handler may take. Default 10 s.
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// How many calls may wait for something at once. Default 10,000.
    pub fn running(mut self, running: usize) -> Self {
        self.limits.running = running;
        self
    }

    pub(crate) fn build(self) -> Result<Built, RouteError> {
        let channels = self.channels.into_iter().collect::<Result<Vec<_>, _>>()?;
        let rules = channels.iter().map(|channel| channel.rule.clone()).collect();
        let attached = Arc::new(OnceLock::new());
        let application = Arc::new(Front(Arc::new(Dispatch {
            newcomers: self.newcomers,
            events: self.events,
            disconnect: self.disconnect,
            channels,
            attached: attached.clone(),
        })));
        Ok(Built { application, rules, attached, limits: self.limits })
    }
}

impl<S> fmt::Debug for Handlers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("events", &self.events.keys().collect::<Vec<_>>())
            .field("channels", &self.channels.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Handlers as an application, which works once the server is attached.
pub(crate) struct Built {
    pub application: Arc<dyn Application>,
    /// The rules of their channels, in order.
    pub rules: Vec<Rule>,
    pub attached: Arc<OnceLock<Attached>>,
    pub limits: HandlerLimits,
}
