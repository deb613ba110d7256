//! Webhooks: the application is told afterwards, in batches, at least once, in order per channel.
//!
//! ```text
//! observe ─► Endpoint: wanted? room? ─► lane (hash of the channel) ─► batch ─► POST, again until 2xx
//! ```
//!
//! An app has [`LANES`] lanes for each endpoint; each delivers one batch at a time, so that what concerns one channel
//! (or one connection) arrives in order. A receiver that is down costs memory up to the endpoint's bounds and nothing
//! else: what does not fit is dropped and counted. A `disconnected` is never dropped for want of room when its
//! `connected` was taken.

mod counters;
mod endpoint;
mod event;
mod lane;
mod render;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use starling_core::{Answer, AppId, ChannelName, Engine, Happening, Observer, Pending, Query};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{HooksError, Secrets, WebhookEvent, WebhookOptions};
use crate::shared::unix_ms;
use endpoint::Endpoint;
use lane::Item;

pub(crate) use counters::{Fate, WebhookCounters};
pub(crate) use event::{Event, What};

/// Batches of one app that are delivered to one endpoint at once.
const LANES: usize = 8;

/// How often it is looked whether everything was delivered, while the server ends.
const LOOK: Duration = Duration::from_millis(10);

/// How many members a channel has on other nodes.
type Elsewhere = Arc<dyn Fn(&AppId, &ChannelName) -> Pending<u64> + Send + Sync>;

/// Tells backends what happened. See the module's documentation.
pub struct Webhooks {
    endpoints: Vec<Arc<Endpoint>>,
    elsewhere: Elsewhere,
    runtime: Handle,
    counters: Arc<WebhookCounters>,
}

impl Webhooks {
    /// Prepares to tell; deliveries are signed with `secrets`, and `engine` is asked whether a channel is occupied on
    /// another node. Deliveries run on `runtime`.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn new(
        options: Vec<WebhookOptions>,
        secrets: &Arc<Secrets>,
        engine: Arc<dyn Engine>,
        runtime: Handle,
    ) -> Result<Arc<Self>, HooksError> {
        let elsewhere = Arc::new(move |app: &AppId, channel: &ChannelName| members_elsewhere(&*engine, app, channel));
        Self::asking(options, secrets, elsewhere, runtime)
    }

    fn asking(
        options: Vec<WebhookOptions>,
        secrets: &Arc<Secrets>,
        elsewhere: Elsewhere,
        runtime: Handle,
    ) -> Result<Arc<Self>, HooksError> {
        let counters = Arc::new(WebhookCounters::default());
        let endpoint = |options| Endpoint::new(options, secrets.clone(), counters.clone(), runtime.clone());
        let endpoints = options.into_iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { endpoints, elsewhere, runtime, counters }))
    }

    pub(crate) fn counters(&self) -> &WebhookCounters {
        &self.counters
    }

    /// Delivers what waits, without the pauses between deliveries, until `deadline`. Nothing may happen any more.
    /// Returns how many events were not delivered.
    ///
    /// Cancel-safe: deliveries go on in the background.
    pub(crate) async fn flush(&self, deadline: Instant) -> usize {
        self.endpoints.iter().for_each(|endpoint| endpoint.hurry(deadline));
        let waiting = || self.endpoints.iter().map(|endpoint| endpoint.waiting()).sum::<usize>();
        while waiting() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        let lost = waiting();
        if lost > 0 {
            tracing::error!(lost, "webhook events could not be delivered before the server ended");
        }
        lost
    }

    /// Gives an event to every endpoint that wants it. `make` is called if one does.
    fn tell(&self, kind: WebhookEvent, app: &AppId, key: &str, make: impl FnOnce() -> What) {
        let mut wanting = self.endpoints.iter().filter(|endpoint| endpoint.wants(kind)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let event = Arc::new(Event { ts: unix_ms(), what: make() });
        for endpoint in wanting {
            endpoint.push(app, key, &event, || Item::Event(event.clone()));
        }
    }

    /// Tells of a channel's first or last member in the cluster, which this node's is if no other node has one.
    fn tell_occupancy(&self, kind: WebhookEvent, app: &AppId, channel: &ChannelName, what: What) {
        let wanting = || self.endpoints.iter().filter(|endpoint| endpoint.wants(kind));
        if wanting().next().is_none() {
            return;
        }
        let event = Arc::new(Event { ts: unix_ms(), what });
        match (self.elsewhere)(app, channel) {
            Pending::Ready(0) => {
                wanting().for_each(|endpoint| {
                    endpoint.push(app, channel.as_str(), &event, || Item::Event(event.clone()));
                });
            }
            Pending::Ready(_) => {}
            Pending::Later(elsewhere) => {
                // Asked now, because it is about now; its place in the lane is kept until the answer is there.
                let (settle, settled) = watch::channel(None);
                self.runtime.spawn(async move { settle.send_replace(Some(elsewhere.await == 0)) });
                wanting().for_each(|endpoint| {
                    let item = || Item::IfSettled(event.clone(), settled.clone());
                    endpoint.push(app, channel.as_str(), &event, item);
                });
            }
        }
    }
}

/// How many members a channel has on other nodes. An engine that is away knows of none.
fn members_elsewhere(engine: &dyn Engine, app: &AppId, channel: &ChannelName) -> Pending<u64> {
    let answers = engine.survey(app, Query::Channel { channel: channel.clone() });
    answers.map(|answers| {
        let counts = answers.unwrap_or_default().into_iter().map(|answer| match answer {
            Answer::Channels(channels) => channels.iter().map(|(_, occupancy)| occupancy.members).sum(),
            _ => 0,
        });
        counts.sum()
    })
}

impl Observer for Webhooks {
    fn observe(&self, happening: Happening<'_>) {
        use WebhookEvent::*;
        match happening {
            Happening::Connected(caller) => {
                self.tell(Connected, &caller.app, caller.connection.as_str(), || What::Connected(caller.clone()));
            }
            Happening::Disconnected { caller, reason, lasted } => {
                self.tell(Disconnected, &caller.app, caller.connection.as_str(), || What::Disconnected {
                    caller: caller.clone(),
                    reason,
                    lasted,
                });
            }
            Happening::Occupied(app, channel) => {
                self.tell_occupancy(ChannelOccupied, app, channel, What::ChannelOccupied(channel.clone()));
            }
            Happening::Vacated(app, channel) => {
                self.tell_occupancy(ChannelVacated, app, channel, What::ChannelVacated(channel.clone()));
            }
            Happening::Members { app, channel, count } => {
                for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.wants_count(channel)) {
                    endpoint.push_count(app, channel, count, &self.elsewhere);
                }
            }
            Happening::MemberAdded(app, channel, entry) => {
                self.tell(MemberAdded, app, channel.as_str(), || What::MemberAdded(channel.clone(), entry.clone()));
            }
            Happening::MemberRemoved(app, channel, entry) => {
                self.tell(MemberRemoved, app, channel.as_str(), || What::MemberRemoved(channel.clone(), entry.clone()));
            }
            Happening::ClientPublished(caller, publish) => {
                self.tell(ClientEvent, &caller.app, publish.channel.as_str(), || What::ClientEvent {
                    caller: caller.clone(),
                    publish: publish.clone(),
                });
            }
            Happening::CacheMissed(app, channel) => {
                self.tell(CacheMiss, app, channel.as_str(), || What::CacheMiss(channel.clone()));
            }
        }
    }
}
