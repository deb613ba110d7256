//! What hooks and webhooks are made of: plain values.

use std::time::Duration;

use thiserror::Error;

/// `[hooks]`: who is asked, about what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookOptions {
    /// Where questions are sent: an `http://` or `https://` URL.
    pub url: String,
    /// What is asked about. Default: everything.
    pub events: Vec<HookEvent>,
    /// Time from the question to the last byte of the answer. Default 3 s.
    pub timeout: Duration,
    /// What it means that no usable answer came. Default: reject.
    pub on_error: OnError,
    /// Questions under way at once. One more is not asked: it counts as unanswered at once. Default 1024.
    pub max_concurrent: usize,
    /// The largest answer, in bytes; a larger one is not read to its end and counts as no usable answer. Default 1 MiB.
    pub max_answer: usize,
    /// After so many questions in a row that the backend did not answer at all, it is left alone for [`Self::pause`].
    /// Default 10.
    pub failures_to_open: u32,
    /// How long a backend that does not answer is left alone before one question tries it again. Default 1 s.
    pub pause: Duration,
}

impl HookOptions {
    /// Asks this URL about everything, with the defaults of each field.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            events: HookEvent::ALL.to_vec(),
            timeout: Duration::from_secs(3),
            on_error: OnError::Reject,
            max_concurrent: 1024,
            max_answer: 1 << 20,
            failures_to_open: 10,
            pause: Duration::from_secs(1),
        }
    }
}

/// What a hook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEvent {
    /// A connection wants in.
    Connect,
    /// It wants to become a member of a channel.
    Subscribe,
    /// It wants to publish.
    Publish,
    /// It sent an event for the application.
    Event,
}

impl HookEvent {
    /// All of them, in the order of their places.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Subscribe, Self::Publish, Self::Event];

    /// Its place in [`HookEvent::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The `type` of a question.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Event => "event",
        }
    }
}

/// What it means that a hook gave no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The act is refused with `HOOK_FAILED`.
    #[default]
    Reject,
    /// The act goes ahead as the rules have it: nothing is granted that they leave to the application. An event is
    /// answered without a reply.
    Allow,
}

/// One of `[[webhooks]]`: who is told what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookOptions {
    /// The shape of body and headers. Default: Starling's own.
    pub format: WebhookFormat,
    /// Where events are sent: an `http://` or `https://` URL.
    pub url: String,
    /// What is told. Default: everything.
    pub events: Vec<WebhookEvent>,
    /// Time for one delivery. Default 10 s.
    pub timeout: Duration,
    /// Events in one delivery. Default 100.
    pub max_batch: usize,
    /// Bytes of events in one delivery, unless a single event has more. Default 256 KiB.
    pub max_batch_bytes: usize,
    /// How long an event may wait for others to go with it. Default 100 ms.
    pub max_delay: Duration,
    /// Events that may wait. A further one is dropped and counted. Default 100,000.
    pub max_queue: usize,
    /// Bytes of events that may wait. An event beyond them is dropped and counted. Default 64 MiB.
    pub max_queue_bytes: usize,
    /// The first pause after a delivery that failed; it doubles with each failure, and a random part of it is waited.
    /// Default 500 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 60 s.
    pub longest_pause: Duration,
    /// How long a delivery is tried. After that its events are dropped and counted. Default 24 h.
    pub give_up_after: Duration,
}

impl WebhookOptions {
    /// Tells this URL everything, with the defaults of each field.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            format: WebhookFormat::Starling,
            url: url.into(),
            events: WebhookEvent::ALL.to_vec(),
            timeout: Duration::from_secs(10),
            max_batch: 100,
            max_batch_bytes: 256 << 10,
            max_delay: Duration::from_millis(100),
            max_queue: 100_000,
            max_queue_bytes: 64 << 20,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The shape of a webhook's body and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookFormat {
    /// Section 9 of the contract.
    #[default]
    Starling,
    /// As Pusher's server SDKs verify them. Events that Pusher does not have (`connected`, `disconnected`) are left out.
    Pusher,
}

/// What a webhook tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A channel got its first member in the cluster.
    ChannelOccupied,
    /// A channel lost its last member in the cluster.
    ChannelVacated,
    /// A user became present in a channel.
    MemberAdded,
    /// A user is present in a channel no longer.
    MemberRemoved,
    /// A client published.
    ClientEvent,
    /// A connection was let in.
    Connected,
    /// A connection that was let in is gone.
    Disconnected,
    /// A channel that keeps messages had none for somebody who wanted the last.
    CacheMiss,
    /// The number of a channel's members changed.
    SubscriptionCount,
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::Connected,
        Self::Disconnected,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// The `type` of an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }
}

/// Hooks or webhooks cannot work as configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HooksError {
    /// Not an address that questions or events could be sent to.
    #[error("not an http:// or https:// URL: {0}")]
    Url(String),
    /// The HTTP client could not be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}
