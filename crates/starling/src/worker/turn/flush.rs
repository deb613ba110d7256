//! From the outbox to the socket.

use std::io::ErrorKind;

use starling_core::CloseReason;
use starling_hub::Slot;

use super::{State, Worker};

impl Worker {
    /// Writes what waits for a connection, until its socket is full or nothing waits.
    pub(super) fn flush(&mut self, slot: Slot) {
        loop {
            let Some(connection) = self.shard.get_mut(slot) else { return };
            if connection.endpoint.is_mailbox() {
                return self.hand_out(slot);
            }
            if connection.endpoint.send(&mut connection.outbox).is_err() {
                return self.remove(slot, CloseReason::Lost);
            }
            let (full, at_rest) = (connection.endpoint.full, connection.is_at_rest());
            if at_rest && !full && connection.endpoint.is_plainly_open() {
                return;
            }
            // Queued messages follow, then the log that it still reads.
            if !at_rest && self.shard.drained(slot, self.now) {
                continue;
            }
            if full {
                return self.check_bounds(slot);
            }
            return self.written(slot);
        }
    }

    /// Everything is with the socket.
    fn written(&mut self, slot: Slot) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let line = &mut connection.endpoint;
        match line.socket.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                line.full = true;
                return;
            }
            Err(_) => return self.remove(slot, CloseReason::Lost),
        }
        match line.state {
            State::AwaitAuth | State::Open => {}
            State::Closing => {
                if line.garbled {
                    // Its good-bye would not be understood; the end of its input will be.
                    line.socket.finish();
                }
                self.reschedule(slot);
            }
            State::Farewell => {
                line.socket.finish();
                self.remove(slot, CloseReason::Normal);
            }
        }
    }

    /// A client that asks and does not read the answers is cut off like any other slow one.
    pub(super) fn check_bounds(&mut self, slot: Slot) {
        let bounds = &self.shard.settings().backpressure;
        let most = 2 * (bounds.high_water + bounds.queue_bytes);
        let Some(connection) = self.shard.get(slot) else { return };
        if connection.closing().is_some() {
            self.reschedule(slot);
        } else if connection.outbox.wire_bytes() > most {
            self.close(slot, CloseReason::SlowConsumer);
        }
    }
}
