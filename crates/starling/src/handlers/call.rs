//! Which functions are handlers. Nobody implements these traits but functions of the right form.

use std::future::Future;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use starling_core::{CloseReason, Decision, Payload, Publish, Refusal};

use super::answer::{JoinReply, PublishReply, Reply, Welcome};
use super::connection::Connection;
use super::newcomer::Newcomer;
use super::payload::FromPayload;
use super::run::{Manners, Outcome, Running};

/// What a handler is called by.
type Call<C, I, O> = dyn Fn(C, &I) -> Outcome<Running<O>> + Send + Sync;

/// Handlers of events, by the names of these.
pub(crate) type Events<C> = HashMap<Box<str>, Handler<C, Payload, Option<Payload>>, RandomState>;

/// A handler whose types are gone: it takes what it works on and an input, and gives a future.
pub(crate) struct Handler<C, I: ?Sized, O> {
    pub call: Arc<Call<C, I, O>>,
    pub manners: Arc<Manners>,
}

impl<C, I: ?Sized, O> Handler<C, I, O> {
    pub fn new(call: impl Fn(C, &I) -> Outcome<Running<O>> + Send + Sync + 'static) -> Self {
        Self { call: Arc::new(call), manners: Manners::new() }
    }
}

/// Marks handlers that take no payload.
#[derive(Debug)]
pub struct Alone<F>(std::marker::PhantomData<F>);

/// Marks handlers that take a payload.
#[derive(Debug)]
pub struct With<T, F>(std::marker::PhantomData<(T, F)>);

/// A handler of events: `async fn(C)` or `async fn(C, T)`, where `C` is a [`Connection`] or a
/// [`Member`](super::Member), `T: `[`FromPayload`] and what it returns is a [`Reply`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of events on `{C}`",
    label = "not a handler",
    note = "a handler is an `async fn({C})` or `async fn({C}, T)`; T is `FromPayload`, what it returns is a `Reply`, \
            and its future is `Send`"
)]
pub trait EventHandler<C, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn handle(&self, on: C, payload: &Payload) -> Outcome<Running<Option<Payload>>>;
}

impl<C, F, Fut> EventHandler<C, Alone<Fut>> for F
where
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Reply> + Send + 'static,
{
    fn handle(&self, on: C, _: &Payload) -> Outcome<Running<Option<Payload>>> {
        let future = self(on);
        Ok(Box::pin(async move { future.await.into_reply() }))
    }
}

impl<C, T, F, Fut> EventHandler<C, With<T, Fut>> for F
where
    F: Fn(C, T) -> Fut + Send + Sync + 'static,
    T: FromPayload,
    Fut: Future<Output: Reply> + Send + 'static,
{
    fn handle(&self, on: C, payload: &Payload) -> Outcome<Running<Option<Payload>>> {
        let future = self(on, T::from_payload(payload)?);
        Ok(Box::pin(async move { future.await.into_reply() }))
    }
}

/// A handler of joins: `async fn(C)` or `async fn(C, T)`, where `C` is a [`Member`](super::Member),
/// `T: `[`FromPayload`] what the client sent along, and what it returns is a [`JoinReply`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of joins",
    label = "not a handler",
    note = "a join handler is an `async fn({C})` or `async fn({C}, T)` that returns `Result<Join, E>` or `Result<(), E>`, \
            where E is `Into<Refusal>`; T is `FromPayload`, and its future is `Send`"
)]
pub trait JoinHandler<C, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn handle(&self, on: C, params: &Payload) -> Outcome<Running<Decision>>;
}

impl<C, F, Fut> JoinHandler<C, Alone<Fut>> for F
where
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: JoinReply> + Send + 'static,
{
    fn handle(&self, on: C, _: &Payload) -> Outcome<Running<Decision>> {
        let future = self(on);
        Ok(Box::pin(async move { future.await.into_decision() }))
    }
}

impl<C, T, F, Fut> JoinHandler<C, With<T, Fut>> for F
where
    F: Fn(C, T) -> Fut + Send + Sync + 'static,
    T: FromPayload,
    Fut: Future<Output: JoinReply> + Send + 'static,
{
    fn handle(&self, on: C, params: &Payload) -> Outcome<Running<Decision>> {
        let future = self(on, T::from_payload(params)?);
        Ok(Box::pin(async move { future.await.into_decision() }))
    }
}

/// A handler of what clients publish: `async fn(C, Publish)`, where `C` is a [`Member`](super::Member), and what it
/// returns is a [`PublishReply`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of publishes",
    label = "not a handler",
    note = "a publish handler is an `async fn({C}, Publish)` that returns `Result<(), E>`, or a `Result` of another \
            payload, where E is `Into<Refusal>`; its future is `Send`"
)]
pub trait PublishHandler<C, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn handle(&self, on: C, publish: Publish) -> Running<Decision>;
}

impl<C, F, Fut> PublishHandler<C, Fut> for F
where
    F: Fn(C, Publish) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: PublishReply> + Send + 'static,
{
    fn handle(&self, on: C, publish: Publish) -> Running<Decision> {
        let future = self(on, publish);
        Box::pin(async move { future.await.into_decision() })
    }
}

/// A handler of what is over: `async fn(C)`, where `C` is a [`Member`](super::Member).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of leaves",
    label = "not a handler",
    note = "a leave handler is an `async fn({C})` that returns nothing, and its future is `Send`"
)]
pub trait LeaveHandler<C, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn handle(&self, on: C) -> Running<()>;
}

impl<C, F, Fut> LeaveHandler<C, Fut> for F
where
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, on: C) -> Running<()> {
        let future = self(on);
        Box::pin(async move {
            future.await;
            Ok(())
        })
    }
}

/// A handler of connections that come in: `async fn(Newcomer)` that returns `Result<Welcome<S>, E>`, where
/// `E: Into<Refusal>`. `S` is the state that the connection carries.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of connections that come in",
    label = "not a handler",
    note = "a connect handler is an `async fn(Newcomer)` that returns `Result<Welcome<S>, E>`, where E is \
            `Into<Refusal>`, and its future is `Send`"
)]
pub trait ConnectHandler<S, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn handle(&self, newcomer: Newcomer) -> Running<Welcome<S>>;
}

impl<S, E, F, Fut> ConnectHandler<S, With<E, Fut>> for F
where
    F: Fn(Newcomer) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Welcome<S>, E>> + Send + 'static,
    E: Into<Refusal>,
{
    fn handle(&self, newcomer: Newcomer) -> Running<Welcome<S>> {
        let future = self(newcomer);
        Box::pin(async move { future.await.map_err(Into::into) })
    }
}

/// A handler of connections that are gone: `async fn(Connection<S>, CloseReason)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of connections that are gone",
    label = "not a handler",
    note = "a disconnect handler is an `async fn(Connection<S>, CloseReason)` that returns nothing, and its future is \
            `Send`"
)]
pub trait DisconnectHandler<S, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn handle(&self, connection: Connection<S>, reason: CloseReason) -> Running<()>;
}

impl<S, F, Fut> DisconnectHandler<S, Fut> for F
where
    F: Fn(Connection<S>, CloseReason) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, connection: Connection<S>, reason: CloseReason) -> Running<()> {
        let future = self(connection, reason);
        Box::pin(async move {
            future.await;
            Ok(())
        })
    }
}
