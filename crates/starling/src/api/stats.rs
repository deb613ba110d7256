//! An app's numbers in one object.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use starling_core::{Answer as Told, CloseReason, Query};
use utoipa::ToSchema;

use super::answer::{Answer, json};
use super::census::{self, Census};
use super::metrics;
use super::openapi::Refused;
use super::routes::Call;

/// Numbers of one app: what is there now on all nodes, and what the answering node did since it started.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    /// The app.
    app: &'a str,
    /// Of the server.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Since the node started, in seconds.
    uptime_seconds: u64,
    /// Open connections on all nodes.
    connections: u64,
    /// Open connections on the answering node.
    connections_by_protocol: BTreeMap<&'static str, u64>,
    /// Occupied channels on all nodes, user channels left out.
    channels: u64,
    /// Memberships in them.
    members: u64,
    messages: MessageCounts,
    /// Client messages that this node refused because there were too many.
    rate_limited: u64,
    /// Connections that this node closed because they were too slow.
    slow_consumers: u64,
}

/// Messages of one app on this node since it started.
#[derive(Serialize, ToSchema)]
struct MessageCounts {
    /// Accepted from clients and from backends.
    published: u64,
    /// Written to connections.
    delivered: u64,
    /// Left out for members that were too slow.
    dropped: u64,
    /// Replaced by a newer state for members that were too slow.
    conflated: u64,
}

/// Numbers of this app
#[utoipa::path(
    get, path = "/api/stats", tag = "meta",
    responses((status = 200, description = "Numbers", body = Stats<'_>), Refused),
)]
pub(super) async fn get_stats(call: Call) -> Answer {
    let all = Query::Channels { prefix: String::new() };
    let census = Census::of(census::ask(&call.shared, &call.app, &all).await?);
    let told = census::ask(&call.shared, &call.app, &Query::Stats).await?;
    let connections = told.iter().map(|answer| match answer {
        Told::Stats { connections, .. } => *connections,
        _ => 0,
    });
    let counters = call.shared.hub.counters().of(&call.app);
    json(&Stats {
        app: call.app.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: call.shared.clock.now().micros / 1_000_000,
        connections: connections.sum(),
        connections_by_protocol: metrics::open_by_protocol(&counters),
        channels: census.channels(),
        members: census.members(),
        messages: MessageCounts {
            published: counters.published_by_clients.load(Relaxed) + counters.published_by_server.load(Relaxed),
            delivered: counters.delivered.iter().map(|(_, count)| count.load(Relaxed)).sum(),
            dropped: counters.dropped.load(Relaxed),
            conflated: counters.conflated.load(Relaxed),
        },
        rate_limited: counters.rate_limited.load(Relaxed),
        slow_consumers: counters.closed(CloseReason::SlowConsumer),
    })
}
