//! Leases: heartbeats, and what happens to the entries of nodes that have none.
//!
//! A node that is not heard of for a lease, by one who heard itself all the time, is dead. The node with the smallest name
//! among the living removes its entries; should it not, the next one does a heartbeat later. A node that was paused, or
//! cut off, finds its entries removed and writes them again.
//!
//! Dead to gone: one lease, a sixth of it until somebody looks, and the records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{EngineError, NodeId};

use crate::client::unavailable;
use crate::nodes::NODES;
use crate::shared::Shared;
use crate::wire::Act;

/// How long after a heartbeat that failed the next is tried.
pub(crate) const RETRY: Duration = Duration::from_millis(250);

/// What this node knows of its own lease and of those it never heard of.
#[derive(Default)]
pub(crate) struct Leases {
    /// When this node last heard itself.
    last: Mutex<Option<Instant>>,
    /// Since when it knows of nodes that have entries and were never heard of.
    unheard: Mutex<HashMap<NodeId, Instant>>,
}

impl Shared {
    /// One round: shows that this node is alive, and looks after the others.
    pub async fn keep_alive(self: &Arc<Self>) {
        if self.beat().await.is_err() || !self.signals.ready.load(Ordering::Acquire) {
            return;
        }
        self.settle_doubts().await;
        for node in self.dead_nodes() {
            tracing::info!(%node, "a node is gone; its presence entries are removed");
            if let Err(error) = self.reap(&node).await {
                tracing::warn!(%error, %node, "presence entries of a dead node are not removed yet");
            }
        }
    }

    /// Writes a heartbeat and waits until it has come back: then this node is up.
    pub async fn beat(&self) -> Result<(), EngineError> {
        self.writer.mend();
        let doubts = self.signals.doubts();
        let written = self.writer.done(NODES, b"beat", Act::Beat {}, None);
        let beaten = tokio::time::timeout(self.options.timeout, written).await;
        match beaten.unwrap_or_else(|_| Err(unavailable("Kafka did not answer in time"))) {
            Ok(_) => {
                if self.signals.trust(doubts) {
                    tracing::info!("Kafka is up");
                }
                self.note_own_beat();
                Ok(())
            }
            Err(error) => {
                self.signals.doubt(&error.to_string());
                Err(error)
            }
        }
    }

    /// Who did not hear itself cannot have heard the others: their leases begin anew.
    fn note_own_beat(&self) {
        let now = Instant::now();
        let last = self.leases.last.lock().replace(now);
        if last.is_none_or(|last| now - last > 3 * self.options.heartbeat()) {
            self.nodes.heard.lock().values_mut().for_each(|heard| *heard = now);
            self.leases.unheard.lock().clear();
        }
    }

    /// Nodes with entries that this node has to remove.
    fn dead_nodes(&self) -> Vec<NodeId> {
        let lease = self.options.lease;
        let alive = self.nodes.alive(lease);
        let rank = alive.iter().filter(|node| **node < self.node).count() as u32;
        let patience = lease + rank.min(3) * self.options.heartbeat();
        let owners = self.presence.owners();
        let mut unheard = self.leases.unheard.lock();
        unheard.retain(|node, _| owners.contains(node));
        let mut heard = self.nodes.heard.lock();
        let is_dead = |node: &NodeId| {
            let last =
                heard.get(node).copied().unwrap_or_else(|| *unheard.entry(node.clone()).or_insert_with(Instant::now));
            *node != self.node && last.elapsed() >= patience
        };
        let dead = owners.into_iter().filter(is_dead).collect();
        heard.retain(|_, last| last.elapsed() < 10 * lease);
        dead
    }
}
