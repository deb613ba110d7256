//! Channel rules: what a channel keeps, and who may do what in it.

use std::sync::Arc;
use std::time::Duration;

use crate::{AppId, Pattern};

/// Who may subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every connection.
    Anyone,
    /// Connections with a user.
    Authenticated,
    /// Whom a token's patterns or the application lets in.
    Granted,
}

/// Who may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishAccess {
    /// No client; only the server side.
    Nobody,
    /// Every connection.
    Anyone,
    /// Connections with a user.
    Authenticated,
    /// Members of the channel.
    Members,
    /// Whom a token's patterns or the application lets.
    Granted,
}

/// What happens when a member is too slow (section 6 of the contract).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// The connection is closed, and recovers from history.
    #[default]
    Reliable,
    /// The message is dropped for this connection, which is told how many it missed.
    Drop,
    /// Older messages of the same channel, event and key make room for the newest.
    Latest,
}

/// How much of a channel is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPolicy {
    /// Messages, the newest; at least 1.
    pub size: usize,
    /// How long each is kept.
    pub ttl: Duration,
}

/// Whether a channel has presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresencePolicy {
    /// How long a member stays present after its connection was lost. Zero: not at all.
    pub grace: Duration,
}

/// What holds for the channels that a pattern matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Which channels.
    pub pattern: Pattern,
    /// In which app; all if none.
    pub app: Option<AppId>,
    /// Who may subscribe.
    pub subscribe: Access,
    /// Who may publish.
    pub publish: PublishAccess,
    /// Presence, if the channel has it.
    pub presence: Option<PresencePolicy>,
    /// History, if the channel keeps it.
    pub history: Option<HistoryPolicy>,
    /// What happens to slow members.
    pub delivery: Delivery,
}

impl Rule {
    /// A rule that lets in connections with a user and members publish, without presence and history.
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            app: None,
            subscribe: Access::Authenticated,
            publish: PublishAccess::Members,
            presence: None,
            history: None,
            delivery: Delivery::default(),
        }
    }
}

/// All rules, in order: the first whose pattern matches wins.
///
/// Reserved channels (`#user:U`) follow no rule: `*` means every channel that clients name, not every user's own.
#[derive(Debug, Clone, Default)]
pub struct RuleSet(Arc<[Arc<Rule>]>);

impl RuleSet {
    /// Rules in the order in which they are tried.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(rules.into_iter().map(Arc::new).collect())
    }

    /// These, followed by others.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = Rule>) -> Self {
        Self(self.0.iter().cloned().chain(others.into_iter().map(Arc::new)).collect())
    }

    /// The rule that decides for this caller.
    pub fn for_caller(&self, app: &AppId, channel: &str, user: Option<&str>) -> Option<&Arc<Rule>> {
        self.of_app(app, channel).find(|rule| rule.pattern.matches(channel, user))
    }

    /// The rule that decides what the channel itself keeps, whoever asks.
    pub fn for_channel(&self, app: &AppId, channel: &str) -> Option<&Arc<Rule>> {
        self.of_app(app, channel).find(|rule| rule.pattern.matches_anyone(channel))
    }

    /// Whether some channel whose name begins with `prefix` could have a rule.
    pub fn may_begin_with(&self, app: &AppId, prefix: &str) -> bool {
        self.of_app(app, prefix).any(|rule| rule.pattern.may_begin_with(prefix))
    }

    fn of_app(&self, app: &AppId, channel: &str) -> impl Iterator<Item = &Arc<Rule>> {
        let rules: &[Arc<Rule>] = if channel.starts_with('#') { &[] } else { &self.0 };
        rules.iter().filter(move |rule| rule.app.as_ref().is_none_or(|only| only == app))
    }
}
