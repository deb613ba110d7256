//! What nodes tell and ask each other, through one partition that all read: orders to all, surveys, requests to one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use starling_core::{Answer, AppId, Control, EngineError, NodeId, Query};
use tokio::sync::mpsc;

use crate::client::unavailable;
use crate::names::{Place, Topic};
use crate::shared::{Received, Record, Shared, now};
use crate::wire::{Act, Asked, Foreign, Ordered, Wire};
use crate::writer::Outcome;

/// How long a survey waits for nodes that do not answer.
const SURVEY: Duration = Duration::from_secs(2);

/// Bytes of an answer in one record; a longer one takes several.
const PART: usize = 512 << 10;

/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 256 << 20;

pub(crate) const NODES: Place = Place { topic: Topic::Nodes, partition: 0 };

/// What this node knows of the others, and has asked them.
#[derive(Default)]
pub(crate) struct Nodes {
    /// When each was last heard of.
    pub heard: Mutex<HashMap<NodeId, Instant>>,
    /// Whether this node's first record has come back: what is said after it concerns this node.
    joined: AtomicBool,
    asks: AtomicU64,
    asked: Mutex<HashMap<u64, mpsc::UnboundedSender<Heard>>>,
}

/// What came of a question.
enum Heard {
    /// It has been stored; these nodes were alive then.
    Asked(HashSet<NodeId>),
    /// A part of a node's answer.
    Part { by: NodeId, is_last: bool, bytes: Bytes },
}

/// A question that is waiting for answers; it is forgotten with this.
struct Asking<'a> {
    nodes: &'a Nodes,
    ask: u64,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.nodes.asked.lock().remove(&self.ask);
    }
}

impl Nodes {
    fn ask(&self) -> Asking<'_> {
        let ask = self.asks.fetch_add(1, Ordering::Relaxed);
        let (sender, heard) = mpsc::unbounded_channel();
        self.asked.lock().insert(ask, sender);
        Asking { nodes: self, ask, heard }
    }

    fn tell(&self, ask: u64, heard: Heard) {
        if let Some(sender) = self.asked.lock().get(&ask) {
            let _ = sender.send(heard);
        }
    }

    /// Nodes that were heard of within the lease.
    pub fn alive(&self, lease: Duration) -> HashSet<NodeId> {
        let heard = self.heard.lock();
        heard.iter().filter(|(_, last)| last.elapsed() < lease).map(|(node, _)| node.clone()).collect()
    }
}

impl Shared {
    pub fn receive_from_node(self: &Arc<Self>, record: Record<'_>) -> Received {
        let Record { time, stamp, value, .. } = record;
        let is_ours = stamp.by == self.node;
        let is_joined = self.nodes.joined.load(Ordering::Acquire);
        match stamp.act {
            Act::Beat {} => {
                if time + self.options.lease.as_millis() as u64 >= now() {
                    self.nodes.heard.lock().insert(stamp.by, Instant::now());
                }
                if is_ours {
                    self.nodes.joined.store(true, Ordering::Release);
                }
            }
            Act::Bye {} => _ = self.nodes.heard.lock().remove(&stamp.by),
            Act::Nudge {} => {}
            Act::Order {} => {
                let Ordered { app, control } = Ordered::decode(&value.ok_or(Foreign)?)?;
                if let Some(sink) = self.sink.get().filter(|_| is_joined) {
                    sink.control(&app, control);
                }
            }
            Act::Survey { ask } if is_ours => {
                let mut others = self.nodes.alive(self.options.lease);
                others.remove(&self.node);
                self.nodes.tell(ask, Heard::Asked(others));
            }
            Act::Survey { ask } if is_joined => {
                let asked = Asked::decode(&value.ok_or(Foreign)?)?;
                self.runtime.spawn(self.clone().answer(stamp.by, ask, asked));
            }
            Act::Ask { to, ask } => {
                if is_ours {
                    let alive = self.nodes.alive(self.options.lease);
                    self.nodes.tell(ask, Heard::Asked(alive));
                }
                if to == self.node && is_joined {
                    let request = Bytes::decode(&value.ok_or(Foreign)?)?;
                    self.runtime.spawn(self.clone().serve(stamp.by, ask, request));
                }
            }
            Act::Reply { to, ask, part, parts } if to == self.node => {
                let bytes = value.ok_or(Foreign)?;
                self.nodes.tell(ask, Heard::Part { by: stamp.by, is_last: part + 1 == parts, bytes });
            }
            Act::Survey { .. } | Act::Reply { .. } => {}
            _ => return Err(Foreign),
        }
        Ok(Outcome::Done)
    }

    pub async fn tell_all(&self, app: &AppId, control: Control) -> Result<(), EngineError> {
        let order = Ordered { app: app.clone(), control }.encode();
        let told = self.writer.done(NODES, b"order", Act::Order {}, Some(&order));
        self.within("tell all nodes", told).await.map(drop)
    }

    /// Answers of the other nodes that are alive; one that does not answer in time is left out.
    pub async fn survey(&self, app: &AppId, query: Query) -> Result<Vec<Answer>, EngineError> {
        self.ready()?;
        let mut asking = self.nodes.ask();
        let asked = Asked { app: app.clone(), query }.encode();
        let (_, sent) = self.writer.write(NODES, b"survey", Act::Survey { ask: asking.ask }, Some(&asked))?;
        sent.await.unwrap_or_else(|_| Err(unavailable("the engine is gone")))?;
        let (mut awaited, mut found, mut parts) = (None, Vec::new(), HashMap::<NodeId, Vec<u8>>::new());
        let collect = async {
            while awaited.as_ref().is_none_or(|awaited: &HashSet<NodeId>| !awaited.is_empty()) {
                match asking.heard.recv().await {
                    None => return,
                    Some(Heard::Asked(others)) => awaited = Some(others),
                    Some(Heard::Part { by, is_last, bytes }) => {
                        let answer = parts.entry(by.clone()).or_default();
                        answer.extend_from_slice(&bytes);
                        if is_last {
                            let answer = parts.remove(&by).unwrap_or_default();
                            found.extend(Vec::<Answer>::decode(&answer.into()).unwrap_or_default());
                            awaited.iter_mut().for_each(|awaited| _ = awaited.remove(&by));
                        }
                    }
                }
            }
        };
        let _ = tokio::time::timeout(SURVEY, collect).await;
        Ok(found)
    }

    async fn answer(self: Arc<Self>, to: NodeId, ask: u64, asked: Asked) {
        let Some(sink) = self.sink.get() else { return };
        let answers = sink.surveyed(&asked.app, asked.query).wait().await;
        self.reply(to, ask, &answers.encode());
    }

    fn reply(&self, to: NodeId, ask: u64, answer: &[u8]) {
        if answer.len() > MAX_ANSWER {
            return tracing::error!(bytes = answer.len(), "an answer to another node is too long");
        }
        let parts = answer.len().div_ceil(PART).max(1) as u64;
        // The first is sent even if there is nothing in it.
        for part in 0..parts {
            let from = part as usize * PART;
            let bytes = &answer[from..answer.len().min(from + PART)];
            let act = Act::Reply { to: to.clone(), ask, part, parts };
            if let Err(error) = self.writer.write(NODES, b"reply", act, Some(bytes)) {
                return tracing::debug!(%error, "another node is not answered");
            }
        }
    }

    pub async fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Result<Bytes, EngineError> {
        self.ready()?;
        let mut asking = self.nodes.ask();
        let act = Act::Ask { to: node.clone(), ask: asking.ask };
        let answer = async {
            self.writer.done(NODES, b"ask", act, Some(&request.encode())).await?;
            let mut answer = Vec::new();
            loop {
                match asking.heard.recv().await {
                    Some(Heard::Asked(alive)) if !alive.contains(node) => {
                        return Err(unavailable(format_args!("there is no node {node}")));
                    }
                    Some(Heard::Part { is_last, bytes, .. }) => {
                        answer.extend_from_slice(&bytes);
                        if is_last {
                            return Bytes::decode(&answer.into()).map_err(unavailable);
                        }
                    }
                    Some(Heard::Asked(_)) => {}
                    None => return Err(unavailable("the engine is gone")),
                }
            }
        };
        let answered = tokio::time::timeout(timeout, answer).await;
        answered.unwrap_or_else(|_| Err(unavailable(format_args!("node {node} did not answer in time"))))
    }

    async fn serve(self: Arc<Self>, to: NodeId, ask: u64, request: Bytes) {
        let Some(sink) = self.sink.get() else { return };
        let answer = sink.relayed(request).wait().await;
        self.reply(to, ask, &answer.encode());
    }
}
