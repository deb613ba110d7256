//! Bounds on what a connection may do and cost.

use std::time::Duration;

/// How much a connection, a user and an app may send and hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Messages a second that one connection may send in the long run. Default 100.
    pub messages_per_second: u32,
    /// Messages that it may send at once after a rest. Default 200.
    pub burst: u32,
    /// Channels that it may be a member of. Default 1000.
    pub subscriptions: usize,
    /// Refused messages in a row before it is closed with [`crate::CloseReason::TooManyRequests`]. Default 50.
    pub strikes: u32,
    /// Messages a second of all connections of one user on this node; 0: no limit. Default 0.
    pub per_user_messages_per_second: u32,
    /// Messages a second of all connections of one app on this node; 0: no limit. Default 0.
    pub per_app_messages_per_second: u32,
    /// New connections a second from one address; 0: no limit. Default 0.
    pub connections_per_ip_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_second: 100,
            burst: 200,
            subscriptions: 1000,
            strikes: 50,
            per_user_messages_per_second: 0,
            per_app_messages_per_second: 0,
            connections_per_ip_per_second: 0,
        }
    }
}

/// What may wait for one connection before its channel's delivery policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backpressure {
    /// Bytes that may wait in the socket's own queue before messages are queued. Default 64 KiB.
    pub high_water: usize,
    /// Messages in the queue. Default 500.
    pub queue_messages: usize,
    /// Bytes in the queue. Default 1 MiB.
    pub queue_bytes: usize,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self { high_water: 64 << 10, queue_messages: 500, queue_bytes: 1 << 20 }
    }
}

/// How a silent connection is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Silence after which the server asks. Default 25 s.
    pub interval: Duration,
    /// How long the answer may take. Default 20 s.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) }
    }
}
