//! Names at the broker: subjects, streams and keys.
//!
//! ```text
//! P.ch.G.APP.CHANNEL.c              messages of a channel without history
//! P.ch.G.APP.CHANNEL.h              what a log stored, republished
//! P.ch.G.APP.CHANNEL.p.WHO          changes of presence, republished
//! P.h.GROUP.GENERATION.G.APP.CHANNEL.h       a log, in the stream P_h_GROUP
//! $KV.P_presence.c.G.APP.CHANNEL.p.WHO       one user's entries, in the bucket P_presence
//! ```
//! `P` is the prefix, `G` one of [`GROUPS`] numbers that a channel's name hashes to.

use std::fmt::Write;
use std::time::Duration;

use starling_core::{AppId, ChannelName, ConnectionId, HistoryPolicy, UserId};

/// Into how many subtrees the channels are divided; see [`crate::interest`].
pub(crate) const GROUPS: u64 = 1024;

/// A channel of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub app: AppId,
    pub channel: ChannelName,
}

impl Key {
    pub fn new(app: &AppId, channel: &ChannelName) -> Self {
        Self { app: app.clone(), channel: channel.clone() }
    }

    /// `G.APP.CHANNEL`
    pub fn tokens(&self) -> String {
        let mut tokens = format!("{}.", self.group());
        escape_into(self.app.as_str(), &mut tokens);
        tokens.push('.');
        escape_into(self.channel.as_str(), &mut tokens);
        tokens
    }

    /// The subtree: the same on every node and in every version, so it is no hash of a library.
    pub fn group(&self) -> u64 {
        let bytes = self.app.as_str().bytes().chain([0]).chain(self.channel.as_str().bytes());
        let fnv = bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        (fnv ^ (fnv >> 32)) % GROUPS
    }

    /// Reads `G.APP.CHANNEL` and what follows it.
    pub fn parse(tokens: &str) -> Option<(Self, &str)> {
        let mut parts = tokens.splitn(4, '.');
        let (_, app, channel) = (parts.next()?, parts.next()?, parts.next()?);
        let app = AppId::new(unescape(app)?);
        let channel = ChannelName::parse(&unescape(channel)?).ok()?;
        Some((Self { app, channel }, parts.next().unwrap_or("")))
    }
}

/// Whose entries stand together under one key of the presence bucket: a user's, so that who comes first and goes last
/// is decided in one place; an anonymous connection stands alone.
pub(crate) fn who(user: Option<&UserId>, connection: &ConnectionId) -> String {
    match user {
        Some(user) => format!("u{}", escape(user.as_str())),
        None => format!("c{}", escape(connection.as_str())),
    }
}

/// A text as one token of a subject and of a key-value key: letters, digits, `-` and `_` stand for themselves, every
/// other byte is `=XX`. An empty text is `=`.
pub(crate) fn escape(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    escape_into(text, &mut token);
    token
}

fn escape_into(text: &str, token: &mut String) {
    if text.is_empty() {
        token.push('=');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(byte.into());
        } else {
            let _ = write!(token, "={byte:02X}");
        }
    }
}

/// What [`escape`] made; `None` for anything else.
pub(crate) fn unescape(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

/// Logs that are kept in one stream: those of policies that round up to the same bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LogGroup {
    /// Records of one channel that the stream keeps.
    pub size: u64,
    /// In seconds.
    pub ttl: u64,
}

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const TTLS: [u64; 8] = [MINUTE, 10 * MINUTE, 60 * MINUTE, DAY / 4, DAY, 7 * DAY, 30 * DAY, 366 * DAY];

impl LogGroup {
    pub fn of(policy: HistoryPolicy) -> Self {
        let wanted = policy.ttl.as_secs() + u64::from(policy.ttl.subsec_nanos() > 0);
        let ttl = TTLS.into_iter().find(|ttl| *ttl >= wanted).unwrap_or(100 * 366 * DAY);
        let mut size = 16;
        while size < policy.size as u64 {
            size *= 4;
        }
        Self { size, ttl }
    }

    /// How long the stream keeps a record: long enough for a log to outlive its last message by its ttl.
    pub fn max_age(self) -> Duration {
        Duration::from_secs(self.ttl * 2)
    }

    pub fn token(self) -> String {
        format!("s{}t{}", self.size, self.ttl)
    }

    pub fn parse(token: &str) -> Option<Self> {
        let (size, ttl) = token.strip_prefix('s')?.split_once('t')?;
        Some(Self { size: size.parse().ok()?, ttl: ttl.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_token_and_comes_back() {
        for name in ["room", "a.b c*>", "日本", "=", "x=41", "#user:7", "/chat#r"] {
            let token = escape(name);
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)), "{token}");
            assert_eq!(unescape(&token).as_deref(), Some(name));
            let key =
                Key { app: AppId::from("1"), channel: ChannelName::parse(name).unwrap_or_else(|_| "x".into_name()) };
            assert_eq!(Key::parse(&format!("{}.p.u7", key.tokens())), Some((key, "p.u7")));
        }
        assert_eq!(unescape("a=4"), None);
    }

    trait IntoName {
        fn into_name(self) -> ChannelName;
    }

    impl IntoName for &str {
        fn into_name(self) -> ChannelName {
            ChannelName::parse(self).unwrap()
        }
    }

    #[test]
    fn policies_round_up_to_few_groups() {
        let of = |size, secs| LogGroup::of(HistoryPolicy { size, ttl: Duration::from_secs(secs) }).token();
        assert_eq!(of(1, 1), "s16t60");
        assert_eq!(of(1000, 3600), "s1024t3600");
        assert_eq!(of(1025, 3601), "s4096t21600");
        let token = of(1000, 3600);
        assert_eq!(LogGroup::parse(&token).map(LogGroup::token), Some(token));
    }
}
