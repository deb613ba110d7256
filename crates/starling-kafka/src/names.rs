//! Names: channels, topics, and the keys of records.
//!
//! ```text
//! P.log        records of channels with history           deleted after `retention`
//! P.live       messages of channels without               deleted after ten minutes
//! P.presence   who is present: a key per connection        compacted
//! P.notes      claims and notes: a key each                compacted
//! P.nodes      what nodes tell and ask each other          deleted after ten minutes
//! ```
//! `P` is the prefix. A channel has the same partition in the first three.

use std::fmt;

use starling_core::{AppId, ChannelName, ConnectionId, NodeId};

use crate::options::KafkaOptions;

/// A channel of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub app: AppId,
    pub channel: ChannelName,
}

/// Between the parts of a record's key; no part has it.
const SEPARATOR: char = '\0';

impl Key {
    pub fn new(app: &AppId, channel: &ChannelName) -> Self {
        Self { app: app.clone(), channel: channel.clone() }
    }

    /// The key of the channel's records.
    pub fn text(&self) -> String {
        format!("{}{SEPARATOR}{}", self.app, self.channel)
    }

    /// The key of one connection's presence in the channel.
    pub fn text_of(&self, connection: &ConnectionId) -> String {
        format!("{}{SEPARATOR}{}{SEPARATOR}{connection}", self.app, self.channel)
    }

    /// Reads what [`Key::text`] and [`Key::text_of`] made.
    pub fn parse(text: &[u8]) -> Option<(Self, Option<ConnectionId>)> {
        let mut parts = std::str::from_utf8(text).ok()?.splitn(3, SEPARATOR);
        let app = AppId::from(parts.next()?);
        let channel = ChannelName::parse(parts.next()?).ok()?;
        Some((Self { app, channel }, parts.next().map(ConnectionId::from)))
    }

    /// The channel's partition: the same on every node and in every version, so it is no hash of a library.
    pub fn partition(&self, partitions: i32) -> i32 {
        let bytes = self.app.as_str().bytes().chain([0]).chain(self.channel.as_str().bytes());
        let fnv = bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        ((fnv ^ (fnv >> 32)) % u64::from(partitions.unsigned_abs().max(1))) as i32
    }
}

/// One of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    Log,
    Live,
    Presence,
    Notes,
    Nodes,
}

impl Topic {
    pub const ALL: [Self; 5] = [Self::Log, Self::Presence, Self::Notes, Self::Nodes, Self::Live];

    /// Its name behind the prefix.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Live => "live",
            Self::Presence => "presence",
            Self::Notes => "notes",
            Self::Nodes => "nodes",
        }
    }

    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}.{}", self.suffix())
    }

    /// How many partitions it has.
    pub fn partitions(self, options: &KafkaOptions) -> i32 {
        match self {
            Self::Log | Self::Live | Self::Presence => options.partitions,
            Self::Notes | Self::Nodes => 1,
        }
    }

    /// Whether Kafka keeps the last record of each key, instead of all for a time.
    pub fn is_compacted(self) -> bool {
        matches!(self, Self::Presence | Self::Notes)
    }
}

/// One partition of a topic: everything in it has one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub topic: Topic,
    pub partition: i32,
}

impl Place {
    /// The only partition of `topic`.
    pub fn only(topic: Topic) -> Self {
        Self { topic, partition: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.suffix(), self.partition)
    }
}

/// A word that no other node has: twelve letters and digits.
pub(crate) fn random_node() -> NodeId {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 12];
    getrandom::fill(&mut random).expect("the system has random numbers");
    let word: String = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    NodeId::new(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_partitions_never_change() {
        let key = Key { app: AppId::from("1"), channel: ChannelName::parse("/chat#日本").unwrap() };
        assert_eq!(Key::parse(key.text().as_bytes()), Some((key.clone(), None)));
        let connection = ConnectionId::from("c.1");
        assert_eq!(Key::parse(key.text_of(&connection).as_bytes()), Some((key.clone(), Some(connection))));
        assert_eq!(Key::parse(b"junk"), None);
        assert_eq!(Key::parse(&[0xff, 0, 1]), None);
        // What is stored with one hash is not found with another: these numbers are for ever.
        assert_eq!([1, 2, 16, 1000].map(|count| key.partition(count)), PARTITIONS);
    }

    const PARTITIONS: [i32; 4] = [0, 0, 6, 142];
}
