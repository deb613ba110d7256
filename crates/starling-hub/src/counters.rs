//! Numbers for the operator. Counted per batch or per connection, never per delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use starling_core::{AppId, CloseReason, Form};

/// Forms are numbered below this.
const FORMS: usize = 128;

/// The numbers of one app. Only ever grow, but for those called gauges.
#[derive(Default)]
pub struct AppCounters {
    /// Gauge: open connections by form.
    pub connections: Slots<AtomicI64>,
    /// Gauge: memberships, the implicit ones of user channels not counted.
    pub members: AtomicI64,
    /// Messages written to outboxes, by form.
    pub delivered: Slots<AtomicU64>,
    /// Messages accepted from clients.
    pub published_by_clients: AtomicU64,
    /// Messages accepted from the HTTP API, handlers and hooks.
    pub published_by_server: AtomicU64,
    /// Messages not sent to a member that was too slow.
    pub dropped: AtomicU64,
    /// Messages that made room for a newer state.
    pub conflated: AtomicU64,
    /// Client messages refused because there were too many.
    pub rate_limited: AtomicU64,
    /// Subscriptions that asked to recover and got everything.
    pub recovered: AtomicU64,
    /// Subscriptions that asked to recover and could not.
    pub not_recovered: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

/// One number for each form.
pub struct Slots<T>([T; FORMS]);

impl<T: Default> Default for Slots<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> Slots<T> {
    /// The number of a form.
    pub fn of(&self, form: Form) -> &T {
        &self.0[usize::from(form.0) % FORMS]
    }

    /// All numbers with their forms.
    pub fn iter(&self) -> impl Iterator<Item = (Form, &T)> {
        self.0.iter().enumerate().map(|(index, value)| (Form(index as u8), value))
    }
}

impl AppCounters {
    /// A connection ended.
    pub fn count_close(&self, reason: CloseReason) {
        self.closed[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()].load(Ordering::Relaxed)
    }
}

/// The numbers of all apps.
#[derive(Default)]
pub struct Counters(RwLock<HashMap<AppId, Arc<AppCounters>>>);

impl Counters {
    /// The numbers of one app.
    pub fn of(&self, app: &AppId) -> Arc<AppCounters> {
        if let Some(known) = self.0.read().get(app) {
            return known.clone();
        }
        self.0.write().entry(app.clone()).or_default().clone()
    }

    /// All apps that were ever counted.
    pub fn all(&self) -> Vec<(AppId, Arc<AppCounters>)> {
        let mut all: Vec<_> = self.0.read().iter().map(|(app, counters)| (app.clone(), counters.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}
