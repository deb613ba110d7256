//! What waits to be written to one connection, and what happens when too much waits.
//!
//! ```text
//!   replies ───────────────────────────┐
//!   messages ── wire ≤ high water? yes ┴─► wire (bytes, next for the socket) ─► socket
//!                      │ no                  ▲ refilled as the socket drains
//!                      └────────► queue ─────┘ bounded; past its bounds the channel's delivery decides
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use starling_core::{Backpressure, ChannelName, Delivery, Message, Notice};

/// The bytes and messages that wait for one connection. Empty, it owns no memory.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Almost always there is one frame or none, and then no list is needed.
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
    wire_bytes: usize,
    /// How many of them the socket was offered before; the rest came since.
    offered_bytes: usize,
    slow: Option<Box<Slow>>,
}

/// What only a slow connection has.
#[derive(Debug, Default)]
struct Slow {
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Channels delivered as `drop` that are being dropped until the queue is empty, and how much each has missed.
    missed: Vec<(ChannelName, u64)>,
}

#[derive(Debug)]
struct Queued {
    message: Arc<Message>,
    frame: Bytes,
    /// Messages of the channel's log before this one that made room.
    skipped: u64,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It will be sent.
    Taken,
    /// It was dropped; the client will be told.
    Dropped,
    /// It will be sent, and so many older ones will not.
    Conflated(u64),
    /// There is no room and the policy allows no loss: the connection must be closed.
    Overflow,
}

impl Outbox {
    /// Adds a frame behind what waits for the socket, without looking at any bound: replies, and what is paced by
    /// the socket anyway. The owner closes a connection whose [`Outbox::wire_bytes`] grow too large.
    pub fn push(&mut self, frame: Bytes) {
        // A protocol that has no words for something writes nothing, and nothing is to be written then.
        if frame.is_empty() {
            return;
        }
        self.wire_bytes += frame.len();
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    /// Bytes that wait for the socket, the queue not counted.
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.slow.is_none()
    }

    /// Whether messages are queued behind what waits for the socket.
    pub fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// What waits is offered to the socket now: what it does not take counts as waiting for it.
    pub(crate) fn offer_to_socket(&mut self) {
        self.offered_bytes = self.wire_bytes;
    }

    /// Whether `len` more bytes of messages may go straight to the socket: it took what it was offered, up to the
    /// high-water mark, and what came since is no more than a queue may hold. A burst in one turn says nothing about
    /// the socket yet.
    pub(crate) fn has_room(&self, len: usize, limits: &Backpressure) -> bool {
        self.slow.is_none()
            && self.offered_bytes <= limits.high_water
            && self.wire_bytes - self.offered_bytes + len <= limits.queue_bytes
    }

    /// Whether what waits for the socket is at or under the high-water mark.
    pub(crate) fn is_flowing(&self, limits: &Backpressure) -> bool {
        self.slow.is_none() && self.wire_bytes <= limits.high_water
    }

    /// Adds a message of a channel, or not, as the bounds and its delivery say.
    pub(crate) fn offer(
        &mut self,
        message: &Arc<Message>,
        frame: Bytes,
        delivery: Delivery,
        limits: &Backpressure,
    ) -> Offered {
        if self.has_room(0, limits) {
            self.push(frame);
            return Offered::Taken;
        }
        let slow = self.slow.get_or_insert_default();
        if delivery == Delivery::Drop
            && let Some((_, missed)) = slow.missed.iter_mut().find(|(channel, _)| *channel == message.channel)
        {
            *missed += 1;
            return Offered::Dropped;
        }
        if slow.has_room(frame.len(), limits) {
            slow.push(message, frame, 0);
            return Offered::Taken;
        }
        match delivery {
            Delivery::Reliable => Offered::Overflow,
            Delivery::Drop => {
                slow.missed.push((message.channel.clone(), 1));
                Offered::Dropped
            }
            Delivery::Latest => {
                let (conflated, skipped) = slow.make_room(message);
                if !slow.has_room(frame.len(), limits) {
                    return Offered::Overflow;
                }
                slow.push(message, frame, skipped);
                Offered::Conflated(conflated)
            }
        }
    }

    /// Moves queued messages to the socket's side while that is under the high-water mark. Stops with a notice that
    /// must be written before the next call goes on; `None`: there is nothing more to move now.
    pub(crate) fn release(&mut self, limits: &Backpressure) -> Option<Notice> {
        loop {
            let slow = self.slow.as_mut()?;
            if self.wire_bytes > limits.high_water {
                return None;
            }
            if let Some(next) = slow.queue.front_mut() {
                if next.skipped > 0 {
                    let missed = std::mem::take(&mut next.skipped);
                    return Some(Notice::Gap { channel: next.message.channel.clone(), missed });
                }
                let next = slow.queue.pop_front()?;
                slow.bytes -= next.frame.len();
                self.push(next.frame);
            } else if let Some((channel, missed)) = slow.missed.pop() {
                return Some(Notice::Gap { channel, missed });
            } else {
                self.slow = None;
            }
        }
    }

    /// Forgets queued messages; what already waits for the socket stays.
    pub(crate) fn drop_queue(&mut self) {
        self.slow = None;
    }

    /// Forgets the messages of one channel that are queued, and what was missed in it.
    pub(crate) fn forget_channel(&mut self, channel: &ChannelName) {
        if let Some(slow) = &mut self.slow {
            slow.queue.retain(|queued| queued.message.channel != *channel);
            slow.bytes = slow.queue.iter().map(|queued| queued.frame.len()).sum();
            slow.missed.retain(|(known, _)| known != channel);
        }
    }

    /// Adds a frame in front of everything that waits: what was taken and could not be written, or a head.
    pub fn push_front(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.wire_bytes += frame.len();
        if let Some(first) = self.first.replace(frame) {
            self.rest.push_front(first);
        }
    }

    /// Takes the next frame for the socket.
    pub fn pop(&mut self) -> Option<Bytes> {
        let frame = self.first.take()?;
        self.wire_bytes -= frame.len();
        self.offered_bytes = self.offered_bytes.saturating_sub(frame.len());
        self.first = self.rest.pop_front();
        if self.first.is_none() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        Some(frame)
    }

    /// Replaces every frame that waits, queued ones included. The first may be half written.
    pub fn rewrite(&mut self, rewrite: &mut dyn FnMut(Bytes) -> Bytes) {
        let waiting: Vec<Bytes> = std::iter::from_fn(|| self.pop()).collect();
        for frame in waiting {
            let frame = rewrite(frame);
            self.push(frame);
        }
        if let Some(slow) = &mut self.slow {
            for queued in &mut slow.queue {
                queued.frame = rewrite(std::mem::take(&mut queued.frame));
            }
            slow.bytes = slow.queue.iter().map(|queued| queued.frame.len()).sum();
        }
    }

    /// The single frame that waits, if there is exactly one: one plain write is enough.
    pub fn only(&self) -> Option<&Bytes> {
        if self.rest.is_empty() { self.first.as_ref() } else { None }
    }

    /// Fills `slices` with what waits for the socket, in order, and returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let frames = self.first.iter().chain(&self.rest);
        slices.iter_mut().zip(frames).map(|(slice, frame)| *slice = IoSlice::new(frame)).count()
    }

    /// `written` bytes from the front are with the socket now.
    ///
    /// # Panics
    /// When there were not so many.
    pub fn advance(&mut self, mut written: usize) {
        self.wire_bytes -= written;
        self.offered_bytes = self.offered_bytes.saturating_sub(written);
        while let Some(first) = &mut self.first {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.first = self.rest.pop_front();
        }
        // An idle connection keeps no list.
        if self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

impl Slow {
    fn has_room(&self, len: usize, limits: &Backpressure) -> bool {
        self.queue.len() < limits.queue_messages && self.bytes + len <= limits.queue_bytes
    }

    fn push(&mut self, message: &Arc<Message>, frame: Bytes, skipped: u64) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { message: message.clone(), frame, skipped });
    }

    /// Removes queued messages that `message` is a newer state of. Returns how many, and how many of the channel's log
    /// must be announced as missing before `message` itself.
    fn make_room(&mut self, message: &Message) -> (u64, u64) {
        let mut conflated = 0;
        let mut skipped = 0;
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for mut queued in self.queue.drain(..) {
            if is_newer_state(message, &queued.message) {
                conflated += 1;
                self.bytes -= queued.frame.len();
                skipped += queued.skipped + u64::from(queued.message.position.is_some());
                continue;
            }
            if queued.message.channel == message.channel {
                queued.skipped += std::mem::take(&mut skipped);
            }
            kept.push_back(queued);
        }
        self.queue = kept;
        (conflated, skipped)
    }
}

fn is_newer_state(new: &Message, old: &Message) -> bool {
    new.channel == old.channel && new.event == old.event && new.key == old.key
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::{AppId, Epoch, MessageId, Payload, Position, RawJson};

    const LIMITS: Backpressure = Backpressure { high_water: 10, queue_messages: 3, queue_bytes: 100 };

    fn message(offset: u64, key: &str) -> Arc<Message> {
        Arc::new(Message {
            app: AppId::from("1"),
            channel: ChannelName::parse("c").unwrap(),
            id: MessageId::from("m"),
            event: "e".into(),
            payload: Payload::Json(RawJson::null()),
            user: None,
            ts: 0,
            position: Some(Position { epoch: Epoch::from("x"), offset }),
            key: Some(key.into()),
            exclude: None,
        })
    }

    fn frame(offset: u64) -> Bytes {
        Bytes::from(format!("frame{offset:05}"))
    }

    /// Drains everything, and returns offsets sent and gaps told, in order.
    fn drain(outbox: &mut Outbox) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            while let Some(frame) = outbox.first.clone() {
                seen.push(String::from_utf8(frame.to_vec()).unwrap().trim_start_matches("frame0000").to_owned());
                outbox.advance(frame.len());
            }
            match outbox.release(&LIMITS) {
                Some(Notice::Gap { missed, .. }) => outbox.push(Bytes::from(format!("gap {missed}"))),
                Some(_) => unreachable!("only gaps"),
                None if outbox.first.is_none() => return seen,
                None => {}
            }
        }
    }

    fn offer_all(outbox: &mut Outbox, delivery: Delivery, keys: &[&str]) -> Vec<Offered> {
        keys.iter()
            .enumerate()
            .map(|(n, key)| {
                outbox.offer_to_socket();
                outbox.offer(&message(n as u64 + 1, key), frame(n as u64 + 1), delivery, &LIMITS)
            })
            .collect()
    }

    #[test]
    fn dropped_messages_are_told_once_and_exactly() {
        let mut outbox = Outbox::default();
        // Two frames of ten bytes pass the mark of ten, three are queued, the rest is dropped.
        let offered = offer_all(&mut outbox, Delivery::Drop, &["k"; 9]);
        assert_eq!(offered.iter().filter(|o| **o == Offered::Dropped).count(), 4);
        assert_eq!(drain(&mut outbox), ["1", "2", "3", "4", "5", "gap 4"]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn reliable_overflows() {
        let mut outbox = Outbox::default();
        assert_eq!(offer_all(&mut outbox, Delivery::Reliable, &["k"; 6]).last(), Some(&Offered::Overflow));
    }

    #[test]
    fn latest_keeps_the_newest_of_each_key_and_announces_holes_in_the_log() {
        let mut outbox = Outbox::default();
        let offered = offer_all(&mut outbox, Delivery::Latest, &["a", "a", "a", "b", "a", "b", "b"]);
        assert_eq!(offered.last(), Some(&Offered::Conflated(1)));
        assert_eq!(drain(&mut outbox), ["1", "2", "3", "gap 1", "5", "gap 1", "7"]);
    }

    #[test]
    fn latest_with_more_keys_than_room_overflows() {
        let mut outbox = Outbox::default();
        let offered = offer_all(&mut outbox, Delivery::Latest, &["x", "x", "a", "b", "c", "d"]);
        assert_eq!(offered.last(), Some(&Offered::Overflow));
    }

    #[test]
    fn partial_writes_continue_where_they_stopped() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abc"));
        outbox.push(Bytes::from_static(b"def"));
        outbox.advance(4);
        assert_eq!(outbox.only().map(|b| &b[..]), Some(&b"ef"[..]));
        outbox.advance(2);
        assert!(outbox.is_empty());
    }
}
