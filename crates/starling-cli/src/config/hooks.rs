//! `[hooks]` and `[webhooks]`: the application is asked before, or told afterwards, over HTTP.

use std::time::Duration;

use reqwest::Url;
use starling::hooks::{HookEvent, HookOptions, OnError, WebhookEvent, WebhookFormat, WebhookOptions};

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
    pub on_error: OnError,
    /// Questions under way at once. Default 1024.
    pub max_concurrent: usize,
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
    /// Time for one delivery. Default 10 s.
    pub timeout: Duration,
    /// How long a delivery is tried before its events are dropped. Default 24 h.
    pub give_up_after: Duration,
    /// Events that may wait for their delivery. Default 100,000.
    pub max_queue: usize,
}

/// What the address of a hook looks like, in words.
const ADDRESS: &str = r#"an http:// or https:// URL"#;

impl Hooks {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let defaults = HookOptions::new("");
        let url = section.require("url", ADDRESS, as_url);
        let events = read_events(&mut section, HookEvent::ALL.map(|event| (event.as_str(), event)));
        let timeout =
            section.duration("timeout", Duration::from_millis(10)..=Duration::from_secs(60), defaults.timeout);
        let on_error = section.choice("on_error", &[("reject", OnError::Reject), ("allow", OnError::Allow)]);
        let max_concurrent = section.number("max_concurrent", "questions", 1..=100_000, defaults.max_concurrent);
        section.finish();
        Some(Self { url: url?, events, timeout, on_error: on_error.unwrap_or_default(), max_concurrent })
    }

    /// The same, for the server.
    pub fn options(&self) -> HookOptions {
        let mut options = HookOptions::new(self.url.as_str());
        options.events = self.events.clone();
        options.timeout = self.timeout;
        options.on_error = self.on_error;
        options.max_concurrent = self.max_concurrent;
        options
    }
}

impl Webhook {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let defaults = WebhookOptions::new("");
        let format =
            section.choice("format", &[("starling", WebhookFormat::Starling), ("pusher", WebhookFormat::Pusher)]);
        let url = section.require("url", ADDRESS, as_url);
        let events = read_events(&mut section, WebhookEvent::ALL.map(|event| (event.as_str(), event)));
        let timeout =
            section.duration("timeout", Duration::from_millis(10)..=Duration::from_secs(60), defaults.timeout);
        let a_week = Duration::from_secs(7 * 24 * 60 * 60);
        let give_up_after = section.duration("give_up_after", Duration::from_secs(1)..=a_week, defaults.give_up_after);
        let max_queue = section.number("max_queue", "events", 1..=10_000_000, defaults.max_queue);
        section.finish();
        Some(Self { format: format.unwrap_or_default(), url: url?, events, timeout, give_up_after, max_queue })
    }

    /// The same, for the server.
    pub fn options(&self) -> WebhookOptions {
        let mut options = WebhookOptions::new(self.url.as_str());
        options.format = self.format;
        options.events = self.events.clone();
        options.timeout = self.timeout;
        options.give_up_after = self.give_up_after;
        options.max_queue = self.max_queue;
        options
    }
}

/// A list of distinct events, at least one; all of them where it was left out.
fn read_events<T: Copy + PartialEq, const N: usize>(section: &mut Section<'_, '_>, choices: [(&str, T); N]) -> Vec<T> {
    let all = || choices.iter().map(|(_, event)| *event).collect();
    let expected = one_of(choices.iter().map(|(word, _)| *word));
    let Some(events) = section.list("events", &expected, |node| choose(node, &choices)) else {
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
