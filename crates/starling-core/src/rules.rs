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

/// What channels whose names start alike keep, where their rule does not say it.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixDefaults {
    /// How their names start.
    pub prefix: &'static str,
    /// Their presence.
    pub presence: Option<PresencePolicy>,
    /// Their history.
    pub history: Option<HistoryPolicy>,
}

/// All rules, in order: the first whose pattern matches wins.
///
/// Reserved channels follow none of them: `*` means every channel that clients name, not every user's own. `#online:U`
/// has presence, and the others keep nothing.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Arc<[Entry]>,
    prefixes: Arc<[&'static str]>,
    online: Arc<Rule>,
}

/// A rule as it was written, and as it is for names with each of the prefixes.
#[derive(Debug)]
struct Entry {
    rule: Arc<Rule>,
    prefixed: Vec<Arc<Rule>>,
}

impl Default for RuleSet {
    fn default() -> Self {
        Self::new([])
    }
}

impl RuleSet {
    /// Rules in the order in which they are tried.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let entry = |rule| Entry { rule: Arc::new(rule), prefixed: Vec::new() };
        let pattern = Pattern::parse("*").expect("a star is a pattern");
        let online = Rule {
            subscribe: Access::Granted,
            publish: PublishAccess::Nobody,
            presence: Some(PresencePolicy::default()),
            delivery: Delivery::Drop,
            ..Rule::new(pattern)
        };
        Self { rules: rules.into_iter().map(entry).collect(), prefixes: Arc::new([]), online: Arc::new(online) }
    }

    /// The same rules, with what names that start so keep where a rule does not say it. The first prefix wins.
    pub fn with_defaults(&self, defaults: &[PrefixDefaults]) -> Self {
        let entry = |entry: &Entry| {
            let prefixed = defaults.iter().map(|defaults| {
                let rule = &entry.rule;
                Arc::new(Rule {
                    presence: rule.presence.or(defaults.presence),
                    history: rule.history.or(defaults.history),
                    ..Rule::clone(rule)
                })
            });
            Entry { rule: entry.rule.clone(), prefixed: prefixed.collect() }
        };
        Self {
            rules: self.rules.iter().map(entry).collect(),
            prefixes: defaults.iter().map(|defaults| defaults.prefix).collect(),
            online: self.online.clone(),
        }
    }

    /// These, followed by others.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = Rule>) -> Self {
        let others = others.into_iter().map(|rule| Entry { rule: Arc::new(rule), prefixed: Vec::new() });
        let rules = self.rules.iter().map(|entry| Entry { rule: entry.rule.clone(), prefixed: entry.prefixed.clone() });
        Self { rules: rules.chain(others).collect(), ..self.clone() }
    }

    /// The rule that decides for this caller.
    pub fn for_caller(&self, app: &AppId, channel: &str, user: Option<&str>) -> Option<&Arc<Rule>> {
        self.find(app, channel, |rule| rule.pattern.matches(channel, user))
    }

    /// The rule that decides what the channel itself keeps, whoever asks.
    pub fn for_channel(&self, app: &AppId, channel: &str) -> Option<&Arc<Rule>> {
        self.find(app, channel, |rule| rule.pattern.matches_anyone(channel))
    }

    /// Whether some channel whose name begins with `prefix` could have a rule.
    pub fn may_begin_with(&self, app: &AppId, prefix: &str) -> bool {
        !prefix.starts_with('#')
            && self.rules.iter().any(|entry| is_of(&entry.rule, app) && entry.rule.pattern.may_begin_with(prefix))
    }

    fn find(&self, app: &AppId, channel: &str, matches: impl Fn(&Rule) -> bool) -> Option<&Arc<Rule>> {
        if channel.starts_with('#') {
            return Some(&self.online).filter(|_| channel.starts_with("#online:"));
        }
        let entry = self.rules.iter().find(|entry| is_of(&entry.rule, app) && matches(&entry.rule))?;
        let prefix = self.prefixes.iter().position(|prefix| channel.starts_with(prefix));
        Some(prefix.and_then(|prefix| entry.prefixed.get(prefix)).unwrap_or(&entry.rule))
    }
}

fn is_of(rule: &Rule, app: &AppId) -> bool {
    rule.app.as_ref().is_none_or(|only| only == app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_fill_in_what_a_rule_leaves_out() {
        let kept = HistoryPolicy { size: 1, ttl: Duration::from_secs(60) };
        let own = HistoryPolicy { size: 9, ttl: Duration::from_secs(9) };
        let mut first = Rule::new(Pattern::parse("log-own").unwrap());
        first.history = Some(own);
        let rules = RuleSet::new([first, Rule::new(Pattern::parse("*").unwrap())]).with_defaults(&[
            PrefixDefaults { prefix: "log-seen-", presence: Some(PresencePolicy::default()), history: Some(kept) },
            PrefixDefaults { prefix: "log-", presence: None, history: Some(kept) },
        ]);
        for (name, presence, history) in [
            ("log-own", false, Some(own)),
            ("log-a", false, Some(kept)),
            ("log-seen-a", true, Some(kept)),
            ("a", false, None),
            ("#online:7", true, None),
        ] {
            let rule = rules.for_channel(&AppId::from("1"), name).unwrap();
            assert_eq!((rule.presence.is_some(), rule.history), (presence, history), "{name}");
        }
        assert!(rules.for_channel(&AppId::from("1"), "#user:7").is_none());
    }
}
