//! Names of keys and pub/sub channels in Redis.
//!
//! ```text
//! P:{app:channel}:log       hash     epoch, top offset
//! P:{app:channel}:stream    stream   <offset>-0: t (Unix ms), m (message)
//! P:{app:channel}:id:ID     string   the answer to a publisher's own message id
//! P:{app:channel}:here      hash     connection: presence entry
//! P:{app:channel}:users     hash     user: how many entries
//! P:{app:channel}:lost      hash     user: connections that linger
//! P:{app:channel}:version   string   of the presence set
//! P:{app:channel}:of:OWNER  set      connections of one node
//! P:{app:channel}           pub/sub  messages, presence events, clearings
//! P:{nodes}                 zset     owner: end of its lease
//! P:{node:OWNER}:channels   set      channels in which the owner has entries
//! P:{notes}:…               hash, zset ×2   notes, their names, their ends
//! P:{claim:NAME}            string   a claim
//! P:{probe}, P:{probe:N}    string   to try whether writes are taken; pub/sub: whether it is permitted
//! P:{control}, P:{node:ID}  pub/sub  to all nodes, to one
//! ```
//!
//! What stands in the braces decides the slot, so that all keys of a channel are on one server of a Cluster.

use starling_core::{AppId, ChannelName, MessageId, NodeId};

/// What all names start with.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

/// All keys of a channel; also the name of its pub/sub channel, and the start of the names of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ChannelKeys {
    /// `P:{app:channel}`
    pub topic: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn channel(&self, app: &AppId, channel: &ChannelName) -> ChannelKeys {
        ChannelKeys { topic: format!("{}:{{{app}:{channel}}}", self.prefix) }
    }

    /// The channel of the index entry that [`Keys::index_entry`] made.
    pub fn parse_index_entry(entry: &str) -> Option<(AppId, ChannelName)> {
        let (app, channel) = entry.split_once(':')?;
        Some((AppId::new(app), ChannelName::parse(channel).ok()?))
    }

    pub fn index_entry(app: &AppId, channel: &ChannelName) -> String {
        format!("{app}:{channel}")
    }

    pub fn nodes(&self) -> String {
        format!("{}:{{nodes}}", self.prefix)
    }

    pub fn channels_of(&self, owner: &str) -> String {
        format!("{}:{{node:{owner}}}:channels", self.prefix)
    }

    pub fn reaping(&self, owner: &str) -> String {
        format!("{}:{{reap:{owner}}}", self.prefix)
    }

    pub fn control_topic(&self) -> String {
        format!("{}:{{control}}", self.prefix)
    }

    pub fn node_topic(&self, node: &NodeId) -> String {
        format!("{}:{{node:{node}}}", self.prefix)
    }

    pub fn claim(&self, name: &str) -> String {
        format!("{}:{{claim:{name}}}", self.prefix)
    }

    pub fn probe(&self) -> String {
        format!("{}:{{probe}}", self.prefix)
    }

    /// Others of its kind, in other slots.
    pub fn numbered_probe(&self, number: usize) -> String {
        format!("{}:{{probe:{number}}}", self.prefix)
    }

    /// Values, names, ends.
    pub fn notes(&self) -> [String; 3] {
        ["values", "names", "ends"].map(|part| format!("{}:{{notes}}:{part}", self.prefix))
    }
}

impl ChannelKeys {
    pub fn part(&self, part: &str) -> String {
        format!("{}:{part}", self.topic)
    }

    pub fn log(&self) -> String {
        self.part("log")
    }

    pub fn stream(&self) -> String {
        self.part("stream")
    }

    pub fn id(&self, id: &MessageId) -> String {
        format!("{}:id:{id}", self.topic)
    }

    /// The start of the names of owners' sets.
    pub fn of_prefix(&self) -> String {
        self.part("of:")
    }

    /// As the presence scripts expect them.
    pub fn presence(&self) -> [String; 4] {
        ["here", "users", "lost", "version"].map(|part| self.part(part))
    }
}

/// The slot of a key in a Cluster (its specification, "hash tags").
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// How many slots a Cluster has.
pub(crate) const SLOTS: u16 = 16384;

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc: u16, _| {
                if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn all_keys_of_a_channel_are_in_one_slot() {
        let keys = Keys::new("p");
        for channel in ["room", "a}b", "{x}", "日本", "}"] {
            let keys = keys.channel(&AppId::from("1"), &ChannelName::parse(channel).unwrap());
            let expected = slot(keys.topic.as_bytes());
            for key in [keys.log(), keys.stream(), keys.id(&MessageId::from("{1}")), keys.part("here")] {
                assert_eq!(slot(key.as_bytes()), expected, "{key}");
            }
        }
    }
}
