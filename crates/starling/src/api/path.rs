//! Request targets: templates with names in them, and queries.
//!
//! A template is compared with the path as it was sent, still percent-encoded (RFC 3986 section 2.1), so that a `/` in
//! a name never ends it; each name is decoded on its own.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use starling_core::{ChannelName, ErrorCode, Refusal, UserId};

use super::answer::Failure;
use crate::auth::MAX_USER_BYTES;

/// The longest connection id that is looked for, in bytes.
const MAX_CONNECTION_BYTES: usize = 255;

/// The names in `path` where `template` has `{…}`, still encoded; none when they differ.
pub(super) fn names<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut names = Vec::new();
    let mut parts = path.split('/');
    for expected in template.split('/') {
        let part = parts.next()?;
        match expected.starts_with('{') {
            true if part.is_empty() => return None,
            true => names.push(part),
            false if part == expected => {}
            false => return None,
        }
    }
    parts.next().is_none().then_some(names)
}

/// The names of a path, still encoded, in its order.
pub(super) struct Names(Vec<String>);

impl Names {
    pub fn new(encoded: &[&str]) -> Self {
        Self(encoded.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The channel that the path is about.
    pub fn channel(&self) -> Result<ChannelName, Failure> {
        let name = self.decoded().ok_or_else(|| Refusal::new(ErrorCode::InvalidChannel, "not UTF-8"))?;
        channel(&name)
    }

    /// The user that the path is about.
    pub fn user(&self) -> Result<UserId, Failure> {
        let user = self.decoded().filter(|user| user.len() <= MAX_USER_BYTES && !user.chars().any(char::is_control));
        let invalid = || Failure::invalid("a user id has 1 to 255 bytes of UTF-8 and no control characters");
        user.map(|user| UserId::new(&*user)).ok_or_else(invalid)
    }

    /// The connection that the path is about; none for what cannot be the id of one.
    pub fn connection(&self) -> Option<Cow<'_, str>> {
        self.decoded().filter(|id| id.len() <= MAX_CONNECTION_BYTES)
    }

    fn decoded(&self) -> Option<Cow<'_, str>> {
        percent_decode_str(self.0.first()?).decode_utf8().ok()
    }
}

/// Checks the name of a channel.
pub(super) fn channel(name: &str) -> Result<ChannelName, Failure> {
    ChannelName::parse(name).map_err(|error| Refusal::new(ErrorCode::InvalidChannel, error.to_string()).into())
}

/// The parameters of a query, as forms write them (`+` is a space). Unknown ones are ignored.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((form_decoded(name)?, form_decoded(value)?))
        });
        decoded.collect::<Option<_>>().map(Self).ok_or_else(|| Failure::invalid("the query is not UTF-8"))
    }

    /// A parameter's text; none when it is left out or empty.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(Failure::invalid(format!("`{name}` stands there twice")));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// A parameter that is a whole number from 0.
    pub fn whole(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Some).ok_or_else(|| Failure::invalid(format!("`{name}` must be a whole number from 0")))
    }

    /// How many of something are wanted: at least 1; more than `most` counts as that.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, Failure> {
        match self.whole("limit")? {
            None => Ok(default),
            Some(0) => Err(Failure::invalid("`limit` must be at least 1")),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX).min(most)),
        }
    }
}

fn form_decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_the_encoded_path() {
        const ONE: &str = "/api/channels/{channel}";
        const HISTORY: &str = "/api/channels/{channel}/history";
        for (template, path, expected) in [
            ("/api/stats", "/api/stats", Some(&[][..])),
            ("/api/stats", "/api/stats/", None),
            ("/api/stats", "/api", None),
            (ONE, "/api/channels/room:1", Some(&["room:1"])),
            (ONE, "/api/channels/a%2Fhistory", Some(&["a%2Fhistory"])),
            (ONE, "/api/channels/", None),
            (ONE, "/api/channels", None),
            (ONE, "/api/channels/a/history", None),
            (HISTORY, "/api/channels/a/history", Some(&["a"])),
            (HISTORY, "/api/channels/history/history", Some(&["history"])),
            (HISTORY, "/api/channels/a%2Fhistory", None),
            (HISTORY, "/api/channels//history", None),
            (HISTORY, "/api/channels/a/b/history", None),
        ] {
            assert_eq!(names(template, path).as_deref(), expected, "{path} as {template}");
        }
    }

    #[test]
    fn names_are_decoded_one_by_one() {
        for (encoded, expected) in [
            ("room:1", Some("room:1")),
            ("a%2Fb%2Fhistory", Some("a/b/history")),
            ("%23user:7", Some("#user:7")),
            ("a+b", Some("a+b")),
            ("%252F", Some("%2F")),
            ("100%", Some("100%")),
            ("%2E%2E", Some("..")),
            ("%ff", None),
            ("a%00b", None),
            ("%23x", None),
        ] {
            let channel = Names::new(&[encoded]).channel();
            assert_eq!(channel.as_ref().ok().map(ChannelName::as_str), expected, "{encoded}");
        }
        let longest = "x".repeat(255);
        assert!(Names::new(&[&longest]).user().is_ok());
        for bad in [&*"x".repeat(256), "a%0Ab", "%ff"] {
            assert!(Names::new(&[bad]).user().is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_read() {
        let query =
            Query::parse("prefix=a%20b+c&limit=5&empty=&flag&twice=1&twice=2&big=18446744073709551616").unwrap();
        assert_eq!(query.text("prefix"), Ok(Some("a b c")));
        assert_eq!(query.whole("limit"), Ok(Some(5)));
        assert_eq!(query.text("empty"), Ok(None));
        assert_eq!(query.text("flag"), Ok(None));
        assert_eq!(query.text("absent"), Ok(None));
        assert!(query.text("twice").is_err());
        assert!(query.whole("big").is_err());
        assert!(query.whole("prefix").is_err());
        assert!(Query::parse("a=%ff").is_err());
    }

    #[test]
    fn a_limit_is_at_least_one_and_cut_at_its_most() {
        for (query, expected) in [
            ("", Some(100)),
            ("limit=1", Some(1)),
            ("limit=5000", Some(1000)),
            ("limit=0", None),
            ("limit=-1", None),
            ("limit=x", None),
            ("limit=%2B5", None),
        ] {
            assert_eq!(Query::parse(query).unwrap().limit(100, 1000).ok(), expected, "{query}");
        }
    }
}
