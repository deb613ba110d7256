//! What nodes tell and ask each other, by core NATS: orders to all, surveys, requests to one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::Request;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use hashbrown::HashSet;
use starling_core::{Answer, AppId, Control, EngineError, NodeId, Query};
use tokio::task::AbortHandle;

use crate::link::{chain, unavailable};
use crate::shared::Shared;
use crate::wire::{Asked, Order, Wire};

/// How long a survey waits for nodes that do not answer.
const SURVEY: Duration = Duration::from_secs(2);

impl Shared {
    fn subject(&self, name: &str) -> String {
        format!("{}.{name}", self.link.options.prefix)
    }

    /// Subscribes to what is for every node, and for this one.
    pub async fn listen_to_nodes(self: &Arc<Self>) -> Result<Vec<AbortHandle>, EngineError> {
        let subscribe = async |name: &str| self.link.client.subscribe(self.subject(name)).await.map_err(unavailable);
        let orders = subscribe("all").await?;
        let questions = subscribe("ask").await?;
        let requests = subscribe(&format!("node.{}", self.link.node)).await?;
        Ok(vec![
            self.each(orders, |shared, message| async move { shared.carry_out(&message.payload) }),
            self.each(questions, |shared, message| async move {
                shared.runtime.clone().spawn(shared.answer(message));
            }),
            self.each(requests, |shared, message| async move {
                shared.runtime.clone().spawn(shared.serve(message));
            }),
        ])
    }

    fn each<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        mut messages: Subscriber,
        handle: impl Fn(Arc<Self>, Message) -> F + Send + 'static,
    ) -> AbortHandle {
        let shared = Arc::downgrade(self);
        let task = self.runtime.spawn(async move {
            while let Some(message) = messages.next().await {
                let Some(shared) = shared.upgrade() else { return };
                handle(shared, message).await;
            }
        });
        task.abort_handle()
    }

    fn carry_out(&self, payload: &Bytes) {
        match Order::decode(payload) {
            Ok(Order::Control { app, control }) => {
                if let Some(sink) = self.sink.get() {
                    sink.control(&app, control);
                }
            }
            Ok(Order::Linger { app, channel, who, until, by }) => {
                if by != self.link.node {
                    self.linger(crate::names::Key { app, channel }, who, until, false);
                }
            }
            Err(error) => tracing::error!(%error, "NATS"),
        }
    }

    pub async fn tell_all(&self, app: &AppId, control: Control) -> Result<(), EngineError> {
        self.order(&Order::Control { app: app.clone(), control }).await
    }

    pub async fn order(&self, order: &Order) -> Result<(), EngineError> {
        let sending = self.link.send(self.subject("all"), order.encode());
        self.link.within("tell all nodes", self.link.confirmed(sending)).await
    }

    /// Answers of the other nodes that are alive; one that does not answer in time is left out.
    pub async fn survey(&self, app: &AppId, query: Query) -> Result<Vec<Answer>, EngineError> {
        self.link.ready()?;
        let inbox = self.link.client.new_inbox();
        let mut answers = self.link.client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let asked = Asked { app: app.clone(), query, by: self.link.node.clone() };
        let sent = self.link.client.publish_with_reply(self.subject("ask"), inbox, asked.encode()).await;
        sent.map_err(unavailable)?;
        let mut awaited: HashSet<NodeId> = self.link.within("list the nodes", self.alive()).await?;
        awaited.remove(&self.link.node);
        let mut found = Vec::new();
        let collect = async {
            while !awaited.is_empty() {
                let Some(message) = answers.next().await else { return };
                let Ok((node, answers)) = <(NodeId, Vec<Answer>)>::decode(&message.payload) else { continue };
                awaited.remove(&node);
                found.extend(answers);
            }
        };
        let _ = tokio::time::timeout(SURVEY, collect).await;
        Ok(found)
    }

    async fn answer(self: Arc<Self>, message: Message) {
        let (Some(reply), Ok(asked)) = (message.reply, Asked::decode(&message.payload)) else { return };
        let Some(sink) = self.sink.get().filter(|_| asked.by != self.link.node) else { return };
        let answers = sink.surveyed(&asked.app, asked.query).wait().await;
        let payload = (self.link.node.clone(), answers).encode();
        if let Err(error) = self.link.client.publish(reply, payload).await {
            tracing::debug!(%error, "a survey is not answered");
        }
    }

    pub async fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Result<Bytes, EngineError> {
        self.link.ready()?;
        // The client checks subjects; a node's name comes from outside.
        if !node.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()) || node.as_str().is_empty() {
            return Err(unavailable(format_args!("there is no node {node}")));
        }
        let request = Request::new().payload(request).timeout(Some(timeout));
        let answer = self.link.client.send_request(self.subject(&format!("node.{node}")), request).await;
        answer.map(|answer| answer.payload).map_err(|error| unavailable(chain(&error)))
    }

    async fn serve(self: Arc<Self>, message: Message) {
        let (Some(reply), Some(sink)) = (message.reply, self.sink.get()) else { return };
        let answer = sink.relayed(message.payload).wait().await;
        if let Err(error) = self.link.client.publish(reply, answer).await {
            tracing::debug!(%error, "a request of another node is not answered");
        }
    }
}
