//! The worker's loop.

mod admission;
mod errands;
mod flush;
mod receive;
mod timers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};
use starling_core::{AppId, CloseReason, Notice, UserId};
use starling_hub::{Now, Shard, Slot};
use starling_proto::websocket::{Decoder, Deflate, Inflater, Role};
use starling_proto::{Action, Opened};
use tokio::sync::oneshot;

use super::desk::Desk;
use super::encoder::{Framing, WireEncoder};
use super::line::{Line, NewLine, State};
use super::wheel::{TICK_MS, Wheel};
use super::{Newcomer, Order, Socket, Transport, WAKER, WorkerHandle};
use crate::listener::RawSocket;
use crate::options::LiveOptions;
use crate::sessions::Place;
use crate::shared::Shared;

/// Bytes read from one socket at once.
const SCRATCH: usize = 64 << 10;

/// Sockets that one turn writes to, or an eighth of those that wait if that is more. Then the worker looks again at who
/// has something to say: nobody's request waits until a message has gone to thousands, and what is published meanwhile
/// leaves together with it to those who still wait.
const WRITES: usize = 128;

/// The longest sleep: the table of channels is looked at about once a second.
const IDLE: Duration = Duration::from_secs(1);

/// A worker's own state: nothing of it is shared.
pub(super) struct Worker {
    poll: Poll,
    handle: WorkerHandle,
    index: usize,
    shared: Arc<Shared>,
    live: Arc<LiveOptions>,
    shard: Shard<Line>,
    wheel: Wheel,
    inflater: Inflater,
    scratch: Vec<u8>,
    /// What the session of one packet wants; kept for its memory.
    actions: Vec<Action>,
    /// Connections that have more to read than one turn gives them.
    hungry: Vec<Slot>,
    now: Now,
    swept: u64,
    /// The tick at which this worker went on after it had stood still; 0: it never did.
    resumed: u32,
    drain: Option<Drain>,
    stopping: bool,
    /// A connection whose transport another one is to have, once it is not being decoded any more.
    taking_over: Option<Slot>,
}

/// What a transport is made of.
struct Arrival {
    socket: Socket,
    framing: Framing,
    deflate: Option<Deflate>,
    read_ahead: Bytes,
    /// What is written before anything else.
    head: Bytes,
    owner: Option<(AppId, Option<UserId>)>,
    desk: Option<Box<Desk>>,
}

impl Arrival {
    fn of(transport: Transport) -> Self {
        match transport {
            Transport::WebSocket { socket, head, deflate, candidate_of } => {
                let RawSocket { stream, tls, read_ahead } = socket;
                let desk = candidate_of.map(|of| {
                    let mut desk = Box::new(Desk::new(None, 0));
                    desk.candidate_of = Some(of);
                    desk
                });
                let socket = Socket::new(stream, tls);
                Self { socket, framing: Framing::of_websocket(deflate), deflate, read_ahead, head, owner: None, desk }
            }
            Transport::Mailbox { framing, key, owner, patience } => Self {
                socket: Socket::Absent,
                framing,
                deflate: None,
                read_ahead: Bytes::new(),
                head: Bytes::new(),
                owner: Some(owner),
                desk: Some(Box::new(Desk::new(Some(key), ticks(patience)))),
            },
        }
    }
}

/// Closing all connections, paced.
struct Drain {
    waiting: Vec<Slot>,
    started: u64,
    /// In microseconds, for all of them.
    spread: u64,
    total: usize,
}

impl Worker {
    pub fn new(poll: Poll, handle: WorkerHandle, index: usize, shared: Arc<Shared>) -> Self {
        let now = shared.clock.now();
        Self {
            poll,
            handle,
            index,
            live: shared.live.load_full(),
            shard: new_shard(&shared, index),
            wheel: Wheel::new(tick(now)),
            inflater: Inflater::new(),
            scratch: vec![0; SCRATCH],
            actions: Vec::new(),
            hungry: Vec::new(),
            now,
            swept: now.micros,
            resumed: 0,
            drain: None,
            stopping: false,
            taking_over: None,
            shared,
        }
    }

    /// Works until it is told to stop. A panic is a defect of ours or of an application's code: it costs the worker's
    /// connections, which come back and recover, and nobody else anything.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.turns())).is_err() {
            tracing::error!("a worker panicked: its connections are closed");
            self.start_afresh();
        }
    }

    /// Takes leave of every connection, since nobody knows which of them is in a state that makes sense.
    fn start_afresh(&mut self) {
        self.scratch = vec![0; SCRATCH];
        self.inflater = Inflater::new();
        self.hungry.clear();
        let taken_leave = catch_unwind(AssertUnwindSafe(|| {
            for slot in self.shard.slots() {
                self.remove(slot, CloseReason::Internal);
            }
        }));
        if taken_leave.is_err() {
            self.shard = new_shard(&self.shared, self.index);
            self.handle.load.store(0, Ordering::Relaxed);
        }
    }

    fn turns(&mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, Some(self.sleep())) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "polling sockets failed, the worker ends");
                    return;
                }
            }
            self.now = self.shared.clock.now();
            self.live = self.shared.live.load_full();
            // What this thread posts to itself is read below, without waking it.
            self.handle.inbox.hold();
            for event in &events {
                if event.token() != WAKER {
                    self.socket_event(event);
                }
            }
            self.feed_hungry();
            self.carry_out_orders();
            self.timers();
            self.shard.read_inbox(self.now);
            self.shard.deliver(self.now);
            self.write();
            if self.stopping && self.shard.is_empty() {
                return;
            }
        }
    }

    /// Writes to sockets that something waits for, the longest first; not to all of them where they are many.
    fn write(&mut self) {
        for _ in 0..WRITES.max(self.shard.dirty() / 8) {
            let Some(slot) = self.shard.next_dirty() else { return };
            self.flush(slot);
            // Most were only written to.
            if self.shard.get(slot).is_some_and(|connection| connection.endpoint.held) {
                self.resume(slot);
            }
        }
    }

    fn sleep(&self) -> Duration {
        if !self.hungry.is_empty() || self.shard.dirty() > 0 {
            return Duration::ZERO;
        }
        let now = self.shared.clock.now();
        let wheel = self.wheel.next_due().map(|tick| (u64::from(tick) * TICK_MS * 1000).saturating_sub(now.micros));
        let drain = self.drain.as_ref().map(|_| 2_000);
        let soonest = wheel.into_iter().chain(drain).min();
        soonest.map_or(IDLE, |micros| Duration::from_micros(micros + 1).min(IDLE))
    }

    fn socket_event(&mut self, event: &Event) {
        let slot = slot_of(event.token());
        let Some(connection) = self.shard.get_mut(slot) else { return };
        if event.is_writable() && connection.endpoint.full {
            connection.endpoint.full = false;
            // It took something, so it is there.
            connection.endpoint.heard = tick(self.now);
            self.flush(slot);
            self.resume(slot);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if let Some(connection) = self.shard.get_mut(slot) {
                connection.endpoint.readable = true;
                connection.endpoint.ended |= event.is_read_closed() || event.is_error();
            }
            self.read(slot);
        }
    }

    fn carry_out_orders(&mut self) {
        let orders = std::mem::take(&mut *self.handle.orders.lock());
        for order in orders {
            match order {
                Order::Accept(newcomer, placed) => self.accept(*newcomer, placed),
                Order::Errand(slot, errand) => self.errand(slot, errand),
                Order::Fetch { slot, fetched, supersede } => self.fetch(slot, fetched, supersede),
                Order::Attach { slot, socket, head, cursor } => {
                    self.attach(slot, Socket::new(socket.stream, socket.tls), head, cursor);
                }
                Order::Close { slot, reason } => self.close(slot, reason),
                Order::Verified { slot, tag, result } => {
                    self.set_verifying(slot, false);
                    self.verified(slot, tag, result);
                    self.resume(slot);
                }
                Order::Admitted { slot, tag, claims, result } => {
                    self.set_verifying(slot, false);
                    self.admitted(slot, &tag, claims.as_deref(), result);
                    self.resume(slot);
                }
                Order::Drain { within } => self.begin_drain(within),
                Order::Stop => {
                    self.stopping = true;
                    for slot in self.shard.slots() {
                        self.remove(slot, CloseReason::Drain);
                    }
                }
            }
        }
    }

    fn accept(&mut self, newcomer: Newcomer, placed: Option<oneshot::Sender<Slot>>) {
        let Newcomer { transport, session, identity, expires_at, admitted, effects, permit, is_guest } = newcomer;
        let now = tick(self.now);
        let Arrival { socket, framing, deflate, read_ahead, head, owner, desk } = Arrival::of(transport);
        let form = framing.form(session.form());
        let key = desk.as_ref().and_then(|desk| desk.key.clone());
        let opened = Opened {
            connection: identity.connection.clone(),
            user: identity.user.clone(),
            expires_at,
            authenticated: identity.user.is_some(),
        };
        let mut line = Line::new(NewLine {
            socket,
            decoder: Decoder::new(Role::Server, self.live.max_payload, deflate),
            session,
            form,
            desk,
            permit,
            state: if admitted { State::Open } else { State::AwaitAuth },
            now,
        });
        line.expires_at = expires_at.unwrap_or(0);
        line.is_guest = is_guest;
        if !admitted {
            // One more, because the present tick has begun already.
            line.deadline = now + ticks(self.live.auth.timeout) + 1;
        }
        let whole = identity.clone();
        let slot = self.shard.open(identity.anonymous(), line);
        if is_guest {
            self.shard.keep_quiet(slot);
        }
        if let (Some(key), Some(owner)) = (key, owner) {
            self.shared.sessions.insert(key, Place { worker: self.index, slot, owner, polled: None });
        }
        if !self.register(slot) {
            return;
        }
        let Some(connection) = self.shard.get_mut(slot) else { return };
        connection.outbox.push_front(head);
        connection.endpoint.greet(&mut connection.outbox);
        if admitted {
            let starling_hub::Connection { endpoint, outbox, .. } = connection;
            match endpoint.open(&opened, outbox) {
                None => {
                    self.shard.admit(slot, whole, self.now);
                    self.shard.apply(slot, effects, self.now);
                }
                Some(closing) => {
                    endpoint.is_guest = true;
                    self.close_as(slot, closing);
                }
            }
        }
        self.flush(slot);
        self.reschedule(slot);
        if let Some(connection) = self.shard.get_mut(slot) {
            connection.endpoint.unread = read_ahead.to_vec();
            connection.endpoint.held = true;
            connection.endpoint.readable = connection.endpoint.socket.has_read_ahead();
            self.resume(slot);
        }
        if let Some(placed) = placed {
            // Nobody waits any more: nobody will come.
            if placed.send(slot).is_err() {
                self.close(slot, CloseReason::Lost);
            }
        }
        // The session that it wants to take over has a socket of its own by now.
        let target = self.target_of(slot);
        if target.is_some_and(|target| self.shard.get(target).is_none_or(|it| !it.endpoint.is_mailbox())) {
            self.close(slot, CloseReason::Normal);
        }
        if self.drain.is_some() || self.stopping {
            self.shard.close(slot, CloseReason::Drain, self.now);
        }
    }

    /// Has the poll tell about the socket, if there is one. `false`: it cannot, and the connection is gone.
    fn register(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.shard.get_mut(slot) else { return false };
        let Some(stream) = connection.endpoint.socket.stream() else { return true };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(stream, token_of(slot), interest);
        if let Err(error) = registered {
            tracing::warn!(%error, "a socket could not be registered");
            self.remove(slot, CloseReason::Internal);
            return false;
        }
        true
    }

    /// Ends a connection for good.
    fn remove(&mut self, slot: Slot, reason: CloseReason) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let reason = connection.closing().unwrap_or(reason);
        let admitted = connection.endpoint.state != State::AwaitAuth && !connection.endpoint.is_guest;
        if let Some((identity, mut line)) = self.shard.remove(slot, reason, self.now) {
            if let Some(stream) = line.socket.stream() {
                // Closing the socket deregisters it as well; this only saves an event.
                let _ = self.poll.registry().deregister(stream);
            }
            if line.full {
                line.socket.give_up();
            }
            if let Some(desk) = line.desk.take() {
                self.leave_desk(slot, *desk);
            }
            self.handle.load.fetch_sub(1, Ordering::Relaxed);
            if admitted && let Some(application) = self.shard.hub().application() {
                application.disconnected(&identity.caller(), reason);
            }
        }
    }

    /// Tells everybody to go, and closes them one after the other, so that they do not all come back at once.
    fn begin_drain(&mut self, within: Duration) {
        let waiting = self.shard.slots();
        // A thousand a second is gentle to those who take them over; the time that there is may ask for more.
        let spread = Duration::from_millis(waiting.len() as u64).min(within.mul_f64(0.8));
        let away = (spread.as_millis() as u32).max(200);
        for slot in &waiting {
            let mut random = [0; 4];
            getrandom::fill(&mut random).expect("the system has random numbers");
            let reconnect_in = Duration::from_millis(u64::from(u32::from_le_bytes(random) % away) + 50);
            self.shard.notify(*slot, &Notice::Drain { reconnect_in });
        }
        let total = waiting.len();
        self.drain = Some(Drain { waiting, started: self.now.micros, spread: spread.as_micros() as u64, total });
    }

    /// Closes those whose turn has come.
    fn continue_drain(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let passed = self.now.micros - drain.started;
        let due = match passed.checked_mul(drain.total as u64).map(|share| share / drain.spread.max(1)) {
            Some(share) => (share as usize).min(drain.total),
            None => drain.total,
        };
        let closed = drain.total - drain.waiting.len();
        for _ in closed..due {
            let Some(slot) = self.drain.as_mut().and_then(|drain| drain.waiting.pop()) else { break };
            self.shard.close(slot, CloseReason::Drain, self.now);
        }
    }
}

fn new_shard(shared: &Shared, index: usize) -> Shard<Line> {
    let mut shard = Shard::new(shared.hub.clone(), index, Box::new(WireEncoder::new()));
    shard.keep_sessions(shared.recovery_window);
    shard
}

/// A moment in ticks of the wheel.
fn tick(now: Now) -> u32 {
    (now.micros / 1000 / TICK_MS) as u32
}

/// A duration in ticks, at least one.
fn ticks(duration: Duration) -> u32 {
    (duration.as_millis() as u64).div_ceil(TICK_MS).clamp(1, u64::from(u32::MAX / 4)) as u32
}

fn token_of(slot: Slot) -> Token {
    Token((slot.generation as usize) << 32 | slot.index as usize)
}

fn slot_of(token: Token) -> Slot {
    Slot { index: token.0 as u32, generation: (token.0 >> 32) as u32 }
}
