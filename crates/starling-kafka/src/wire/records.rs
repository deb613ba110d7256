//! What a record says: who wrote it and what it does stand in a header, what it carries is its value.
//!
//! The header is all that a node reads of records that do not concern it; and a tombstone has no value.

use bytes::Bytes;
use starling_core::{AppId, Control, Epoch, Message, NodeId, Payload, PresenceEntry, RawJson};

use super::{Foreign, Wire, fields, variants};

/// The header of every record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stamp {
    /// Which node wrote it.
    pub by: NodeId,
    /// Counts that node's records; with `by` it is a name that nothing else has.
    pub seq: u64,
    pub act: Act,
}

/// What the writer knew of a log when it wrote: true, whatever else was on its way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// The writer had read the partition up to here (the offset of the next record).
    pub next: u64,
    /// Where the channel's log ended then, if there was one: epoch, offset, and when (Unix milliseconds of the broker)
    /// its last message was appended.
    pub head: Option<(Epoch, (u64, u64))>,
}

/// What a record does. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// Continues a log. The value is the message.
    Publish {
        /// Messages to keep.
        size: u64,
        ttl: u64,
        /// For how long the message's id is remembered, if it is.
        remember: Option<u64>,
        /// After how long without a message the log is forgotten, and an epoch begins.
        forget: u64,
        seen: Seen,
    },
    /// Begins a log, unless there is one.
    Begin { forget: u64, seen: Seen },
    /// Begins a log anew.
    Clear {},
    /// The broker lost the end of this partition: all its logs begin anew.
    Restart {},
    /// Passes a message on. The value is the message.
    Pass { remember: Option<u64> },
    /// A connection is present; lost if it stays only until a time. The value is the entry.
    Present { owner: NodeId, until: Option<u64>, restores: bool },
    /// A connection is present no longer. A tombstone, as the next two.
    Leave {},
    /// A time of grace is over at `now`.
    Expire { now: u64 },
    /// The connection's node is dead.
    Reap { owner: NodeId },
    /// Claims a name.
    Claim { ttl: u64 },
    /// Keeps a note; the value is the note's.
    Note { ttl: u64 },
    /// Takes a note. A tombstone.
    Take {},
    /// Removes what is over. A tombstone.
    Clean {},
    /// A node is alive.
    Beat {},
    /// A node has ended.
    Bye {},
    /// The value is for every node.
    Order {},
    /// The value is a question to every other node, which its writer calls `ask`.
    Survey { ask: u64 },
    /// The value is a request to one node.
    Ask { to: NodeId, ask: u64 },
    /// The value is a part of an answer to what `to` asked.
    Reply { to: NodeId, ask: u64, part: u64, parts: u64 },
    /// Nothing: that it was read shows that all before it was.
    Nudge {},
}

/// An order and the app that it is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ordered {
    pub app: AppId,
    pub control: Control,
}

fields! {
    Stamp { by, seq, act }
    Seen { next, head }
    Ordered { app, control }
    PresenceEntry { user, connection, data, revision }
}

variants! {
    Act {
        0 => Publish { size, ttl, remember, forget, seen }
        1 => Begin { forget, seen }
        2 => Clear {}
        3 => Restart {}
        4 => Pass { remember }
        10 => Present { owner, until, restores }
        11 => Leave {}
        12 => Expire { now }
        13 => Reap { owner }
        20 => Claim { ttl }
        21 => Note { ttl }
        22 => Take {}
        23 => Clean {}
        30 => Beat {}
        31 => Bye {}
        32 => Order {}
        33 => Survey { ask }
        34 => Ask { to, ask }
        35 => Reply { to, ask, part, parts }
        40 => Nudge {}
    }
}

impl Wire for Message {
    fn write(&self, out: &mut Vec<u8>) {
        self.app.write(out);
        self.channel.write(out);
        self.id.write(out);
        self.event.write(out);
        self.payload.write(out);
        self.user.write(out);
        self.ts.write(out);
        self.key.write(out);
        self.exclude.write(out);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Ok(Self {
            app: Wire::read(input)?,
            channel: Wire::read(input)?,
            id: Wire::read(input)?,
            event: Wire::read(input)?,
            payload: Wire::read(input)?,
            user: Wire::read(input)?,
            ts: Wire::read(input)?,
            key: Wire::read(input)?,
            exclude: Wire::read(input)?,
            position: None,
        })
    }
}

impl Wire for Payload {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => {
                out.push(0);
                json.write(out);
            }
            Self::Binary(bytes) => {
                out.push(1);
                bytes.write(out);
            }
        }
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        match u8::read(input)? {
            0 => Ok(Self::Json(RawJson::read(input)?)),
            // Copied, so that a small payload does not keep a whole record in memory.
            1 => Ok(Self::Binary(Bytes::copy_from_slice(&Bytes::read(input)?))),
            _ => Err(Foreign),
        }
    }
}

impl Wire for RawJson {
    fn write(&self, out: &mut Vec<u8>) {
        self.bytes().write(out);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        let text = Bytes::read(input)?;
        std::str::from_utf8(&text).map_err(|_| Foreign)?;
        Ok(Self::from_valid(Bytes::copy_from_slice(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::{ChannelName, ConnectionId, MessageId, UserId};

    #[test]
    fn stamps_and_messages_come_back_as_they_were_and_cut_ones_are_foreign() {
        let seen = Seen { next: 300, head: Some((Epoch::from("e"), (7, 1_700_000_000_000))) };
        let act = Act::Publish { size: 1000, ttl: 3_600_000, remember: Some(120_000), forget: u64::MAX, seen };
        let stamp = Stamp { by: NodeId::from("n"), seq: 9, act };
        let bytes = stamp.encode();
        assert_eq!(Stamp::decode(&bytes), Ok(stamp));
        for cut in 0..bytes.len() {
            assert_eq!(Stamp::decode(&bytes.slice(..cut)), Err(Foreign), "{cut} of {} bytes", bytes.len());
        }
        for payload in [Payload::Binary(vec![0, 255].into()), Payload::Json(RawJson::parse("[1.50]").unwrap())] {
            let message = Message {
                app: AppId::from("1"),
                channel: ChannelName::parse("日本").unwrap(),
                id: MessageId::from("m"),
                event: "é".into(),
                payload,
                user: Some(UserId::from("ann")),
                ts: u64::MAX,
                position: None,
                key: Some("k".into()),
                exclude: Some(ConnectionId::from("c")),
            };
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
        assert_eq!(Stamp::decode(&Bytes::from_static(b"{\"json\":1}")), Err(Foreign));
    }
}
