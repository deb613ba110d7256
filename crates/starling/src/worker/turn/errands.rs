//! Connections whose client sends requests: long-polling, streams before they begin, and what comes beside a stream.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use starling_core::{CloseReason, ErrorCode, Refusal, Reply, Tag};
use starling_hub::{Connection, Slot};
use starling_proto::native::Cursor;
use starling_proto::websocket::Decoder;
use starling_proto::websocket::Role;
use starling_proto::{OwnedPacket, Packet};
use tokio::sync::oneshot;

use super::super::desk::{Desk, Errand, Fetched};
use super::super::encoder::{frame, open_envelopes};
use super::super::stamper::Stamper;
use super::{Socket, State, Worker, tick};

/// Bytes that one fetch brings at most, but for the packet that crosses the line.
const MAX_FETCH: usize = 1 << 20;

/// Errands that may wait for an answer of an earlier one; more are dropped, and whoever sent them is told that nothing
/// is known of them.
const MAX_PENDING: usize = 256;

/// Ticks until a client that waits gives way to the transport that takes over: one begun, and a whole one, which is how
/// long Engine.IO's own server takes.
const YIELDS_WITHIN: u32 = 2;

impl Worker {
    /// Does something for a client that sent a request.
    pub(super) fn errand(&mut self, slot: Slot, errand: Errand) {
        let now = tick(self.now);
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let is_busy = connection.is_blocked() || connection.endpoint.verifying;
        let line = &mut connection.endpoint;
        line.heard = now;
        line.pinged = false;
        let Some(desk) = &mut line.desk else { return };
        if desk.pending.len() >= MAX_PENDING {
            return;
        }
        desk.pending.push_back(errand);
        if is_busy {
            line.held = true;
        } else {
            self.go_on_with_errands(slot);
        }
    }

    /// Does what waits, until an answer must be waited for.
    pub(super) fn go_on_with_errands(&mut self, slot: Slot) {
        loop {
            let Some(connection) = self.shard.get_mut(slot) else { return };
            if connection.is_blocked() || connection.endpoint.verifying {
                connection.endpoint.held = true;
                return;
            }
            let Some(desk) = &mut connection.endpoint.desk else { return };
            match desk.pending.pop_front() {
                Some(Errand::Packets { packets, done }) => self.packets(slot, packets, done),
                Some(Errand::Ask { request, counts, answer }) => {
                    let tag = desk.expect(answer);
                    if !counts || self.shard.admit_message(slot, self.now) {
                        self.request(slot, tag, request);
                    } else {
                        let refusal = Refusal::new(ErrorCode::RateLimited, "too many messages; slow down");
                        self.answer(slot, &tag, Reply::Refused { refusal, channel: None });
                    }
                }
                Some(Errand::Renew(claims)) => self.verified(slot, Tag::default(), Ok(claims)),
                None => return,
            }
        }
    }

    fn packets(&mut self, slot: Slot, mut packets: VecDeque<OwnedPacket>, done: oneshot::Sender<()>) {
        while let Some(packet) = packets.pop_front() {
            match &packet {
                OwnedPacket::Text(text) => match std::str::from_utf8(text) {
                    Ok(text) => self.packet(slot, Packet::Text(text)),
                    Err(_) => return self.close(slot, CloseReason::InvalidText),
                },
                OwnedPacket::Binary(bytes) => self.packet(slot, Packet::Binary(bytes)),
            }
            let Some(connection) = self.shard.get_mut(slot) else { return };
            if (connection.is_blocked() || connection.endpoint.verifying) && !packets.is_empty() {
                connection.endpoint.held = true;
                if let Some(desk) = &mut connection.endpoint.desk {
                    desk.pending.push_front(Errand::Packets { packets, done });
                }
                return;
            }
        }
        // Whoever sent them may have gone away.
        let _ = done.send(());
    }

    /// Somebody comes for what waits.
    pub(super) fn fetch(&mut self, slot: Slot, fetched: oneshot::Sender<Fetched>, supersede: bool) {
        let now = tick(self.now);
        // Whatever was acknowledged before the client came is among what it gets.
        self.shard.read_inbox(self.now);
        self.shard.deliver(self.now);
        self.handle.inbox.hold();
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let line = &mut connection.endpoint;
        let is_mailbox = line.is_mailbox();
        // A client that must answer heartbeats shows by that, and not by coming here, that it is there.
        if line.beat() == starling_proto::session::Beat::Client {
            line.heard = now;
        }
        let Some(desk) = &mut line.desk else { return };
        if !is_mailbox {
            let _ = fetched.send(Fetched::Moved);
            return;
        }
        if let Some(earlier) = desk.take_waiting() {
            if !supersede {
                desk.waiting = Some(earlier);
                let _ = fetched.send(Fetched::Occupied);
                return;
            }
            let _ = earlier.send(Fetched::Superseded);
        }
        desk.waiting = Some(fetched);
        desk.visits = desk.visits.saturating_add(1);
        self.hand_out(slot);
        let desk = self.shard.get_mut(slot).and_then(|connection| connection.endpoint.desk.as_mut());
        let Some(desk) = desk.filter(|desk| desk.is_probed && desk.is_visited()) else { return };
        if std::mem::replace(&mut desk.has_yielded, true) {
            // A client whose WebSocket stands still is not to come again and again.
            desk.yields_at = now + YIELDS_WITHIN;
            self.reschedule(slot);
        } else {
            desk.give_way();
        }
    }

    /// Gives what waits to whoever waits for it.
    pub(super) fn hand_out(&mut self, slot: Slot) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let Some(desk) = &mut connection.endpoint.desk else { return };
        let Some(waiting) = desk.take_waiting() else { return self.check_bounds(slot) };
        let bytes = self.collect(slot);
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let is_over = connection.endpoint.state == State::Closing && connection.outbox.is_empty();
        let Connection { endpoint, outbox, .. } = connection;
        let is_over = is_over && (bytes.is_empty() || !endpoint.ends_apart());
        let Some(desk) = &mut endpoint.desk else { return };
        let fetched = match desk.closing.take_if(|_| is_over) {
            Some(closing) => Fetched::Closed(bytes, closing, desk.handed + 1),
            None if bytes.is_empty() => {
                desk.waiting = Some(waiting);
                return;
            }
            None => Fetched::Waiting(bytes, desk.handed + 1),
        };
        match waiting.send(fetched) {
            Ok(()) if is_over => self.remove(slot, CloseReason::Normal),
            Ok(()) => {
                desk.handed += 1;
                desk.yields_at = 0;
            }
            // Gone in this very moment: the next one gets it.
            Err(Fetched::Waiting(bytes, _)) => outbox.push_front(bytes),
            Err(Fetched::Closed(bytes, closing, _)) => {
                outbox.push_front(bytes);
                desk.closing = Some(closing);
            }
            Err(_) => {}
        }
    }

    /// Takes what waits for the socket that a connection does not have.
    fn collect(&mut self, slot: Slot) -> Bytes {
        let mut first: Option<Bytes> = None;
        let mut together = BytesMut::new();
        let mut len = 0;
        while let Some(connection) = self.shard.get_mut(slot) {
            while len < MAX_FETCH
                && let Some(bytes) = connection.outbox.pop()
            {
                len += bytes.len();
                match &first {
                    None if together.is_empty() => first = Some(bytes),
                    _ => {
                        if let Some(first) = first.take() {
                            together.extend_from_slice(&first);
                        }
                        together.extend_from_slice(&bytes);
                    }
                }
            }
            if len >= MAX_FETCH || connection.is_at_rest() || !self.shard.drained(slot, self.now) {
                break;
            }
        }
        first.unwrap_or_else(|| together.freeze())
    }

    /// The stream of a connection begins: behind `head`, what has been waiting.
    pub(super) fn attach(&mut self, slot: Slot, socket: Socket, head: Bytes, cursor: Option<(Box<Cursor>, bool)>) {
        let now = tick(self.now);
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let line = &mut connection.endpoint;
        line.socket = socket;
        line.heard = now;
        line.beaten = now;
        if line.state == State::Closing {
            line.state = State::Farewell;
        }
        match cursor {
            Some((cursor, is_zipped)) => {
                let mut stamper = Box::new(Stamper::new(*cursor, is_zipped));
                stamper.begin_with(head);
                line.stamper = Some(stamper);
            }
            None => match &mut line.stamper {
                // It became a member of a second channel meanwhile.
                Some(stamper) => stamper.begin_with(head),
                None => connection.outbox.push_front(head),
            },
        }
        if self.register(slot) {
            self.flush(slot);
            self.reschedule(slot);
        }
    }

    /// A WebSocket is about to take over a session: from here on nobody waits long, so that the client may pause fetching. Until it says that it has paused, it is given what there is: its WebSocket may come to
    /// nothing.
    pub(super) fn probe(&mut self, candidate: Slot) {
        let now = tick(self.now);
        let Some(target) = self.target_of(candidate) else { return };
        let Some(desk) = self.shard.get_mut(target).and_then(|target| target.endpoint.desk.as_mut()) else { return };
        (desk.is_probed, desk.has_yielded) = (true, false);
        if desk.is_visited() {
            desk.yields_at = now + YIELDS_WITHIN;
            self.reschedule(target);
        }
    }

    pub(super) fn target_of(&self, candidate: Slot) -> Option<Slot> {
        self.shard.get(candidate)?.endpoint.desk.as_ref()?.candidate_of
    }

    /// The WebSocket takes over: it gets what waits for the session, and the session hears what it says.
    pub(super) fn take_over(&mut self, candidate: Slot) {
        let now = tick(self.now);
        let Some(target) = self.target_of(candidate) else { return };
        if self.shard.get(target).is_none_or(|target| !target.endpoint.is_mailbox() || target.closing().is_some()) {
            return self.close(candidate, CloseReason::Normal);
        }
        let Some(connection) = self.shard.get_mut(candidate) else { return };
        let Connection { endpoint, outbox, .. } = connection;
        let idle = Decoder::new(Role::Server, 0, None);
        let decoder = std::mem::replace(&mut endpoint.decoder, idle);
        let mut socket = std::mem::replace(&mut endpoint.socket, Socket::Absent);
        let (framing, unread) = (endpoint.framing(), std::mem::take(&mut endpoint.unread));
        let (readable, ended, full) = (endpoint.readable, endpoint.ended, endpoint.full);
        // What the probing said and the socket has not taken yet goes first.
        let said: Vec<Bytes> = std::iter::from_fn(|| outbox.pop()).collect();
        if let Some(stream) = socket.stream() {
            let _ = self.poll.registry().deregister(stream);
        }
        if let Some(desk) = &mut endpoint.desk {
            desk.candidate_of = None;
        }
        self.remove(candidate, CloseReason::Normal);
        let Some(connection) = self.shard.get_mut(target) else { return };
        let line = &mut connection.endpoint;
        line.socket = socket;
        line.decoder = decoder;
        line.unread = unread;
        line.held = true;
        line.full = full;
        line.readable = readable || line.socket.has_read_ahead();
        line.ended = ended;
        line.heard = now;
        line.pinged = false;
        let form = line.reframe(framing);
        self.shard.change_form(target, form, |envelopes| {
            let mut packets = Vec::new();
            open_envelopes(envelopes, &mut packets);
            let mut frames = BytesMut::new();
            packets.iter().for_each(|packet| frames.extend_from_slice(&frame(framing, packet)));
            frames.freeze()
        });
        if !self.register(target) {
            return;
        }
        if let Some(connection) = self.shard.get_mut(target) {
            for bytes in said.into_iter().rev() {
                connection.outbox.push_front(bytes);
            }
            if let Some(desk) = &mut connection.endpoint.desk {
                desk.is_probed = false;
                desk.yields_at = 0;
                if let Some(waiting) = desk.take_waiting() {
                    let _ = waiting.send(Fetched::Superseded);
                }
            }
        }
        self.flush(target);
        self.reschedule(target);
        self.resume(target);
    }

    /// A connection with a desk is gone.
    pub(super) fn leave_desk(&mut self, slot: Slot, mut desk: Desk) {
        if let Some(key) = desk.key.take() {
            self.shared.sessions.remove(&key, self.index, slot);
        }
        // The WebSocket that wanted to take over did not make it.
        let target = desk.candidate_of.and_then(|target| self.shard.get_mut(target));
        if let Some(target) = target
            && let Some(desk) = &mut target.endpoint.desk
        {
            desk.is_probed = false;
            desk.yields_at = 0;
        }
        if let (Some(waiting), Some(closing)) = (desk.take_waiting(), desk.closing.take()) {
            let _ = waiting.send(Fetched::Closed(Bytes::new(), closing, 0));
        }
    }
}
