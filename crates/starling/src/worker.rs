//! Workers: each is a thread with an epoll loop that owns its connections from the upgrade to the end.
//!
//! One turn of the loop: read what is readable, carry out what clients ask, read the inbox, spread what arrived, write
//! each dirty outbox once. No task is woken per connection, and a connection at rest holds no buffer and no timer of
//! its own.

mod desk;
mod encoder;
mod line;
mod socket;
mod stamper;
mod turn;
mod wheel;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use mio::{Poll, Token, Waker};
use parking_lot::Mutex;
use starling_core::{Admission, AppId, CloseReason, ConnectionId, Pattern, RawJson, Refusal, Tag, UserId};
use starling_hub::{Grants, Identity, Inbox, Slot};
use starling_proto::Session;
use starling_proto::native::Cursor;
use starling_proto::websocket::Deflate;
use tokio::sync::oneshot;

use crate::auth::{Claims, TokenError};
use crate::gate::Permit;
use crate::listener::RawSocket;
use crate::shared::Shared;

pub(crate) use desk::{Errand, Fetched};
pub(crate) use encoder::{Framing, forms_of, open_envelopes};
pub(crate) use socket::Socket;
pub(crate) use stamper::Stamper;

/// The token of the waker; no connection has it.
const WAKER: Token = Token(usize::MAX);

/// How the rest of the process reaches a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub inbox: Arc<Inbox>,
    orders: Arc<Mutex<Vec<Order>>>,
    waker: Arc<Waker>,
    /// Connections that it has or will have soon.
    load: Arc<AtomicUsize>,
}

/// What the server has a worker do.
pub(crate) enum Order {
    /// Take a new connection; the place it got is told where somebody asks.
    Accept(Box<Newcomer>, Option<oneshot::Sender<Slot>>),
    /// Do something for a connection whose client sends requests. What is dropped undone was for one that is gone.
    Errand(Slot, Errand),
    /// Hand out what waits for a connection, when there is something. `supersede`: whoever waits already goes.
    Fetch { slot: Slot, fetched: oneshot::Sender<Fetched>, supersede: bool },
    /// Give a connection without a socket one, which it writes its stream to, behind this head.
    Attach {
        slot: Slot,
        socket: RawSocket,
        head: Bytes,
        /// Where the stream starts, if the worker must complete its events, and whether it compresses them.
        cursor: Option<(Box<Cursor>, bool)>,
    },
    /// Close a connection.
    Close { slot: Slot, reason: CloseReason },
    /// The token of a connection was looked at elsewhere.
    Verified { slot: Slot, tag: Tag, result: Result<Box<Claims>, TokenError> },
    /// The application looked at a connection that had authenticated.
    Admitted { slot: Slot, tag: Tag, claims: Option<Box<Claims>>, result: Result<Box<Admission>, Refusal> },
    /// Tell every client to go, and close all within this time.
    Drain { within: Duration },
    /// Close what is left and end the thread.
    Stop,
}

/// What carries a new connection.
pub(crate) enum Transport {
    /// An upgraded socket.
    WebSocket {
        socket: RawSocket,
        /// The head of the response, if it was not sent yet.
        head: Bytes,
        deflate: Option<Deflate>,
        /// The connection of this worker that it wants to take over.
        candidate_of: Option<Slot>,
    },
    /// Requests that come and fetch what there is, or a stream that is attached later.
    Mailbox {
        framing: Framing,
        /// The name under which requests find the connection, and by whose credentials.
        key: Arc<str>,
        owner: (AppId, Option<UserId>),
        /// How long nobody may come before the client counts as lost.
        patience: Duration,
    },
}

/// A connection on its way to its worker.
pub(crate) struct Newcomer {
    pub transport: Transport,
    pub session: Box<dyn Session + Send>,
    pub identity: Identity,
    /// When its token expires, in Unix milliseconds.
    pub expires_at: Option<u64>,
    /// Whether it may do anything but authenticate.
    pub admitted: bool,
    /// What the application wants to happen, now that it is in.
    pub effects: starling_core::Effects,
    pub permit: Permit,
    /// Whether the application is told neither of its coming nor of its going.
    pub is_guest: bool,
}

/// A worker that has not started yet: its handle is needed to build what it works on.
pub(crate) struct IdleWorker {
    poll: Poll,
    pub handle: WorkerHandle,
}

impl IdleWorker {
    /// Prepares a worker.
    ///
    /// # Errors
    /// When the system gives no epoll instance.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let wake = waker.clone();
        let inbox = Arc::new(Inbox::new(move || {
            // It fails only when the worker is gone, and then nobody reads the inbox.
            let _ = wake.wake();
        }));
        let handle = WorkerHandle { inbox, orders: Arc::default(), waker, load: Arc::default() };
        Ok(Self { poll, handle })
    }

    /// Starts the thread. It ends after [`Order::Stop`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self, index: usize, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("starling-{index}")).spawn(move || {
            // What an application's code spawns, and the timers that it makes, belong to the runtime.
            let runtime = shared.runtime.clone();
            let _entered = runtime.enter();
            turn::Worker::new(self.poll, self.handle, index, shared).run();
        })
    }
}

impl WorkerHandle {
    /// Gives the worker something to do, and wakes it.
    pub fn order(&self, order: Order) {
        self.orders.lock().push(order);
        // It fails only when the worker is gone.
        let _ = self.waker.wake();
    }
}

impl Shared {
    /// Gives an upgraded connection to the worker with the fewest.
    pub fn assign(&self, newcomer: Newcomer) {
        let worker = self.workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        if let Some(worker) = worker {
            worker.load.fetch_add(1, Ordering::Relaxed);
            worker.order(Order::Accept(Box::new(newcomer), None));
        }
    }

    /// The same; returns the worker and the place that it gave the connection.
    pub async fn place(&self, newcomer: Newcomer) -> Option<(usize, Slot)> {
        let workers = self.workers.iter().enumerate();
        let (index, worker) = workers.min_by_key(|(_, worker)| worker.load.load(Ordering::Relaxed))?;
        worker.load.fetch_add(1, Ordering::Relaxed);
        let (placed, place) = oneshot::channel();
        worker.order(Order::Accept(Box::new(newcomer), Some(placed)));
        Some((index, place.await.ok()?))
    }

    /// Gives a WebSocket that wants to take over a connection to the worker that has it.
    pub fn assign_to(&self, worker: usize, newcomer: Newcomer) {
        let worker = &self.workers[worker];
        worker.load.fetch_add(1, Ordering::Relaxed);
        worker.order(Order::Accept(Box::new(newcomer), None));
    }

    /// Connections that all workers have or will have soon.
    pub fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.load.load(Ordering::Relaxed)).sum()
    }
}

/// A connection id that nobody can guess: 128 random bits.
pub(crate) fn new_connection_id() -> ConnectionId {
    use base64::Engine as _;
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    ConnectionId::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}

/// The identity of a connection once a token is accepted.
pub(crate) fn identified(before: &Identity, claims: &Claims) -> Identity {
    // A pattern that is none grants nothing.
    let patterns = |list: &[String]| list.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    let grants = Grants {
        info: claims.info.as_ref().map(|info| RawJson::from_valid(info.get().to_owned())),
        subscribe: patterns(&claims.subscribe),
        publish: patterns(&claims.publish),
        issued_at: claims.issued_at,
    };
    Identity {
        app: AppId::from(&*claims.app),
        user: Some(UserId::from(&*claims.user)),
        grants: Some(Box::new(grants)),
        ..before.clone()
    }
}

/// The same, where the application knows better who it is.
pub(crate) fn renamed(mut identity: Identity, user: UserId, info: Option<RawJson>) -> Identity {
    identity.user = Some(user);
    if info.is_some() {
        identity.grants.get_or_insert_default().info = info;
    }
    identity
}
