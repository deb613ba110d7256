//! What all parts of one node's engine share.

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use starling_core::Sink;

use crate::interest::Interest;
use crate::lease::Leases;
use crate::link::Link;
use crate::logs::Logs;
use crate::presence::Presence;

/// One node's engine. Each part guards its own state; none is locked while something is awaited.
pub(crate) struct Shared {
    pub link: Link,
    pub runtime: tokio::runtime::Handle,
    pub sink: OnceLock<Arc<dyn Sink>>,
    pub interest: Interest,
    pub logs: Logs,
    pub presence: Presence,
    pub leases: Leases,
}

impl Shared {
    pub fn new(link: Link) -> Arc<Self> {
        Arc::new(Self {
            link,
            runtime: tokio::runtime::Handle::current(),
            sink: OnceLock::new(),
            interest: Interest::default(),
            logs: Logs::default(),
            presence: Presence::default(),
            leases: Leases::default(),
        })
    }
}

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
