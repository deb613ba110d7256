//! Whether the nodes that owe this one an answer are still there. A poll may take a minute; a node that was killed
//! meanwhile never answers, and its clients should not learn of it a minute later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{Engine, NodeId};
use tokio::sync::watch;

/// How often a node is asked while it owes something.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long it may take to say that it is there. A node that is gone is known at once by most brokers.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a node is asked; any answer will do. No request looks like this.
pub(super) const QUESTION: &[u8] = b"?";

/// The nodes that owe something, each with what its end is told by.
#[derive(Default)]
pub(crate) struct Pulses(Arc<Mutex<HashMap<NodeId, watch::Sender<()>>>>);

impl Pulses {
    /// Returns when a node does not say any more that it is there. However many wait for one node, it is asked by one.
    pub async fn stopped(&self, engine: &Arc<dyn Engine>, node: &NodeId) {
        let mut end = {
            let mut watched = self.0.lock();
            match watched.get(node) {
                Some(end) => end.subscribe(),
                None => {
                    let (sender, end) = watch::channel(());
                    watched.insert(node.clone(), sender);
                    tokio::spawn(ask(self.0.clone(), engine.clone(), node.clone()));
                    end
                }
            }
        };
        // Nothing is ever sent: the sender is dropped.
        while end.changed().await.is_ok() {}
    }
}

/// Asks a node as long as it answers and somebody waits for it.
async fn ask(watched: Arc<Mutex<HashMap<NodeId, watch::Sender<()>>>>, engine: Arc<dyn Engine>, node: NodeId) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        {
            let mut watched = watched.lock();
            if watched.get(&node).is_none_or(|end| end.receiver_count() == 0) {
                watched.remove(&node);
                return;
            }
        }
        if engine.relay(&node, Bytes::from_static(QUESTION), PATIENCE).wait().await.is_err() {
            watched.lock().remove(&node);
            return;
        }
    }
}
