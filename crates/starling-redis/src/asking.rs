//! Questions between nodes: surveys of all others, and relays to one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use redis::{Value, cmd};
use starling_core::{Answer, AppId, EngineError, NodeId, Query};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::broker::Shared;
use crate::wire::NodeFrame;

/// Questions of this node that wait for answers. Each has a time, so that their number is bounded by their rate.
#[derive(Default)]
pub(crate) struct Asking {
    count: AtomicU64,
    relays: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    surveys: Mutex<HashMap<u64, mpsc::Sender<Vec<Answer>>>>,
}

/// Answers to a survey that may wait to be collected.
const SURVEY_BUFFER: usize = 256;

impl Asking {
    pub fn answered(&self, number: u64, answers: Vec<Answer>) {
        if let Some(survey) = self.surveys.lock().get(&number) {
            let _ = survey.try_send(answers);
        }
    }

    pub fn replied(&self, number: u64, reply: Bytes) {
        if let Some(relay) = self.relays.lock().remove(&number) {
            let _ = relay.send(reply);
        }
    }
}

impl Shared {
    /// Asks all other nodes. Redis says how many hear the question: when all have answered, nobody is waited for.
    pub async fn survey(self: Arc<Self>, app: AppId, query: Query) -> Result<Vec<Answer>, EngineError> {
        let number = self.asking.count.fetch_add(1, Ordering::Relaxed);
        let (sender, mut receiver) = mpsc::channel(SURVEY_BUFFER);
        self.asking.surveys.lock().insert(number, sender);
        let frame = NodeFrame::Survey { origin: self.node.clone(), number, app, query };
        let asked = self.publish_frame(&self.control_topic, &frame).await;
        let mut answers = Vec::new();
        if let Ok(heard) = &asked {
            let collect = async {
                // This node hears its own question, and does not answer it.
                for _ in 1..*heard {
                    match receiver.recv().await {
                        Some(more) => answers.extend(more),
                        None => return,
                    }
                }
            };
            let _ = timeout(self.options.survey_timeout, collect).await;
        }
        self.asking.surveys.lock().remove(&number);
        asked.map(|_| answers)
    }

    /// Asks one node.
    pub async fn relay(
        self: Arc<Self>,
        node: NodeId,
        request: Bytes,
        patience: Duration,
    ) -> Result<Bytes, EngineError> {
        let number = self.asking.count.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.asking.relays.lock().insert(number, sender);
        let topic = self.keys.node_topic(&node);
        let frame = NodeFrame::Relay { origin: self.node.clone(), number, request };
        let asked = async {
            if self.publish_frame(&topic, &frame).await? == 0 {
                return Err(EngineError::Unavailable(format!("there is no node {node}")));
            }
            receiver.await.map_err(|_| EngineError::Unavailable(format!("node {node} gave up")))
        };
        let reply = timeout(patience, asked).await;
        self.asking.relays.lock().remove(&number);
        reply.unwrap_or_else(|_| Err(EngineError::Unavailable(format!("node {node} does not answer"))))
    }

    /// Publishes to nodes, and says how many hear it.
    pub async fn publish_frame(self: &Arc<Self>, topic: &str, frame: &NodeFrame) -> Result<u64, EngineError> {
        let mut publish = cmd(&self.topology.verb("PUBLISH"));
        publish.arg(topic).arg(frame.encode());
        match self.send(topic, publish).value().await? {
            Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
            _ => Err(EngineError::Unavailable("redis does not say who hears it".into())),
        }
    }

    pub fn answer_survey(self: &Arc<Self>, origin: NodeId, number: u64, app: AppId, query: Query) {
        let shared = self.clone();
        self.handle.spawn(async move {
            let Some(sink) = shared.sink() else { return };
            let answers = sink.surveyed(&app, query).wait().await;
            let topic = shared.keys.node_topic(&origin);
            // If it does not arrive, the other node goes on without it.
            let _ = shared.publish_frame(&topic, &NodeFrame::Answers { number, answers }).await;
        });
    }

    pub fn answer_relay(self: &Arc<Self>, origin: NodeId, number: u64, request: Bytes) {
        let shared = self.clone();
        self.handle.spawn(async move {
            let Some(sink) = shared.sink() else { return };
            let reply = sink.relayed(request).wait().await;
            let topic = shared.keys.node_topic(&origin);
            let _ = shared.publish_frame(&topic, &NodeFrame::Reply { number, reply }).await;
        });
    }
}
