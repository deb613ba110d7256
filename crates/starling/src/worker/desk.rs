//! What requests of their own bring to a connection, and fetch from it.
//!
//! A connection whose transport is not one socket (long-polling, or the time before a stream begins) has a desk, where
//! HTTP requests leave errands and wait for what is in its outbox. So has a stream, for what its client sends beside it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use starling_core::{Reply, Request, Tag};
use starling_hub::Slot;
use starling_proto::{Closing, OwnedPacket};
use tokio::sync::oneshot;

use crate::auth::Claims;

/// No protocol's own reference starts with this byte.
const ASKED: u8 = 0xFF;

/// Ticks in which a client that came once must come back: 30 s.
const NEWCOMER: u32 = (30_000 / super::wheel::TICK_MS) as u32;

/// See the module's documentation.
pub(crate) struct Desk {
    /// The name under which requests find the connection.
    pub key: Option<Arc<str>>,
    /// Who waits for what is in the outbox.
    pub waiting: Option<oneshot::Sender<Fetched>>,
    /// How often something was handed over to who fetched.
    pub handed: u64,
    /// What came while an earlier request had to be answered first.
    pub pending: VecDeque<Errand>,
    /// Another transport wants to take over: nobody waits here for long.
    pub is_probed: bool,
    /// Somebody came since, and gave way at once.
    pub has_yielded: bool,
    /// At this tick, who waits gives way to it, if nothing came until then. 0: nobody does.
    pub yields_at: u32,
    /// How the connection ended, for who fetches next.
    pub closing: Option<Closing>,
    /// How long nobody may come before the client counts as lost, in ticks; see [`Desk::patience`].
    pub patience: u32,
    /// How often somebody came for what there is.
    pub visits: u32,
    /// The connection that this one wants to take over.
    pub candidate_of: Option<Slot>,
    asked: Vec<(u64, oneshot::Sender<Reply>)>,
    asked_so_far: u64,
}

/// What somebody who fetches gets.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// What waited, in the connection's framing, and the how-manieth hand-over of this connection that is: who had the one
    /// before has not missed anything.
    Waiting(Bytes, u64),
    /// Nothing: somebody else fetches now, or another transport takes over.
    Superseded,
    /// Nothing: somebody else is fetching.
    Occupied,
    /// Nothing: the connection has a socket of its own by now.
    Moved,
    /// The last that waited, numbered like what waited before; the connection is at its end.
    Closed(Bytes, Closing, u64),
}

/// Something to do for a connection.
pub(crate) enum Errand {
    /// Its client sent these packets; `done` when all were looked at.
    Packets { packets: VecDeque<OwnedPacket>, done: oneshot::Sender<()> },
    /// Its client asks this, and wants the answer here. `counts` as a message, unless it is a further part of one.
    Ask { request: Request, counts: bool, answer: oneshot::Sender<Reply> },
    /// Its client has a newer token.
    Renew(Box<Claims>),
}

impl Desk {
    pub fn new(key: Option<Arc<str>>, patience: u32) -> Self {
        Self {
            key,
            waiting: None,
            handed: 0,
            pending: VecDeque::new(),
            is_probed: false,
            has_yielded: false,
            yields_at: 0,
            closing: None,
            patience,
            visits: 0,
            candidate_of: None,
            asked: Vec::new(),
            asked_so_far: 0,
        }
    }

    /// Notes who asks something; the answer comes with this tag.
    pub fn expect(&mut self, answer: oneshot::Sender<Reply>) -> Tag {
        self.asked_so_far += 1;
        self.asked.push((self.asked_so_far, answer));
        let mut tag = BytesMut::with_capacity(9);
        tag.put_u8(ASKED);
        tag.put_u64(self.asked_so_far);
        Tag(tag.freeze())
    }

    /// Gives an answer to who asked, if it is one for this desk.
    pub fn answered(&mut self, tag: &Tag, reply: Reply) -> Option<Reply> {
        let mut bytes = &tag.0[..];
        if bytes.len() != 9 || bytes.get_u8() != ASKED {
            return Some(reply);
        }
        let number = bytes.get_u64();
        if let Some(at) = self.asked.iter().position(|(known, _)| *known == number) {
            // Whoever asked may have gone away meanwhile.
            let _ = self.asked.swap_remove(at).1.send(reply);
        }
        None
    }

    /// How long nobody may come, in ticks: not as long while the client has not come back at all. Requests that only begin
    /// sessions cost whoever sends them nothing.
    pub fn patience(&self) -> u32 {
        if self.visits < 2 { self.patience.min(NEWCOMER) } else { self.patience }
    }

    /// Who waits, unless they went away.
    pub fn take_waiting(&mut self) -> Option<oneshot::Sender<Fetched>> {
        self.waiting.take().filter(|waiting| !waiting.is_closed())
    }

    /// Who waits gives way to the transport that takes over, if it is time.
    pub fn yield_when_due(&mut self, now: u32) {
        if self.yields_at > 0 && now >= self.yields_at {
            self.give_way();
        }
    }

    /// Who waits gives way to the transport that takes over.
    pub fn give_way(&mut self) {
        self.yields_at = 0;
        if let Some(waiting) = self.take_waiting() {
            let _ = waiting.send(Fetched::Superseded);
        }
    }

    /// Whether somebody waits.
    pub fn is_visited(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.is_closed())
    }
}
