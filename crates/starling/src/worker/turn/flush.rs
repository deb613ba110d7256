//! From the outbox to the socket.

use std::io::{ErrorKind, IoSlice};

use starling_core::CloseReason;
use starling_hub::Slot;

use super::{State, Worker};

/// Frames given to the socket in one write.
const SLICES: usize = 64;

impl Worker {
    /// Writes what waits for a connection, until its socket is full or nothing waits.
    pub(super) fn flush(&mut self, slot: Slot) {
        loop {
            let Some(connection) = self.shard.get_mut(slot) else { return };
            if connection.endpoint.full {
                return self.check_bounds(slot);
            }
            let line = &mut connection.endpoint;
            let written = match connection.outbox.only() {
                Some(frame) => line.socket.write(frame),
                None if connection.outbox.wire_bytes() == 0 => break,
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let count = connection.outbox.slices(&mut slices);
                    line.socket.write_vectored(&slices[..count])
                }
            };
            match written {
                Ok(written) => connection.outbox.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.endpoint.full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.remove(slot, CloseReason::Lost),
            }
            if !connection.is_at_rest() {
                self.shard.drained(slot, self.now);
            }
        }
        self.written(slot);
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
            State::Closing => self.reschedule(slot),
            State::Farewell => {
                line.socket.finish();
                self.remove(slot, CloseReason::Normal);
            }
        }
    }

    /// A client that asks and does not read the answers is cut off like any other slow one.
    fn check_bounds(&mut self, slot: Slot) {
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
