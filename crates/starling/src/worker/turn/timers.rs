//! What happens because time passes.

use std::time::Duration;

use starling_core::{CloseReason, ErrorCode, Notice, Refusal};
use starling_hub::Slot;
use starling_proto::session::Beat;

use super::{State, Worker, tick, ticks};

/// How long a close may take: to get what waits to a slow client, and to hear its own good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker has a turn at least every second. One that had none for so long, in microseconds, stood still.
const STANDSTILL: u64 = 5_000_000;

impl Worker {
    pub(super) fn timers(&mut self) {
        if self.now.micros - self.swept >= STANDSTILL {
            // Nobody was asked meanwhile, nor heard: it was not the clients who were silent.
            self.resumed = tick(self.now);
        }
        let mut due = Vec::new();
        self.wheel.due(tick(self.now), &mut due);
        for (slot, scheduled) in due {
            let current = self.shard.get_mut(slot).filter(|connection| connection.endpoint.scheduled == scheduled);
            if let Some(connection) = current {
                connection.endpoint.scheduled = 0;
                self.look_at(slot);
                self.reschedule(slot);
            }
        }
        self.continue_drain();
        if self.now.micros - self.swept >= 1_000_000 {
            self.swept = self.now.micros;
            self.shard.tick(self.now);
        }
    }

    /// Does what is due for a connection.
    fn look_at(&mut self, slot: Slot) {
        let now = tick(self.now);
        let interval = ticks(self.live.heartbeat.interval);
        let timeout = ticks(self.live.heartbeat.timeout);
        let unix_ms = self.now.unix_ms;
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let line = &mut connection.endpoint;
        if line.keeps_client_waiting() {
            // It is not silent: nobody listened.
            line.heard = now;
            line.pinged = false;
        }
        let silence = now - line.heard.max(self.resumed);
        match line.state {
            State::Closing | State::Farewell if line.close_by != 0 && line.close_by <= now => {
                return self.remove(slot, CloseReason::Lost);
            }
            State::Closing | State::Farewell => return,
            State::AwaitAuth if line.deadline <= now => {
                let message = "no authentication in time";
                return self.end_with(slot, ErrorCode::AuthRequired, message, CloseReason::AuthRequired);
            }
            State::AwaitAuth | State::Open => {}
        }
        if let Some(desk) = &mut line.desk {
            desk.yield_when_due(now);
        }
        if line.expires_at != 0 && line.expires_at <= unix_ms {
            return self.end_with(slot, ErrorCode::TokenExpired, "the token has expired", CloseReason::TokenExpired);
        }
        // What was heard may have been heard at the end of its tick.
        let patience = line.patience(interval + timeout);
        if silence > patience {
            if line.is_mailbox() && line.beat() == Beat::Client && line.is_visited() {
                line.heard = now;
                return;
            }
            if line.beat() == Beat::Silence && !line.is_mailbox() {
                // A heartbeat of the protocol's own was not answered, which its close code says.
                return self.close(slot, CloseReason::HeartbeatTimeout);
            }
            // Nobody listens: a close frame is not worth waiting for.
            let reason = if line.is_mailbox() { CloseReason::Lost } else { CloseReason::HeartbeatTimeout };
            return self.remove(slot, reason);
        }
        let is_due = match line.beat() {
            Beat::Transport | Beat::Silence => silence >= interval && !line.pinged,
            Beat::Regular => now - line.beaten >= interval,
            Beat::Every(period) => now - line.beaten >= ticks(period),
            Beat::Client => false,
        };
        if is_due {
            line.pinged = true;
            line.beaten = now;
            let starling_hub::Connection { endpoint, outbox, .. } = connection;
            endpoint.heartbeat(outbox);
            self.shard.heartbeat_sent(slot);
            self.shard.touch_connection(slot);
        }
    }

    /// An error first, then the close.
    pub(super) fn end_with(&mut self, slot: Slot, code: ErrorCode, message: &'static str, reason: CloseReason) {
        self.shard.notify(slot, &Notice::Error { refusal: Refusal::new(code, message) });
        self.close(slot, reason);
    }

    /// Has the wheel hand the connection out when something is next due for it.
    pub(super) fn reschedule(&mut self, slot: Slot) {
        let now = tick(self.now);
        let interval = ticks(self.live.heartbeat.interval);
        let timeout = ticks(self.live.heartbeat.timeout);
        let unix_ms = self.now.unix_ms;
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let is_closing = connection.closing().is_some();
        let line = &mut connection.endpoint;
        let heard = line.heard.max(self.resumed);
        let lost = heard.saturating_add(line.patience(interval + timeout)).saturating_add(1);
        let mut next = match line.beat() {
            Beat::Transport | Beat::Silence if !line.pinged => heard + interval,
            Beat::Transport | Beat::Silence | Beat::Client => lost,
            Beat::Regular => lost.min(line.beaten + interval),
            Beat::Every(period) => lost.min(line.beaten + ticks(period)),
        };
        if is_closing {
            if line.close_by == 0 {
                line.close_by = now + ticks(CLOSE_TIMEOUT);
            }
            next = line.close_by;
        } else if line.state == State::AwaitAuth {
            next = next.min(line.deadline);
        }
        if line.expires_at != 0 && !is_closing {
            let left = Duration::from_millis(line.expires_at.saturating_sub(unix_ms));
            next = next.min(now + ticks(left));
        }
        if let Some(desk) = line.desk.as_ref().filter(|desk| desk.yields_at > 0) {
            next = next.min(desk.yields_at);
        }
        let next = next.max(now + 1);
        if line.scheduled == 0 || next < line.scheduled {
            line.scheduled = self.wheel.schedule(slot, next);
        }
    }
}
