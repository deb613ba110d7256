//! What a record says: who wrote it and what it does stand in a header, what it carries is its value.
//!
//! The header is all that a node reads of records that do not concern it; and a tombstone has no value.

use starling_core::{AppId, Control, Epoch, NodeId};

use super::{fields, variants};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Foreign, Wire};
    use bytes::Bytes;

    #[test]
    fn stamps_come_back_as_they_were_and_cut_ones_are_foreign() {
        let seen = Seen { next: 300, head: Some((Epoch::from("e"), (7, 1_700_000_000_000))) };
        let act = Act::Publish { size: 1000, ttl: 3_600_000, remember: Some(120_000), forget: u64::MAX, seen };
        let stamp = Stamp { by: NodeId::from("n"), seq: 9, act };
        let bytes = stamp.encode();
        assert_eq!(Stamp::decode(&bytes), Ok(stamp));
        for cut in 0..bytes.len() {
            assert_eq!(Stamp::decode(&bytes.slice(..cut)), Err(Foreign), "{cut} of {} bytes", bytes.len());
        }
        assert_eq!(Stamp::decode(&Bytes::from_static(b"{\"json\":1}")), Err(Foreign));
    }
}
