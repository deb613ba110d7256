//! Spreading what arrived to the members: the hot path.
//!
//! What arrived for a channel in one turn leaves together. The loop over members clones one reference to bytes that are
//! written once per wire form; only a member whose socket does not keep up is looked at message by message.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use starling_core::{Delivery, Position};

use super::*;
use crate::broadcast::Broadcast;
use crate::channel::Step;
use crate::outbox::Offered;

/// The frames of one turn in one wire form.
struct Frames {
    form: Form,
    single: SmallVec<[Bytes; 1]>,
    /// All of them behind each other.
    together: Bytes,
    delivered: u64,
}

/// How what arrived continues what the members have.
enum Order {
    Next,
    Repeat,
    Hole,
}

impl<T: Endpoint> Shard<T> {
    /// Spreads what [`Shard::read_inbox`] put aside.
    pub fn deliver(&mut self, now: Now) {
        while let Some(index) = self.touched.pop() {
            if self.channels.get(index as usize).is_some_and(|channel| channel.touched) {
                self.deliver_channel(index, now);
            }
        }
    }

    pub(super) fn deliver_channel(&mut self, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        channel.touched = false;
        self.deliver_presence(index);
        let channel = &mut self.channels[index as usize];
        // While the log is read, what is missing comes first; it brings this channel here again.
        if channel.incoming.is_empty() || channel.refilling.is_some() {
            return;
        }
        let mut incoming = std::mem::take(&mut channel.incoming);
        if channel.history().is_none() {
            self.spread(index, &incoming, now);
        } else {
            self.deliver_log(index, &mut incoming, now);
        }
        incoming.clear();
        // The list itself is kept for the next turn, unless it has grown out of proportion.
        let channel = &mut self.channels[index as usize];
        if incoming.capacity() <= 64 && channel.incoming.capacity() == 0 {
            channel.incoming = incoming;
        }
    }

    /// Messages with positions: repeats are skipped, holes are filled from the log, and members that read the log join
    /// exactly where they are.
    fn deliver_log(&mut self, index: u32, incoming: &mut [Arc<Broadcast>], now: Now) {
        let mut ready = 0;
        let mut hole = false;
        for at in 0..incoming.len() {
            let Some(position) = &incoming[at].message.position else {
                // Published before the channel kept history, or not to be kept.
                incoming.swap(ready, at);
                ready += 1;
                continue;
            };
            if hole {
                // It is in the log as well, and is read from there.
                continue;
            }
            let channel = &mut self.channels[index as usize];
            let order = match &channel.cursor {
                Some(cursor) => order(cursor, position),
                // Whoever joins reads the log.
                None if channel.live.is_empty() => Order::Repeat,
                // Its members are older than its history.
                None => Order::Next,
            };
            match order {
                Order::Repeat => {}
                Order::Next => {
                    let waiting = channel.catching.iter().any(|entry| entry.step == Step::Cursor);
                    channel.cursor = Some(position.clone());
                    incoming.swap(ready, at);
                    ready += 1;
                    if waiting {
                        self.spread(index, &incoming[..ready], now);
                        ready = 0;
                        self.promote(index);
                    }
                }
                Order::Hole => hole = true,
            }
        }
        self.spread(index, &incoming[..ready], now);
        if hole {
            self.refill(index, now);
        }
    }

    /// Gives messages to all live members.
    fn spread(&mut self, index: u32, messages: &[Arc<Broadcast>], now: Now) {
        if messages.is_empty() {
            return;
        }
        self.note_spread(index, messages);
        let settings = self.settings.clone();
        let excluded = self.excluded(messages);
        let Self { channels, connections, encoder, dirty, by_id, .. } = self;
        let channel = &mut channels[index as usize];
        let delivery = channel.delivery();
        let mut forms: SmallVec<[Frames; 2]> = SmallVec::new();
        let mut overflowed: SmallVec<[Slot; 4]> = SmallVec::new();
        let (mut dropped, mut conflated) = (0, 0);
        for &member in &channel.live {
            let connection = &mut *connections[member as usize];
            let form = connection.form;
            let at = match forms.iter().position(|frames| frames.form == form) {
                Some(at) => at,
                None => {
                    forms.push(frames(form, messages, &mut **encoder));
                    forms.len() - 1
                }
            };
            let frames = &mut forms[at];
            if connection.outbox.has_room(frames.together.len(), &settings.backpressure) && !excluded.contains(&member)
            {
                connection.outbox.push(frames.together.clone());
                frames.delivered += messages.len() as u64;
            } else {
                for (broadcast, frame) in messages.iter().zip(&frames.single) {
                    let message = &broadcast.message;
                    if message.exclude.as_ref().is_some_and(|id| by_id.get(id) == Some(&member)) {
                        continue;
                    }
                    frames.delivered += 1;
                    if !connection.outbox.has_room(frame.len(), &settings.backpressure)
                        && !connection.outbox.is_slow()
                        && connection.endpoint.write(&mut connection.outbox)
                    {
                        connection.outbox.offer_to_socket();
                    }
                    match connection.outbox.offer(message, frame.clone(), delivery, &settings.backpressure) {
                        Offered::Taken => {}
                        Offered::Dropped => {
                            frames.delivered -= 1;
                            dropped += 1;
                        }
                        Offered::Conflated(count) => conflated += count,
                        Offered::Overflow => {
                            frames.delivered -= 1;
                            dropped += u64::from(delivery != Delivery::Latest);
                            overflowed.push(Slot { index: member, generation: connection.generation });
                            break;
                        }
                    }
                }
            }
            if !connection.dirty {
                connection.dirty = true;
                dirty.push_back(Slot { index: member, generation: connection.generation });
            }
        }
        for frames in &forms {
            channel.counters.delivered.of(frames.form).fetch_add(frames.delivered, Ordering::Relaxed);
        }
        if dropped + conflated > 0 {
            channel.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
            channel.counters.conflated.fetch_add(conflated, Ordering::Relaxed);
        }
        for slot in overflowed {
            self.close(slot, CloseReason::SlowConsumer, now);
        }
    }

    /// Connections of this worker that some of the messages must not reach.
    fn excluded(&self, messages: &[Arc<Broadcast>]) -> SmallVec<[u32; 2]> {
        let ids = messages.iter().filter_map(|broadcast| broadcast.message.exclude.as_ref());
        ids.filter_map(|id| self.by_id.get(id).copied()).collect()
    }
}

fn order(cursor: &Position, position: &Position) -> Order {
    if cursor.epoch != position.epoch {
        return Order::Hole;
    }
    match position.offset {
        offset if offset <= cursor.offset => Order::Repeat,
        offset if offset == cursor.offset + 1 => Order::Next,
        _ => Order::Hole,
    }
}

fn frames(form: Form, messages: &[Arc<Broadcast>], encoder: &mut dyn Encoder) -> Frames {
    let single: SmallVec<[Bytes; 1]> = messages.iter().map(|broadcast| broadcast.form(form, encoder)).collect();
    let together = match single.as_slice() {
        [only] => only.clone(),
        several => {
            let mut together = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
            several.iter().for_each(|frame| together.extend_from_slice(frame));
            together.freeze()
        }
    };
    Frames { form, single, together, delivered: 0 }
}
