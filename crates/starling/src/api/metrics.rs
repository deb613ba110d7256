//! `/metrics`: the numbers of section 11 of the contract, put together when somebody asks.
//!
//! Nothing is registered anywhere and nothing is counted here: the hub counts, the process is looked at, and each
//! scrape writes what it finds. So there is no global state, and several servers in one process stay apart.
//! No label has a user, a channel or a connection, which would let clients grow the number of series.

mod exposition;
mod process;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use http::header::ACCEPT;
use starling_core::{AppId, CloseReason, ErrorCode, Form, Query, Refusal};
use starling_hub::AppCounters;
use starling_proto::voices::VOICES;

use crate::hooks::webhooks::Fate;
use crate::hooks::{self, Asked, HookEvent};
use crate::watched::BOUNDS;
use crate::worker::forms_of;

use super::answer::{Answer, typed};
use super::census::{self, Census};
use super::openapi::Refused;
use super::routes::Visit;
use crate::shared::Shared;
use exposition::{Families, Format, Kind, Value};

/// Where they are told.
pub(super) const PATH: &str = "/metrics";

/// Numbers for Prometheus
///
/// Of this node. On `admin_listen` of all apps and without credentials; elsewhere with an app's credentials, and of
/// that app. OpenMetrics if the client asks for it, otherwise the Prometheus text format.
#[utoipa::path(
    get, path = "/metrics", tag = "meta",
    security((), ("appBasic" = []), ("appSecret" = [])),
    responses((status = 200, description = "Numbers", body = String, content_type = "text/plain; version=0.0.4"), Refused),
)]
pub(super) async fn get_metrics(visit: Visit) -> Answer {
    let mut families = Families::default();
    hub(&mut families, &visit.shared, visit.app.as_ref()).await;
    // Counting open files may take a while where there are a million of them.
    if let Ok(process) = tokio::task::spawn_blocking(process::look).await {
        process.tell(&mut families);
    }
    let format = Format::wanted(visit.headers.get(ACCEPT));
    let text = families.write(format).map_err(|_| Refusal::new(ErrorCode::Internal, "metrics could not be written"))?;
    Ok(typed(StatusCode::OK, format.content_type(), text.into_bytes()))
}

async fn hub(families: &mut Families, shared: &Shared, only: Option<&AppId>) {
    let apps = apps(shared, only);
    connections(families, shared, &apps);
    occupancy(families, shared, &apps).await;
    messages(families, shared, &apps);
    outcomes(families, shared, &apps);
    hook_times(families, shared);
    let family = families.add(Kind::Counter, "starling_webhook_events", "Webhook events, by what became of them.");
    if let Some(webhooks) = &shared.webhooks {
        for app in &apps {
            for fate in Fate::ALL {
                let labels = [("app", app.as_str()), ("result", fate.as_str())];
                family.sample(labels, webhooks.counters().read(app, fate));
            }
        }
    }
    let up = families.add(Kind::Gauge, "starling_engine_up", "Whether the engine takes publishes: 1 or 0.");
    up.sample([], u64::from(shared.hub.engine().is_up()));
    let help = "Time that the engine took for a publish, in seconds.";
    let times = &shared.publish_times;
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let ranges = bounds.zip(times.counts()).collect();
    let family = families.add(Kind::Histogram, "starling_engine_publish_seconds", help);
    family.sample([], Value::Ranges(times.sum(), ranges));
}

/// What hooks took, by what was asked and what came of it; and whether their backend is left alone.
fn hook_times(families: &mut Families, shared: &Shared) {
    let help = "Time that hooks took to answer, in seconds.";
    let family = families.add(Kind::Histogram, "starling_hook_seconds", help);
    let Some(asker) = &shared.hooks else { return };
    for hook in HookEvent::ALL {
        for asked in Asked::ALL {
            let (sum, counts) = asker.times().read(hook, asked);
            if counts.iter().any(|count| *count > 0) {
                let bounds = hooks::BOUNDS.into_iter().chain([f64::INFINITY]);
                let value = Value::Ranges(sum, bounds.zip(counts).collect());
                family.sample([("hook", hook.as_str()), ("result", asked.as_str())], value);
            }
        }
    }
    let help = "Whether the hooks' backend is left alone because it does not answer: 1 or 0.";
    let family = families.add(Kind::Gauge, "starling_hook_circuit_open", help);
    family.sample([], u64::from(asker.is_open()));
}

/// The apps to tell of: those that are configured, and those that once were and have been counted.
fn apps(shared: &Shared, only: Option<&AppId>) -> Vec<AppId> {
    if let Some(only) = only {
        return vec![only.clone()];
    }
    for app in &shared.live.load().apps {
        shared.hub.counters().of(&AppId::from(app.id.as_str()));
    }
    shared.hub.counters().all().into_iter().map(|(app, _)| app).collect()
}

fn connections(families: &mut Families, shared: &Shared, apps: &[AppId]) {
    let family = families.add(Kind::Gauge, "starling_connections", "Open connections.");
    for app in apps {
        for (protocol, count) in open_by_protocol(&shared.hub.counters().of(app)) {
            family.sample([("app", app.as_str()), ("protocol", protocol)], count);
        }
    }
}

/// Channels and their members on this node. What is not known in time is left out.
async fn occupancy(families: &mut Families, shared: &Shared, apps: &[AppId]) {
    let mut channels = Vec::new();
    for app in apps {
        let all = Query::Channels { prefix: String::new() };
        if let Ok(answers) = census::ask_here(shared, app, &all).await {
            channels.push((app, Census::of(answers).channels()));
        }
    }
    let family = families.add(Kind::Gauge, "starling_channels", "Channels with members on this node.");
    for (app, count) in channels {
        family.sample([("app", app.as_str())], count);
    }
    let family = families.add(Kind::Gauge, "starling_members", "Memberships: connections in channels.");
    for app in apps {
        let members = shared.hub.counters().of(app).members.load(Relaxed);
        family.sample([("app", app.as_str())], u64::try_from(members).unwrap_or(0));
    }
}

fn messages(families: &mut Families, shared: &Shared, apps: &[AppId]) {
    let published = "Messages that the engine took, by where they came from.";
    let family = families.add(Kind::Counter, "starling_messages_published", published);
    for app in apps {
        let counters = shared.hub.counters().of(app);
        for (source, count) in [("client", &counters.published_by_clients), ("server", &counters.published_by_server)] {
            family.sample([("app", app.as_str()), ("source", source)], count.load(Relaxed));
        }
    }
    let family = families.add(Kind::Counter, "starling_messages_delivered", "Messages written to connections.");
    for app in apps {
        let counters = shared.hub.counters().of(app);
        for (protocol, count) in by_protocol(|form| counters.delivered.of(form).load(Relaxed)) {
            family.sample([("app", app.as_str()), ("protocol", protocol)], count);
        }
    }
    let dropped = "Messages left out for members that were too slow (delivery = \"drop\").";
    let family = families.add(Kind::Counter, "starling_messages_dropped", dropped);
    for app in apps {
        let dropped = shared.hub.counters().of(app).dropped.load(Relaxed);
        family.sample([("app", app.as_str()), ("reason", "slow_consumer")], dropped);
    }
    let conflated = "Messages replaced by a newer state for members that were too slow (delivery = \"latest\").";
    each_app(families, shared, apps, "starling_messages_conflated", conflated, |counters| {
        counters.conflated.load(Relaxed)
    });
}

fn outcomes(families: &mut Families, shared: &Shared, apps: &[AppId]) {
    let limited = "Client messages refused because there were too many.";
    each_app(families, shared, apps, "starling_rate_limited", limited, |counters| counters.rate_limited.load(Relaxed));
    let closed = "Connections that ended, by why.";
    let family = families.add(Kind::Counter, "starling_connections_closed", closed);
    for app in apps {
        let counters = shared.hub.counters().of(app);
        for reason in CloseReason::ALL {
            family.sample([("app", app.as_str()), ("reason", reason.as_str())], counters.closed(reason));
        }
    }
    let recoveries = "Subscriptions that asked to recover, by whether they got everything.";
    let family = families.add(Kind::Counter, "starling_recoveries", recoveries);
    for app in apps {
        let counters = shared.hub.counters().of(app);
        for (result, count) in [("recovered", &counters.recovered), ("not_recovered", &counters.not_recovered)] {
            family.sample([("app", app.as_str()), ("result", result)], count.load(Relaxed));
        }
    }
}

fn each_app(
    families: &mut Families,
    shared: &Shared,
    apps: &[AppId],
    name: &'static str,
    help: &'static str,
    count: impl Fn(&AppCounters) -> u64,
) {
    let family = families.add(Kind::Counter, name, help);
    for app in apps {
        family.sample([("app", app.as_str())], count(&shared.hub.counters().of(app)));
    }
}

/// An app's open connections on this node.
pub(super) fn open_by_protocol(counters: &AppCounters) -> BTreeMap<&'static str, u64> {
    by_protocol(|form| u64::try_from(counters.connections.of(form).load(Relaxed)).unwrap_or(0))
}

/// Numbers by form, added up for each protocol.
fn by_protocol(of: impl Fn(Form) -> u64) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for voice in VOICES {
        let sum: &mut u64 = sums.entry(voice.protocol.0).or_default();
        *sum += forms_of(voice.form).into_iter().map(&of).sum::<u64>();
    }
    sums
}
