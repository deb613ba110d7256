//! Running futures without a runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use starling_core::BoxFuture;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread, which sleeps while there is nothing to do.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Futures that go on only when the test says so.
#[derive(Default)]
pub struct Tasks(Mutex<Vec<BoxFuture<()>>>);

impl Tasks {
    /// Adds a future; it is not looked at yet.
    pub fn spawn(&self, future: BoxFuture<()>) {
        self.0.lock().unwrap().push(future);
    }

    /// Polls each future once, and says whether one of them came to its end.
    pub fn poll(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap());
        let before = tasks.len();
        tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        let ended = tasks.len() < before;
        let mut all = self.0.lock().unwrap();
        // Before those that were spawned meanwhile, so that they are polled in the order of their beginning.
        tasks.append(&mut all);
        *all = tasks;
        ended
    }
}
