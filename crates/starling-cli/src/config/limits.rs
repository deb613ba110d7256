//! `[auth]`, `[heartbeat]`, `[limits]`, `[backpressure]` and `[recovery]`: what one connection may do, and for how long.

use std::time::Duration;

use super::section::Section;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// `[auth]`: how connections prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Where a token is taken from. Default any.
    pub when: AuthWhen,
    /// Time for a valid `auth` message. Default 10 s. Later: close 4001.
    pub timeout: Duration,
    /// Whether a connection may go without a user. Default false.
    pub anonymous: bool,
    /// Whether `?token=` is accepted on `/ws`, `/sse` and `/poll`. Default false.
    pub query_token: bool,
}

/// Where the token of a connection is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthWhen {
    /// Only from the upgrade request.
    Upgrade,
    /// Only from the first message; a token on the upgrade is ignored.
    FirstMessage,
    /// From either.
    Any,
}

/// `[heartbeat]`: a connection silent for `interval + timeout` is terminated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time between pings. Default 25 s.
    pub interval: Duration,
    /// Time for the answer. Default 20 s.
    pub timeout: Duration,
}

/// `[limits]`: rates are token buckets; refused messages are answered `RATE_LIMITED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second of one connection. Default 100.
    pub messages_per_second: usize,
    /// Messages that one connection may send at once. Default 200.
    pub burst: usize,
    /// Channels that one connection may be subscribed to. Default 1000. Beyond: `LIMIT_EXCEEDED`.
    pub subscriptions: usize,
    /// Refused messages in a row before close 4029. Default 50.
    pub strikes: usize,
    /// Messages a second of one user over all connections, 0 for no limit. Default 0.
    pub per_user_messages_per_second: usize,
    /// Messages a second of one app, 0 for no limit. Default 0.
    pub per_app_messages_per_second: usize,
    /// New connections a second of one client address, 0 for no limit. Default 0.
    pub connections_per_ip_per_second: usize,
}

/// `[backpressure]`: what may wait for one slow connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backpressure {
    /// Bytes waiting in the socket before messages are queued. Default 64 KiB.
    pub high_water: usize,
    /// Messages queued before the channel's delivery policy decides. Default 500.
    pub queue_messages: usize,
    /// Bytes queued before the channel's delivery policy decides. Default 1 MiB.
    pub queue_bytes: usize,
}

/// `[recovery]`: how long a lost session is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// How long a session can be resumed and `messageId`s are remembered. Default 2 min.
    pub window: Duration,
}

impl Auth {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let when = [("upgrade", AuthWhen::Upgrade), ("first_message", AuthWhen::FirstMessage), ("any", AuthWhen::Any)];
        let auth = Self {
            when: section.choice("when", &when).unwrap_or(AuthWhen::Any),
            timeout: section.duration("timeout", SECOND / 10..=10 * MINUTE, 10 * SECOND),
            anonymous: section.boolean("anonymous", false),
            query_token: section.boolean("query_token", false),
        };
        section.finish();
        auth
    }
}

impl Heartbeat {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let heartbeat = Self {
            interval: section.duration("interval", SECOND / 10..=HOUR, 25 * SECOND),
            timeout: section.duration("timeout", SECOND / 10..=HOUR, 20 * SECOND),
        };
        section.finish();
        heartbeat
    }
}

impl Limits {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        const MOST: usize = 1_000_000;
        let limits = Self {
            messages_per_second: section.number("messages_per_second", "messages", 1..=MOST, 100),
            burst: section.number("burst", "messages", 1..=MOST, 200),
            subscriptions: section.number("subscriptions", "channels", 1..=MOST, 1000),
            strikes: section.number("strikes", "messages", 1..=MOST, 50),
            per_user_messages_per_second: section.number(
                "per_user_messages_per_second",
                "messages (0: no limit)",
                0..=MOST,
                0,
            ),
            per_app_messages_per_second: section.number(
                "per_app_messages_per_second",
                "messages (0: no limit)",
                0..=100 * MOST,
                0,
            ),
            connections_per_ip_per_second: section.number(
                "connections_per_ip_per_second",
                "connections (0: no limit)",
                0..=MOST,
                0,
            ),
        };
        section.finish();
        limits
    }
}

impl Backpressure {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let backpressure = Self {
            high_water: section.size("high_water", 1 << 10..=64 << 20, 64 << 10),
            queue_messages: section.number("queue_messages", "messages", 1..=1_000_000, 500),
            queue_bytes: section.size("queue_bytes", 1 << 10..=1 << 30, 1 << 20),
        };
        section.finish();
        backpressure
    }
}

impl Recovery {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let recovery = Self { window: section.duration("window", SECOND..=24 * HOUR, 2 * MINUTE) };
        section.finish();
        recovery
    }
}
