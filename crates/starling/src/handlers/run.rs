//! Running handlers: bounded in time and number, and never at the expense of anybody else.
//!
//! A worker calls a handler in the middle of its turn. A handler that answers without waiting costs no task switch:
//! its future is polled once on the worker, and if it is ready, that was all. One that waits goes on as a task of the
//! tokio runtime, which every worker has entered. A handler that *blocks* (a poll of its future takes longer than
//! [`BLOCKS`]) would hold up a worker or a thread of the runtime, so it runs on a thread of its own, from the blocking
//! pool of the runtime, until it has behaved for a while. Every handler starts there.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use starling_core::{BoxFuture, ConnectionId, ErrorCode, Pending, Refusal};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A poll that takes longer is taken for one that blocks.
const BLOCKS: Duration = Duration::from_millis(10);

/// Tells the blocking from the others: by the system's coarse clock, which costs next to nothing to read and is right
/// within 10 ms.
struct Stopwatch(Timespec);

impl Stopwatch {
    fn start() -> Self {
        Self(clock_gettime(ClockId::MonotonicCoarse))
    }

    fn elapsed(&self) -> Duration {
        (clock_gettime(ClockId::MonotonicCoarse) - self.0).try_into().unwrap_or_default()
    }
}

/// Calls that a new handler answers on threads of their own, before it is trusted.
const TRIAL: u32 = 2;

/// Calls that a handler that blocked answers on threads of their own.
const PENALTY: u32 = 256;

/// What comes of a handler.
pub(crate) type Outcome<T> = Result<T, Refusal>;

/// A handler under way.
pub(crate) type Running<T> = BoxFuture<Outcome<T>>;

/// Bounds of a server's handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerLimits {
    /// How long one call may take; then it is dropped where it waits, and its client is answered `INTERNAL`.
    /// Default 10 s.
    pub timeout: Duration,
    /// Calls that may wait for something at once; further ones are refused with `LIMIT_EXCEEDED`. Leave and disconnect
    /// handlers have the same bound to themselves; further ones of those are started later. Default 10,000.
    pub running: usize,
}

impl Default for HandlerLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), running: 10_000 }
    }
}

/// Whether a handler can be trusted not to block: how many of its next calls run on threads of their own.
pub(crate) struct Manners(AtomicU32);

impl Manners {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(TRIAL)))
    }

    fn is_trusted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn judge(&self, poll: Duration) {
        if poll > BLOCKS && self.0.swap(PENALTY, Ordering::Relaxed) == 0 {
            tracing::debug!(?poll, "a handler blocked; its next calls run on threads of their own");
        }
    }

    fn behaved(&self) {
        // Which of several calls counts down does not matter.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| calls.checked_sub(1));
    }
}

/// Runs the handlers of a server.
pub(crate) struct Runner {
    limits: HandlerLimits,
    runtime: Handle,
    running: AtomicUsize,
    /// Handlers whose outcome nobody waits for.
    farewells: Arc<tokio::sync::Semaphore>,
}

impl Runner {
    pub fn new(limits: HandlerLimits, runtime: Handle) -> Arc<Self> {
        let farewells = Arc::new(tokio::sync::Semaphore::new(limits.running.clamp(1, 1 << 20)));
        Arc::new(Self { limits, runtime, running: AtomicUsize::new(0), farewells })
    }

    /// Calls a handler for a connection. `start` calls the user's function and gives its future.
    pub fn run<T: Send + 'static>(
        self: &Arc<Self>,
        connection: &ConnectionId,
        manners: &Arc<Manners>,
        start: impl FnOnce() -> Outcome<Running<T>> + Send + 'static,
    ) -> Pending<Outcome<T>> {
        if self.running.load(Ordering::Relaxed) >= self.limits.running {
            return Pending::Ready(Err(Refusal::new(ErrorCode::LimitExceeded, "too many handlers are running")));
        }
        if !manners.is_trusted() {
            return self.run_apart(connection, manners, start);
        }
        let began = Stopwatch::start();
        let polled = {
            let _current = Current::set(connection);
            catch_unwind(AssertUnwindSafe(|| {
                let mut running = start()?;
                // Whoever polls first with a waker that does nothing must poll again; `Later` is polled by its task.
                match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(outcome) => outcome.map(Polled::Ready),
                    Poll::Pending => Ok(Polled::Waits(running)),
                }
            }))
        };
        manners.judge(began.elapsed());
        match polled {
            Ok(Ok(Polled::Ready(value))) => Pending::Ready(Ok(value)),
            Ok(Ok(Polled::Waits(running))) => {
                let place = self.place();
                let watched = Watched { running, connection: connection.clone(), manners: manners.clone() };
                let limit = self.limits.timeout;
                Pending::later(async move {
                    let _place = place;
                    timeout(limit, watched).await.unwrap_or_else(|_| Err(too_long()))
                })
            }
            Ok(Err(refusal)) => Pending::Ready(Err(refusal)),
            Err(_) => Pending::Ready(Err(panicked())),
        }
    }

    fn run_apart<T: Send + 'static>(
        self: &Arc<Self>,
        connection: &ConnectionId,
        manners: &Arc<Manners>,
        start: impl FnOnce() -> Outcome<Running<T>> + Send + 'static,
    ) -> Pending<Outcome<T>> {
        let (place, limit) = (self.place(), self.limits.timeout);
        let (connection, manners, runtime) = (connection.clone(), manners.clone(), self.runtime.clone());
        let job = self.runtime.spawn_blocking(move || {
            let _place = place;
            let began = Stopwatch::start();
            let _current = Current::set(&connection);
            let started = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| Err(panicked()));
            drop(_current);
            manners.judge(began.elapsed());
            let watched = Watched { running: started?, connection, manners: manners.clone() };
            let outcome = runtime.block_on(async { timeout(limit, watched).await });
            manners.behaved();
            outcome.unwrap_or_else(|_| Err(too_long()))
        });
        Pending::later(async move {
            // A handler that blocks past its time is not waited for; its thread ends when it does.
            match timeout(limit, job).await {
                Ok(Ok(outcome)) => outcome,
                // Dropping what the handler left behind panicked, or the runtime shuts down.
                Ok(Err(_)) => Err(panicked()),
                Err(_) => Err(too_long()),
            }
        })
    }

    /// Calls a handler whose outcome nobody waits for.
    pub fn run_aside(
        self: &Arc<Self>,
        connection: ConnectionId,
        manners: &Arc<Manners>,
        start: impl FnOnce() -> Outcome<Running<()>> + Send + 'static,
    ) {
        let (manners, limit, farewells) = (manners.clone(), self.limits.timeout, self.farewells.clone());
        let runner = self.clone();
        self.runtime.spawn(async move {
            let _turn = farewells.acquire_owned().await;
            if !manners.is_trusted() {
                // Its outcome was logged where it came up.
                let _ = runner.run_apart(&connection, &manners, start).wait().await;
                return;
            }
            let started = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| Err(panicked()));
            let Ok(running) = started else { return };
            if timeout(limit, Watched { running, connection, manners }).await.is_err() {
                too_long();
            }
        });
    }

    fn place(self: &Arc<Self>) -> Place {
        self.running.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }
}

enum Polled<T> {
    Ready(T),
    Waits(Running<T>),
}

/// One of the calls that may wait at once.
struct Place(Arc<Runner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A handler's future whose panics are errors, and whose polls are timed.
struct Watched<T> {
    running: Running<T>,
    connection: ConnectionId,
    manners: Arc<Manners>,
}

impl<T> Future for Watched<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let began = Stopwatch::start();
        let _current = Current::set(&self.connection);
        let polled = catch_unwind(AssertUnwindSafe(|| self.running.as_mut().poll(context)));
        self.manners.judge(began.elapsed());
        // A future that panicked is not polled again: this one is done.
        polled.unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    }
}

thread_local! {
    /// The connection whose handler this thread polls now.
    static CURRENT: RefCell<Option<ConnectionId>> = const { RefCell::new(None) };
}

struct Current {
    before: Option<ConnectionId>,
}

impl Current {
    fn set(connection: &ConnectionId) -> Self {
        Self { before: CURRENT.replace(Some(connection.clone())) }
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// The connection whose handler is being polled on this thread.
pub(crate) fn current_connection() -> Option<ConnectionId> {
    CURRENT.with_borrow(Clone::clone)
}

fn panicked() -> Refusal {
    tracing::error!("a handler panicked");
    Refusal::new(ErrorCode::Internal, "the handler failed")
}

fn too_long() -> Refusal {
    tracing::warn!("a handler took too long");
    Refusal::new(ErrorCode::Internal, "the handler took too long")
}
