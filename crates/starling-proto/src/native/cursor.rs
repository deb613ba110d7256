//! Cursors of streams and polls: how far a client has come in each of its channels. Section 7 of the contract.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use starling_core::{ChannelName, Epoch, Position};

/// The longest cursor that is read, in bytes of its text.
pub const MAX_CURSOR_BYTES: usize = 64 << 10;

/// How far a client has come: positions by channel, and for long-polling where its session is.
///
/// A cursor is a client's own claim. It proves nothing and grants nothing: it only says where to go on reading what its
/// bearer may read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Channel, epoch, offset.
    #[serde(rename = "p", default)]
    positions: Vec<(String, String, u64)>,
    /// The session that a poll goes on with, if it is still there.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    session: Option<(String, u64)>,
}

/// As much of a message as a cursor needs.
#[derive(Deserialize)]
struct Passed<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    channel: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    epoch: Option<std::borrow::Cow<'a, str>>,
    offset: Option<u64>,
}

impl Cursor {
    /// Reads a cursor; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        // Derived structs would take an array of their fields as well.
        if json.first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice(&json).ok()
    }

    /// The cursor of a stream of one channel.
    pub fn at(channel: &ChannelName, position: &Position) -> Self {
        let mut cursor = Self::default();
        cursor.set(channel.as_str(), position.epoch.as_str(), position.offset);
        cursor
    }

    /// Where its bearer is in a channel.
    pub fn position(&self, channel: &ChannelName) -> Option<Position> {
        let (_, epoch, offset) = self.positions.iter().find(|(name, _, _)| name == channel.as_str())?;
        Some(Position { epoch: Epoch::from(epoch.as_str()), offset: *offset })
    }

    /// Puts its bearer somewhere in a channel.
    pub fn set(&mut self, channel: &str, epoch: &str, offset: u64) {
        match self.positions.iter_mut().find(|(name, _, _)| name == channel) {
            Some(entry) => {
                epoch.clone_into(&mut entry.1);
                entry.2 = offset;
            }
            None => self.positions.push((channel.to_owned(), epoch.to_owned(), offset)),
        }
    }

    /// Passes a native object; whether it was a message with a position.
    pub fn pass(&mut self, object: &[u8]) -> bool {
        let Ok(passed) = serde_json::from_slice::<Passed<'_>>(object) else { return false };
        match (passed.kind, passed.epoch, passed.offset) {
            ("message", Some(epoch), Some(offset)) => {
                self.set(&passed.channel, &epoch, offset);
                true
            }
            _ => false,
        }
    }

    /// The session that a poll goes on with, and the number of its last answer.
    pub fn session(&self) -> Option<(&str, u64)> {
        self.session.as_ref().map(|(key, turn)| (key.as_str(), *turn))
    }

    /// The same positions for a poll of this session.
    #[must_use]
    pub fn of_session(self, key: &str, turn: u64) -> Self {
        Self { session: Some((key.to_owned(), turn)), ..self }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let mut cursor = Cursor::default();
        assert!(
            cursor
                .pass(br#"{"type":"message","channel":"a\"b","event":"e","epoch":"x","offset":18446744073709551615}"#)
        );
        assert!(!cursor.pass(br#"{"type":"message","channel":"c"}"#), "no history");
        assert!(!cursor.pass(br#"{"type":"gap","channel":"c","missed":1}"#));
        assert!(!cursor.pass(b"noise"));
        let cursor = cursor.of_session("node.key", 7);
        let again = Cursor::parse(&cursor.to_string()).unwrap();
        assert_eq!(again, cursor);
        assert_eq!(again.session(), Some(("node.key", 7)));
        let channel = ChannelName::parse("a\"b").unwrap();
        assert_eq!(again.position(&channel), Some(Position { epoch: "x".into(), offset: u64::MAX }));
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        let long = "A".repeat(MAX_CURSOR_BYTES + 1);
        for text in ["", "?", "e30x", "bnVsbA", "W10", long.as_str()] {
            assert_eq!(Cursor::parse(text), None, "{text:.20}");
        }
        assert_eq!(Cursor::parse("e30"), Some(Cursor::default()), "an empty one is one");
    }
}
