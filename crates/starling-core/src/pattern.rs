//! Channel patterns: `*` stands for any run of characters, `{user}` for the caller's own user id.

use std::fmt;

use thiserror::Error;

/// A pattern over channel names. Matching is linear in the name for each `*`, and never backtracks exponentially.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Any,
    User,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    /// It has no characters.
    #[error("a pattern is not empty")]
    Empty,
    /// A `{…}` that is not `{user}`.
    #[error("unknown placeholder {0}, expected {{user}}")]
    UnknownPlaceholder(String),
}

/// Whose id `{user}` stands for.
#[derive(Clone, Copy)]
enum Who<'a> {
    Caller(Option<&'a str>),
    Anyone,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty or has a placeholder other than `{user}`.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(index) = rest.find(['*', '{']) {
            if index > 0 {
                parts.push(Part::Literal(rest[..index].into()));
            }
            rest = &rest[index..];
            if let Some(after) = rest.strip_prefix('*') {
                if parts.last() != Some(&Part::Any) {
                    parts.push(Part::Any);
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{user}") {
                parts.push(Part::User);
                rest = after;
            } else {
                let end = rest.find('}').map_or(rest.len(), |end| end + 1);
                return Err(InvalidPattern::UnknownPlaceholder(rest[..end].to_owned()));
            }
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// Whether `name` matches for a caller with this user id. Without a user, `{user}` matches nothing.
    pub fn matches(&self, name: &str, user: Option<&str>) -> bool {
        matches_from(&self.parts, name, Who::Caller(user))
    }

    /// Whether `name` matches for some user: `{user}` stands for any non-empty run of characters.
    pub fn matches_anyone(&self, name: &str) -> bool {
        matches_from(&self.parts, name, Who::Anyone)
    }

    /// Whether some name that begins with `prefix` matches for some user.
    pub fn may_begin_with(&self, prefix: &str) -> bool {
        match self.parts.first() {
            // Literals are never neighbours: behind the first one, anything may follow.
            Some(Part::Literal(text)) => {
                text.starts_with(prefix) || (self.parts.len() > 1 && prefix.starts_with(&**text))
            }
            Some(Part::Any | Part::User) => true,
            None => false,
        }
    }

    /// Whether the answer depends on who asks.
    pub fn names_user(&self) -> bool {
        self.parts.contains(&Part::User)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Greedy matching with one point of return: after a literal is found behind a `*`, an earlier occurrence is never
/// worse than a later one, so only the last `*` needs to be tried again.
fn matches_from(parts: &[Part], name: &str, who: Who<'_>) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match parts.get(part) {
            None if at == name.len() => return true,
            None => None,
            Some(Part::Any) => {
                retry = Some((part + 1, at));
                part += 1;
                continue;
            }
            Some(Part::Literal(text)) => name[at..].starts_with(&**text).then_some(text.len()),
            Some(Part::User) => match who {
                Who::Caller(user) => user.filter(|user| name[at..].starts_with(user)).map(str::len),
                Who::Anyone => {
                    // One character here, the rest like a `*`.
                    let first = name[at..].chars().next().map(char::len_utf8);
                    if let Some(len) = first {
                        retry = Some((part + 1, at + len));
                    }
                    first
                }
            },
        };
        if let Some(len) = step {
            at += len;
            part += 1;
            continue;
        }
        match retry {
            Some((after, from)) if from < name.len() => {
                let next = from + name[from..].chars().next().map_or(1, char::len_utf8);
                retry = Some((after, next));
                (part, at) = (after, next);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, user, expected) in [
            ("room:1", "room:1", None, true),
            ("room:1", "room:10", None, false),
            ("room:*", "room:", None, true),
            ("room:*", "room:a:b", None, true),
            ("room:*", "rooms", None, false),
            ("*", "", None, true),
            ("*:end", "a:end:end", None, true),
            ("*:end", "a:end:x", None, false),
            ("a*b*c", "axxbyybzzc", None, true),
            ("a*b*c", "axxbyyb", None, false),
            ("inbox:{user}", "inbox:7", Some("7"), true),
            ("inbox:{user}", "inbox:8", Some("7"), false),
            ("inbox:{user}", "inbox:", None, false),
            ("inbox:{user}:*", "inbox:7:x", Some("7"), true),
            ("*{user}", "ab7", Some("7"), true),
            ("日*", "日本", None, true),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(name, user), expected, "{pattern} on {name} for {user:?}");
        }
    }

    #[test]
    fn a_user_placeholder_matches_any_user_where_nobody_asks() {
        let pattern = Pattern::parse("inbox:{user}:x").unwrap();
        assert!(pattern.matches_anyone("inbox:long name:x"));
        assert!(!pattern.matches_anyone("inbox::x"));
    }

    #[test]
    fn beginnings_of_names() {
        for (pattern, prefix, expected) in [
            ("*", "/chat#", true),
            ("{user}", "/chat#", true),
            ("/chat#*", "/chat#", true),
            ("/chat#room:*", "/chat#", true),
            ("/chat#room", "/chat#", true),
            ("/ch*", "/chat#", true),
            ("/chat", "/chat#", false),
            ("/chats#*", "/chat#", false),
            ("room:*", "/chat#", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().may_begin_with(prefix), expected, "{pattern} {prefix}");
        }
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        assert_eq!(Pattern::parse("a{id}b"), Err(InvalidPattern::UnknownPlaceholder("{id}".into())));
        assert_eq!(Pattern::parse(""), Err(InvalidPattern::Empty));
    }
}
