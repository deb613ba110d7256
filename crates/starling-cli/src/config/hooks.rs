//! `[hooks]` and `[webhooks]`: the application is asked before, or told afterwards, over HTTP.

use std::time::Duration;

use reqwest::Url;

use super::document::Node;
use super::section::{Section, choose, one_of};

/// `[hooks]`: the application decides before the act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// Where requests are sent.
    pub url: String,
    /// What is asked about. Default everything.
    pub events: Vec<HookEvent>,
    /// Time for the answer. Default 3 s.
    pub timeout: Duration,
    /// What an answer that does not come means. Default reject.
    pub on_error: HookFallback,
}

/// What a hook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEvent {
    /// A new connection.
    Connect,
    /// A subscription.
    Subscribe,
    /// A publish by a client.
    Publish,
    /// An application event.
    Event,
}

/// What happens when the hook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookFallback {
    /// The act is refused with `HOOK_FAILED`.
    Reject,
    /// The act goes ahead as if there were no hook.
    Allow,
}

/// One of `[webhooks]`: the application is told afterwards, batched and retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The shape of body and headers. Default Starling's own.
    pub format: WebhookFormat,
    /// Where requests are sent.
    pub url: String,
    /// What is told. Default everything.
    pub events: Vec<WebhookEvent>,
}

/// The shape of a webhook's body and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Section 9 of the contract.
    Starling,
    /// As Pusher's server SDKs verify them.
    Pusher,
}

/// What a webhook tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A channel got its first member.
    ChannelOccupied,
    /// A channel lost its last member.
    ChannelVacated,
    /// A user became present.
    MemberAdded,
    /// A user is no longer present.
    MemberRemoved,
    /// A client published.
    ClientEvent,
    /// A connection began.
    Connected,
    /// A connection ended.
    Disconnected,
    /// A cache channel had nothing to give.
    CacheMiss,
    /// The number of members changed.
    SubscriptionCount,
}

const HOOK_EVENTS: [(&str, HookEvent); 4] = [
    ("connect", HookEvent::Connect),
    ("subscribe", HookEvent::Subscribe),
    ("publish", HookEvent::Publish),
    ("event", HookEvent::Event),
];

const WEBHOOK_EVENTS: [(&str, WebhookEvent); 9] = [
    ("channel_occupied", WebhookEvent::ChannelOccupied),
    ("channel_vacated", WebhookEvent::ChannelVacated),
    ("member_added", WebhookEvent::MemberAdded),
    ("member_removed", WebhookEvent::MemberRemoved),
    ("client_event", WebhookEvent::ClientEvent),
    ("connected", WebhookEvent::Connected),
    ("disconnected", WebhookEvent::Disconnected),
    ("cache_miss", WebhookEvent::CacheMiss),
    ("subscription_count", WebhookEvent::SubscriptionCount),
];

/// What the address of a hook looks like, in words.
const ADDRESS: &str = r#"an http:// or https:// URL"#;

impl Hooks {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let url = section.require("url", ADDRESS, as_url);
        let events = read_events(&mut section, &HOOK_EVENTS);
        let timeout =
            section.duration("timeout", Duration::from_millis(10)..=Duration::from_secs(60), Duration::from_secs(3));
        let on_error = section.choice("on_error", &[("reject", HookFallback::Reject), ("allow", HookFallback::Allow)]);
        section.finish();
        Some(Self { url: url?, events, timeout, on_error: on_error.unwrap_or(HookFallback::Reject) })
    }
}

impl Webhook {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let format =
            section.choice("format", &[("starling", WebhookFormat::Starling), ("pusher", WebhookFormat::Pusher)]);
        let url = section.require("url", ADDRESS, as_url);
        let events = read_events(&mut section, &WEBHOOK_EVENTS);
        section.finish();
        Some(Self { format: format.unwrap_or(WebhookFormat::Starling), url: url?, events })
    }
}

/// A list of distinct events, at least one; all of them where it was left out.
fn read_events<T: Copy + PartialEq>(section: &mut Section<'_, '_>, choices: &[(&str, T)]) -> Vec<T> {
    let all = || choices.iter().map(|(_, event)| *event).collect();
    let expected = one_of(choices.iter().map(|(word, _)| *word));
    let Some(events) = section.list("events", &expected, |node| choose(node, choices)) else {
        return all();
    };
    if events.is_empty() {
        section.complain("events", format_args!("expected at least one of {expected}"));
    }
    let twice = (1..events.len()).find(|index| events[..*index].contains(&events[*index]));
    if let Some(index) = twice {
        section.complain("events", format_args!("events[{index}] is listed twice"));
    }
    events
}

fn as_url(node: &Node) -> Option<String> {
    let text = node.as_string()?;
    let url = Url::parse(&text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(text)
}
