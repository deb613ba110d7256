//! `[[channels]]`: the rules of which the first that matches a channel's name wins.

use std::time::Duration;

use super::apps::App;
use super::document::Node;
use super::section::{Section, one_of};

/// One of `[[channels]]`. A channel that no rule matches is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRule {
    /// Pattern of channel names: `*` is any run of characters, `{user}` the caller's own user id.
    pub pattern: String,
    /// The id of the only app that it is for. Default: every app.
    pub app: Option<String>,
    /// Who may subscribe. Default authenticated.
    pub subscribe: Subscribe,
    /// Which clients may publish; the HTTP API always may. Default members.
    pub publish: Publish,
    /// Whether the channel has presence. Default none.
    pub presence: Option<PresenceRule>,
    /// What the channel remembers. Default nothing.
    pub history: Option<HistoryRule>,
    /// What happens to members that are too slow. Default reliable.
    pub delivery: Delivery,
}

/// Who may subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribe {
    /// Every connection.
    Anyone,
    /// Connections that have a user.
    Authenticated,
    /// Those to whom the token or the hook grants it.
    Granted,
}

/// Which clients may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// None.
    Nobody,
    /// Every connection.
    Anyone,
    /// Connections that have a user.
    Authenticated,
    /// Members of the channel.
    Members,
    /// Those to whom the token or the hook grants it.
    Granted,
}

/// How presence is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceRule {
    /// How long a member whose connection was lost stays present. Default 0: not at all.
    pub grace: Duration,
}

/// How much a channel remembers: whichever bound is reached first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRule {
    /// Messages, at least 1.
    pub size: usize,
    /// Age.
    pub ttl: Duration,
}

/// What happens to a member that is too slow (`[backpressure]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is closed with 4008, and recovers from history.
    Reliable,
    /// Messages are dropped and counted; a `gap` tells how many.
    Drop,
    /// Queued messages of the same event and key are replaced by the newest.
    Latest,
}

impl ChannelRule {
    /// `apps` are those that a rule may name; none: not all could be read, so any name will do.
    pub(super) fn read(mut section: Section<'_, '_>, apps: &[App]) -> Option<Self> {
        let pattern = section.require("match", r#"a pattern of channel names, such as "room:*""#, Node::as_string);
        if let Some(reason) = pattern.as_deref().and_then(pattern_fault) {
            section.complain("match", reason);
        }
        let expected = match apps {
            [] => "the id of an app".into(),
            apps => format!("the id of an app: {}", one_of(apps.iter().map(|app| app.id.as_str()))),
        };
        let is_app = |id: &String| apps.is_empty() || apps.iter().any(|app| app.id == *id);
        let app = section.read("app", expected, |node| node.as_string().filter(is_app));
        let subscribe = [
            ("anyone", Subscribe::Anyone),
            ("authenticated", Subscribe::Authenticated),
            ("granted", Subscribe::Granted),
        ];
        let publish = [
            ("nobody", Publish::Nobody),
            ("anyone", Publish::Anyone),
            ("authenticated", Publish::Authenticated),
            ("members", Publish::Members),
            ("granted", Publish::Granted),
        ];
        let delivery = [("reliable", Delivery::Reliable), ("drop", Delivery::Drop), ("latest", Delivery::Latest)];
        let rule = pattern.map(|pattern| Self {
            pattern,
            app,
            subscribe: section.choice("subscribe", &subscribe).unwrap_or(Subscribe::Authenticated),
            publish: section.choice("publish", &publish).unwrap_or(Publish::Members),
            presence: PresenceRule::read(&mut section),
            history: section.section_like("history", r#"{ size = 1000, ttl = "1h" }"#).and_then(HistoryRule::read),
            delivery: section.choice("delivery", &delivery).unwrap_or(Delivery::Reliable),
        });
        if rule.is_some() {
            section.finish();
        }
        rule
    }
}

impl PresenceRule {
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let node = section.node("presence")?;
        if let Some(present) = node.as_boolean() {
            return present.then_some(Self { grace: Duration::ZERO });
        }
        if node.as_table().is_none() {
            section.read("presence", r#"true, false or { grace = "5s" }"#, |_| None::<()>);
            return None;
        }
        let mut table = section.section("presence")?;
        let grace = table.duration("grace", Duration::ZERO..=Duration::from_secs(3600), Duration::from_secs(5));
        table.finish();
        Some(Self { grace })
    }
}

impl HistoryRule {
    fn read(mut section: Section<'_, '_>) -> Option<Self> {
        const DAY: Duration = Duration::from_secs(86_400);
        section.is_missing("size", "a whole number of messages");
        section.is_missing("ttl", r#"a duration, such as "1h""#);
        let history = Self {
            size: section.number("size", "messages", 1..=10_000_000, 1000),
            ttl: section.duration("ttl", Duration::from_secs(1)..=365 * DAY, Duration::from_secs(3600)),
        };
        section.finish();
        Some(history)
    }
}

/// Reports rules that can never win, because an earlier one has the same pattern for the same connections.
pub(super) fn check_reachable(rules: &[(usize, ChannelRule)], complain: impl Fn(usize, String)) {
    for (nth, (index, rule)) in rules.iter().enumerate() {
        let covers = |earlier: &ChannelRule| {
            (earlier.pattern == rule.pattern || earlier.pattern == "*")
                && (earlier.app.is_none() || earlier.app == rule.app)
        };
        if let Some((other, earlier)) = rules[..nth].iter().find(|(_, earlier)| covers(earlier)) {
            complain(
                *index,
                format!(
                    "never used: the first rule that matches wins, and channels[{other}] already matches {:?}",
                    earlier.pattern
                ),
            );
        }
    }
}

/// Why a pattern of channel names is refused.
fn pattern_fault(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() || pattern.len() > 255 {
        return Some("expected a pattern of 1 to 255 bytes");
    }
    if pattern.contains(char::is_control) {
        return Some("channel names have no control characters");
    }
    if pattern.starts_with('#') {
        return Some("channel names that start with # are reserved");
    }
    pattern.replace("{user}", "").contains(['{', '}']).then_some("the only placeholder is {user}")
}
