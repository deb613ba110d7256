//! Names of channels: what their prefixes mean, which characters they have, and how they map to the core's.

use starling_core::{ChannelName, UserId};
use thiserror::Error;

/// How Pusher clients call the channel of their own user.
const SERVER_TO_USER: &str = "#server-to-user-";

/// What a channel's name asks of those who want in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Public,
    /// A signature.
    Private,
    /// A signature; what is sent is opaque to the server, and only servers send.
    Encrypted,
    /// A signature that says who is there.
    Presence,
}

impl Kind {
    /// The kind of a channel of this name.
    pub fn of(name: &str) -> Self {
        match name {
            _ if name.starts_with("private-encrypted-") => Self::Encrypted,
            _ if name.starts_with("private-") => Self::Private,
            _ if name.starts_with("presence-") => Self::Presence,
            _ => Self::Public,
        }
    }
}

/// Prefixes of channels whose last event is given to whoever subscribes.
pub const CACHE_PREFIXES: [&str; 4] = ["cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-"];
/// The prefix of channels that have presence.
pub const PRESENCE_PREFIX: &str = "presence-";

/// Whether a channel of this name gives its last event to whoever subscribes.
pub fn is_cache(name: &str) -> bool {
    CACHE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Why a text names no channel of Pusher's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// It is empty or too long.
    #[error("channel names have 1 to {0} characters")]
    Length(usize),
    /// A character that names do not have.
    #[error("channel names have only letters, digits and _-=@,.;")]
    Character,
}

/// The channel that clients and servers of Pusher mean by `name`.
///
/// # Errors
/// When the length or a character is not allowed. `#server-to-user-U` is accepted here.
pub fn channel(name: &str, longest: usize) -> Result<ChannelName, InvalidName> {
    if let Some(user) = name.strip_prefix(SERVER_TO_USER) {
        let fits = !user.is_empty() && user.len() <= longest && !user.contains(char::is_control);
        return if fits { Ok(ChannelName::of_user(&UserId::from(user))) } else { Err(InvalidName::Length(longest)) };
    }
    if name.is_empty() || name.len() > longest {
        return Err(InvalidName::Length(longest));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
    if !name.bytes().all(is_allowed) {
        return Err(InvalidName::Character);
    }
    ChannelName::parse(name).map_err(|_| InvalidName::Character)
}

/// How a channel is called by Pusher clients: a prefix, and what follows it.
pub(super) fn as_pusher(channel: &ChannelName) -> (&'static str, &str) {
    match channel.user() {
        Some(user) => (SERVER_TO_USER, user),
        None => ("", channel.as_str()),
    }
}

/// Whether an event name is the protocol's own.
pub fn is_reserved_event(event: &str) -> bool {
    event.starts_with("pusher:") || event.starts_with("pusher_internal:")
}

/// Whether a text has the form of a `socket_id`.
pub fn is_socket_id(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 64 && text.split_once('.').is_some_and(|(first, second)| is_number(first) && is_number(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_tell_the_kind() {
        for (name, kind, cache) in [
            ("news", Kind::Public, false),
            ("cache-news", Kind::Public, true),
            ("private-a", Kind::Private, false),
            ("private-cache-a", Kind::Private, true),
            ("private-encrypted-a", Kind::Encrypted, false),
            ("private-encrypted-cache-a", Kind::Encrypted, true),
            ("presence-a", Kind::Presence, false),
            ("presence-cache-a", Kind::Presence, true),
            ("Private-a", Kind::Public, false),
        ] {
            assert_eq!((Kind::of(name), is_cache(name)), (kind, cache), "{name}");
        }
    }

    #[test]
    fn names_are_checked_at_their_boundaries() {
        let long = "x".repeat(201);
        for (name, expected) in [
            ("aZ09_-=@,.;", None),
            (&long[..200], None),
            (long.as_str(), Some(InvalidName::Length(200))),
            ("", Some(InvalidName::Length(200))),
            ("a b", Some(InvalidName::Character)),
            ("room:1", Some(InvalidName::Character)),
            ("#news", Some(InvalidName::Character)),
            ("日本", Some(InvalidName::Character)),
            ("#server-to-user-", Some(InvalidName::Length(200))),
        ] {
            assert_eq!(channel(name, 200).err(), expected, "{name}");
        }
        assert_eq!(channel("#server-to-user-a b", 200).unwrap().as_str(), "#user:a b");
        assert_eq!(as_pusher(&channel("#server-to-user-7", 200).unwrap()), ("#server-to-user-", "7"));
    }

    #[test]
    fn socket_ids_are_two_numbers() {
        for (text, expected) in
            [("1.2", true), ("123.", false), (".2", false), ("1", false), ("1.2.3", false), ("1.2\n", false)]
        {
            assert_eq!(is_socket_id(text), expected, "{text:?}");
        }
    }
}
