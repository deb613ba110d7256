//! Answers that are there at once, or later.

use std::future::Future;
use std::pin::Pin;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The answer of a seam: ready now (the memory engine, a rule), or later (a broker, a hook).
///
/// A caller that can go on without a task switch when the answer is ready should look for [`Pending::Ready`] first.
pub enum Pending<T> {
    /// The answer.
    Ready(T),
    /// It is on its way. Dropping the future gives up waiting; whether the operation still happens is not known.
    Later(BoxFuture<T>),
}

impl<T: Send + 'static> Pending<T> {
    /// Wraps a future.
    pub fn later(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }

    /// Applies `f` to the answer when it is there.
    pub fn map<U: Send + 'static>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Pending<U> {
        match self {
            Self::Ready(value) => Pending::Ready(f(value)),
            Self::Later(future) => Pending::later(async move { f(future.await) }),
        }
    }

    /// Waits for the answer. Cancel-safe in so far as the operation itself is.
    pub async fn wait(self) -> T {
        match self {
            Self::Ready(value) => value,
            Self::Later(future) => future.await,
        }
    }
}
