//! The worker's loop.

mod admission;
mod flush;
mod receive;
mod timers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};
use starling_core::{CloseReason, Notice};
use starling_hub::{Now, Shard, Slot};
use starling_proto::websocket::{Decoder, Inflater, Role};
use starling_proto::{Action, Opened};

use super::encoder::{Framing, WireEncoder};
use super::line::{Line, NewLine, State};
use super::wheel::{TICK_MS, Wheel};
use super::{Newcomer, Order, Socket, WAKER, WorkerHandle};
use crate::options::LiveOptions;
use crate::shared::Shared;

/// Bytes read from one socket at once.
const SCRATCH: usize = 64 << 10;

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
    dirty: Vec<Slot>,
    /// What the session of one packet wants; kept for its memory.
    actions: Vec<Action>,
    /// Connections that have more to read than one turn gives them.
    hungry: Vec<Slot>,
    now: Now,
    swept: u64,
    drain: Option<Drain>,
    stopping: bool,
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
            shard: Shard::new(shared.hub.clone(), index, Box::new(WireEncoder::new())),
            wheel: Wheel::new(tick(now)),
            inflater: Inflater::new(),
            scratch: vec![0; SCRATCH],
            dirty: Vec::new(),
            actions: Vec::new(),
            hungry: Vec::new(),
            now,
            swept: now.micros,
            drain: None,
            stopping: false,
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
            let hub = self.shard.hub().clone();
            self.shard = Shard::new(hub, self.index, Box::new(WireEncoder::new()));
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
            self.settle();
            if self.stopping && self.shard.is_empty() {
                return;
            }
        }
    }

    /// Reads the inbox, spreads what arrived, and writes, until nothing is left to do in this turn.
    fn settle(&mut self) {
        self.shard.read_inbox(self.now);
        self.shard.deliver(self.now);
        loop {
            let mut dirty = std::mem::take(&mut self.dirty);
            self.shard.take_dirty(&mut dirty);
            let done = dirty.is_empty();
            for slot in dirty.drain(..) {
                self.flush(slot);
                // Most were only written to.
                if self.shard.get(slot).is_some_and(|connection| connection.endpoint.held) {
                    self.resume(slot);
                }
            }
            if dirty.capacity() > 4096 && self.shard.len() < 1024 {
                dirty = Vec::new();
            }
            self.dirty = dirty;
            if done {
                return;
            }
        }
    }

    fn sleep(&self) -> Duration {
        if !self.hungry.is_empty() {
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
            self.flush(slot);
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
                Order::Accept(newcomer) => self.accept(*newcomer),
                Order::Verified { slot, tag, result } => {
                    self.set_verifying(slot, false);
                    self.verified(slot, tag, result);
                    self.resume(slot);
                }
                Order::Admitted { slot, tag, claims, result } => {
                    self.set_verifying(slot, false);
                    self.admitted(slot, &tag, &claims, result);
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

    fn accept(&mut self, newcomer: Newcomer) {
        let Newcomer { stream, tls, read_ahead, session, deflate, identity, expires_at, admitted, effects, permit } =
            newcomer;
        let form = Framing::of_websocket(deflate).form(session.form());
        let stream = mio::net::TcpStream::from_std(stream);
        let socket = match tls {
            Some(tls) => Socket::tls(stream, tls),
            None => Socket::Plain(stream),
        };
        let now = tick(self.now);
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
            permit,
            state: if admitted { State::Open } else { State::AwaitAuth },
            now,
        });
        line.expires_at = expires_at.unwrap_or(0);
        if !admitted {
            line.deadline = now + ticks(self.live.auth.timeout);
        }
        let whole = identity.clone();
        let slot = self.shard.open(identity.anonymous(), line);
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(connection.endpoint.socket.stream(), token_of(slot), interest);
        if let Err(error) = registered {
            tracing::warn!(%error, "a socket could not be registered");
            return self.remove(slot, CloseReason::Internal);
        }
        if admitted {
            let starling_hub::Connection { endpoint, outbox, .. } = connection;
            endpoint.open(&opened, outbox);
            self.shard.admit(slot, whole, self.now);
            self.shard.apply(slot, effects, self.now);
        }
        self.flush(slot);
        self.reschedule(slot);
        if let Some(connection) = self.shard.get_mut(slot) {
            connection.endpoint.unread = read_ahead.to_vec();
            connection.endpoint.held = true;
            connection.endpoint.readable = connection.endpoint.socket.has_read_ahead();
            self.resume(slot);
        }
        if self.drain.is_some() || self.stopping {
            self.shard.close(slot, CloseReason::Drain, self.now);
        }
    }

    /// Ends a connection for good.
    fn remove(&mut self, slot: Slot, reason: CloseReason) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let reason = connection.closing().unwrap_or(reason);
        let admitted = connection.endpoint.state != State::AwaitAuth;
        if let Some((identity, mut line)) = self.shard.remove(slot, reason, self.now) {
            // Closing the socket deregisters it as well; this only saves an event.
            let _ = self.poll.registry().deregister(line.socket.stream());
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
