//! Leases: heartbeats, and what happens to the entries of nodes that have none.
//!
//! A node that holds entries is registered in the presence bucket. Its heartbeat is a key that the broker forgets after
//! half a lease. A registered node without a heartbeat for another half, as one of the others has seen without a break,
//! is dead: one of them removes its entries and its registration. A node that finds its registration gone (it was
//! paused, or the broker lost its data) registers and writes its entries again.
//!
//! Dead to gone, by default: 10 s + 10 s + at most two rounds of 3.3 s. After the broker was away nobody is reaped for
//! the first half of a lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use starling_core::{EngineError, NodeId};

use crate::link::unavailable;
use crate::options::NatsOptions;
use crate::shared::Shared;
use crate::streams::{Kind, StoreError};

/// How often a node shows that it is alive.
pub(crate) fn heartbeat(options: &NatsOptions) -> Duration {
    options.lease / 6
}

/// How long the broker keeps a heartbeat; and how long a node must have been without one in the eyes of another.
pub(crate) fn patience(options: &NatsOptions) -> Duration {
    options.lease / 2
}

/// How long one node has to remove what another left behind, before a third may.
const REAPING: Duration = Duration::from_secs(20);

/// What this node knows of the others' leases.
#[derive(Default)]
pub(crate) struct Leases {
    is_registered: AtomicBool,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct Watch {
    last: Option<Instant>,
    absent: HashMap<NodeId, Instant>,
}

impl Shared {
    /// One round: says that this node is alive, and looks after the others.
    pub async fn beat(self: &Arc<Self>) {
        let stored = self.link.within("heartbeat", self.heartbeat()).await;
        let was_healthy = self.link.healthy.swap(stored.is_ok(), Ordering::AcqRel);
        match stored {
            Ok(()) if !was_healthy => tracing::info!("NATS is up"),
            Ok(()) => {}
            Err(error) => {
                if was_healthy {
                    tracing::warn!(%error, "NATS is down");
                }
                return;
            }
        }
        if let Err(error) = self.keep_lease().await {
            tracing::debug!(%error, "the lease is not checked");
        }
        self.settle_doubts().await;
        if let Err(error) = self.watch_others().await {
            self.leases.watch.lock().absent.clear();
            tracing::debug!(%error, "the other nodes are not watched");
        }
    }

    async fn heartbeat(&self) -> Result<(), EngineError> {
        loop {
            let place = self.link.place(Kind::Nodes).await?;
            let subject = format!("{}.{}", place.root, self.link.node);
            match self.link.store(subject, Bytes::new(), None, false).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Failed(error)) => return Err(error),
                Err(StoreError::Conflict | StoreError::Missing) => {
                    self.link.streams.forget_all();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Registers this node, before its first entry.
    pub async fn register(&self) -> Result<(), EngineError> {
        if self.leases.is_registered.load(Ordering::Acquire) {
            return Ok(());
        }
        let registered = self.link.within("register", async {
            let place = self.link.place(Kind::Presence).await?;
            let subject = format!("{}.r.{}", place.root, self.link.node);
            match self.link.store(subject, Bytes::new(), None, false).await {
                Ok(_) => Ok(()),
                Err(StoreError::Failed(error)) => Err(error),
                Err(StoreError::Conflict | StoreError::Missing) => {
                    self.link.streams.forget(Kind::Presence);
                    Err(unavailable("the presence bucket is gone"))
                }
            }
        });
        registered.await?;
        self.leases.is_registered.store(true, Ordering::Release);
        Ok(())
    }

    async fn keep_lease(&self) -> Result<(), EngineError> {
        if !self.leases.is_registered.load(Ordering::Acquire) {
            return Ok(());
        }
        let found = self.link.within("check the lease", async {
            let place = self.link.place(Kind::Presence).await?;
            self.link.latest(&place, &format!("{}.r.{}", place.root, self.link.node)).await
        });
        if found.await?.is_some() {
            return Ok(());
        }
        tracing::warn!("this node was taken to be dead, or NATS lost its data: presence is written again");
        self.leases.is_registered.store(false, Ordering::Release);
        self.register().await?;
        let restored = self.restore_own().await;
        if restored.is_err() {
            // The next round tries again.
            let _ = self.unregister(&self.link.node).await;
            self.leases.is_registered.store(true, Ordering::Release);
        }
        restored
    }

    /// Nodes with a heartbeat.
    pub async fn alive(&self) -> Result<HashSet<NodeId>, EngineError> {
        let place = self.link.place(Kind::Nodes).await?;
        let prefix = format!("{}.", place.root);
        let subjects = self.link.subjects(&place, &format!("{prefix}*")).await?;
        Ok(subjects.iter().filter_map(|subject| subject.strip_prefix(&prefix).map(NodeId::from)).collect())
    }

    async fn watch_others(self: &Arc<Self>) -> Result<(), EngineError> {
        let (registered, alive) = self
            .link
            .within("watch the nodes", async {
                let place = self.link.place(Kind::Presence).await?;
                let prefix = format!("{}.r.", place.root);
                let subjects = self.link.subjects(&place, &format!("{prefix}*")).await?;
                let nodes: HashSet<NodeId> =
                    subjects.iter().filter_map(|subject| subject.strip_prefix(&prefix).map(NodeId::from)).collect();
                Ok((nodes, self.alive().await?))
            })
            .await?;
        let dead = {
            let mut watch = self.leases.watch.lock();
            let now = Instant::now();
            let was_watching =
                watch.last.replace(now).is_some_and(|last| now - last < 3 * heartbeat(&self.link.options));
            if !was_watching {
                watch.absent.clear();
            }
            watch.absent.retain(|node, _| registered.contains(node) && !alive.contains(node));
            for node in registered.iter().filter(|node| !alive.contains(*node) && **node != self.link.node) {
                watch.absent.entry(node.clone()).or_insert(now);
            }
            let is_dead = |since: &Instant| now - *since >= patience(&self.link.options);
            watch.absent.iter().filter(|(_, since)| is_dead(since)).map(|(node, _)| node.clone()).collect::<Vec<_>>()
        };
        for node in dead {
            if self.claim(&format!("reap {node}"), REAPING).await? {
                let shared = self.clone();
                self.runtime.spawn(async move { shared.bury(&node).await });
            }
        }
        Ok(())
    }

    async fn bury(&self, node: &NodeId) {
        tracing::info!(%node, "a node is gone; its presence entries are removed");
        let buried = async {
            self.reap(node).await?;
            self.unregister(node).await
        };
        if let Err(error) = buried.await {
            tracing::warn!(%error, %node, "presence entries of a dead node are not removed yet");
        }
    }

    async fn unregister(&self, node: &NodeId) -> Result<(), EngineError> {
        let place = self.link.place(Kind::Presence).await?;
        let subject = format!("{}.r.{node}", place.root);
        place.stream.purge().filter(subject).await.map(|_| ()).map_err(unavailable)
    }
}
