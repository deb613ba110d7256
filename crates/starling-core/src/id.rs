//! Names and identities. All are cheap to clone: a reference count, no copy.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` as it is; the caller has checked it.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    )*};
}

names! {
    /// A tenant. Digits, because some vendors' SDKs accept nothing else.
    AppId;
    /// Who a connection belongs to: the `sub` of its token, 1 to 255 bytes.
    UserId;
    /// One client session over one transport, in the form of its protocol. Hard to guess.
    ConnectionId;
    /// Names a message within its channel; chosen by the publisher, or by the hub where it chose none.
    MessageId;
    /// An opaque word that changes when a channel's log is lost or restarted.
    Epoch;
    /// A node of a cluster: a short word of letters and digits, new at each start.
    NodeId;
}

/// The name of a channel: UTF-8, 1 to 255 bytes, no control characters.
///
/// Names that start with `#` are reserved; see [`ChannelName::parse`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ChannelName(Arc<str>);

/// Why a text is no channel name that a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidChannel {
    /// The name is empty or longer than [`ChannelName::MAX_BYTES`].
    #[error("a channel name has 1 to 255 bytes, not {0}")]
    Length(usize),
    /// The name holds a control character (Unicode `Cc`).
    #[error("a channel name has no control characters")]
    ControlCharacter,
    /// The name starts with `#` and is not a user channel.
    #[error("channel names that start with '#' are reserved")]
    Reserved,
}

impl ChannelName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 255;
    const USER_PREFIX: &str = "#user:";
    const ONLINE_PREFIX: &str = "#online:";
    const COUNT_PREFIX: &str = "#count:";

    /// Checks a name that came from outside.
    ///
    /// # Errors
    /// When the length or a character is not allowed, or the name is reserved. `#user:U` is accepted here;
    /// whether the caller may use it is a matter of permission.
    pub fn parse(text: &str) -> Result<Self, InvalidChannel> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidChannel::Length(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidChannel::ControlCharacter);
        }
        if text.starts_with('#') && text.strip_prefix(Self::USER_PREFIX).is_none_or(str::is_empty) {
            return Err(InvalidChannel::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The channel that every connection of `user` receives without subscribing.
    pub fn of_user(user: &UserId) -> Self {
        Self(format!("{}{user}", Self::USER_PREFIX).into())
    }

    /// The scope that the channel is in, of those that clients enter: for `/chat#room` it is `/chat#`.
    pub fn scope(&self) -> Option<&str> {
        if !self.0.starts_with('/') {
            return None;
        }
        self.0.find('#').map(|end| &self.0[..=end])
    }

    /// The user whose channel this is, for `#user:U`.
    pub fn user(&self) -> Option<&str> {
        self.0.strip_prefix(Self::USER_PREFIX)
    }

    /// The reserved channel in which connections are present for whose user a protocol vouched: who is in it knows
    /// whether `user` is online. No client can name it.
    pub fn online(user: &UserId) -> Self {
        Self(format!("{}{user}", Self::ONLINE_PREFIX).into())
    }

    /// The user whose being online is told in this channel.
    pub fn online_user(&self) -> Option<&str> {
        self.0.strip_prefix(Self::ONLINE_PREFIX)
    }

    /// The reserved channel in which it is told how many members `channel` has. No client can name it.
    pub fn headcount(channel: &ChannelName) -> Self {
        Self(format!("{}{channel}", Self::COUNT_PREFIX).into())
    }

    /// The name of the channel whose members are counted in this one.
    pub fn counted(&self) -> Option<&str> {
        self.0.strip_prefix(Self::COUNT_PREFIX)
    }

    /// Whether it serves the server itself: no client can name it, and members of it count nowhere.
    pub fn is_internal(&self) -> bool {
        self.online_user().is_some() || self.counted().is_some()
    }

    /// Whether it follows no rule of the configuration: a user's own channel, or an internal one. Nobody is told that
    /// it is occupied.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('#')
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a connection speaks. The core only carries the name, for metrics, hooks and look-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol(pub &'static str);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_are_checked_at_their_boundaries() {
        let longest = "x".repeat(255);
        for name in ["a", "room:1", "#user:7", "日本", longest.as_str()] {
            assert!(ChannelName::parse(name).is_ok(), "{name}");
        }
        let too_long = "x".repeat(256);
        for (name, error) in [
            ("", InvalidChannel::Length(0)),
            (too_long.as_str(), InvalidChannel::Length(256)),
            ("a\nb", InvalidChannel::ControlCharacter),
            ("a\u{85}b", InvalidChannel::ControlCharacter),
            ("#x", InvalidChannel::Reserved),
            ("#user:", InvalidChannel::Reserved),
            ("#online:7", InvalidChannel::Reserved),
            ("#count:a", InvalidChannel::Reserved),
        ] {
            assert_eq!(ChannelName::parse(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn a_scope_is_what_comes_before_the_first_hash() {
        for (name, scope) in [("/chat#room", Some("/chat#")), ("/a#b#c", Some("/a#")), ("/chat", None), ("a#b", None)] {
            assert_eq!(ChannelName::parse(name).unwrap().scope(), scope, "{name}");
        }
    }

    #[test]
    fn a_user_channel_names_its_user() {
        let channel = ChannelName::of_user(&UserId::from("7"));
        assert_eq!((channel.as_str(), channel.user()), ("#user:7", Some("7")));
    }
}
