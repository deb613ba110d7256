//! From the socket to the hub.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use starling_core::{Backpressure, CloseReason, ErrorCode, Notice, Refusal, Reply, Request, Tag};
use starling_hub::{Connection, Slot};
use starling_proto::websocket::{self, CloseCode, Decoder, Event, Opcode, PeerError, Role};
use starling_proto::{Action, Closing, Packet};

use super::{Line, State, Worker, tick};

/// Reads from one socket in one turn; a client that sends more waits for the next.
const READS_PER_TURN: usize = 4;

/// Whether nothing more is to be looked at that a client sent: it must be answered first, or has not taken the answers
/// that it was given. It feels that as a socket that takes nothing more.
fn must_wait(connection: &Connection<Line>, bounds: &Backpressure) -> bool {
    let line = &connection.endpoint;
    let most = bounds.high_water + bounds.queue_bytes;
    connection.is_blocked() || line.verifying || (line.full && connection.outbox.wire_bytes() > most)
}

impl Worker {
    /// Reads what is there, until the socket has no more, a request must be waited for, or its turn is over.
    pub(super) fn read(&mut self, slot: Slot) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for round in 0.. {
            let Some(connection) = self.shard.get_mut(slot) else { break };
            if must_wait(connection, &self.live.backpressure) {
                connection.endpoint.held = true;
                break;
            }
            if !connection.endpoint.readable {
                break;
            }
            if round == READS_PER_TURN {
                self.hungry.push(slot);
                break;
            }
            match connection.endpoint.socket.read(&mut scratch) {
                Ok(0) => {
                    self.remove(slot, CloseReason::Lost);
                    break;
                }
                Ok(len) => {
                    let line = &mut connection.endpoint;
                    line.heard = tick(self.now);
                    line.pinged = false;
                    // Sockets tell again when more comes; a short read means that there is no more now. TLS may hold
                    // more than it gave, and an end of input is only seen by reading on.
                    if len < scratch.len() && !line.socket.has_read_ahead() && !line.ended {
                        line.readable = false;
                    }
                    // What a client says behind the request for its stream is not for us.
                    if !line.framing().is_stream() {
                        self.decode(slot, &mut scratch[..len]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.endpoint.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.remove(slot, CloseReason::Lost);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    pub(super) fn feed_hungry(&mut self) {
        for slot in std::mem::take(&mut self.hungry) {
            self.read(slot);
        }
    }

    /// Looks again at a connection that waited for an answer.
    pub(super) fn resume(&mut self, slot: Slot) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        if !connection.endpoint.held || must_wait(connection, &self.live.backpressure) {
            return;
        }
        connection.endpoint.held = false;
        self.follow_up(slot);
        let Some(connection) = self.shard.get_mut(slot) else { return };
        if must_wait(connection, &self.live.backpressure) {
            connection.endpoint.held = true;
            return;
        }
        connection.endpoint.held = false;
        if connection.endpoint.desk.is_some() {
            self.go_on_with_errands(slot);
        }
        let Some(connection) = self.shard.get_mut(slot).filter(|connection| !connection.endpoint.held) else { return };
        if !connection.endpoint.unread.is_empty() {
            let mut unread = std::mem::take(&mut connection.endpoint.unread);
            self.decode(slot, &mut unread);
        }
        self.read(slot);
    }

    /// Decodes bytes of a connection, and does what they ask for. What comes behind a request that must be waited for
    /// is kept for later.
    fn decode(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        // Taken out, because handling what it decodes needs the whole worker.
        let idle = Decoder::new(Role::Server, 0, None);
        let mut decoder = std::mem::replace(&mut connection.endpoint.decoder, idle);
        let mut inflater = std::mem::take(&mut self.inflater);
        let result = decoder.feed(bytes, &mut inflater, &mut |event| self.handle(slot, event));
        self.inflater = inflater;
        let Some(connection) = self.shard.get_mut(slot) else { return };
        connection.endpoint.decoder = decoder;
        match result {
            Ok(consumed) if consumed < bytes.len() => {
                connection.endpoint.unread = bytes[consumed..].to_vec();
                connection.endpoint.held = true;
            }
            Ok(_) => {}
            Err(error) => self.peer_failed(slot, &error),
        }
        if let Some(candidate) = self.taking_over.take() {
            self.take_over(candidate);
        }
    }

    fn handle(&mut self, slot: Slot, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Text(text) => self.packet(slot, Packet::Text(text)),
            Event::Binary(bytes) => self.packet(slot, Packet::Binary(bytes)),
            Event::Ping(payload) => self.pong(slot, payload),
            Event::Pong(_) => {}
            Event::Close(code, _) => self.peer_closes(slot, code),
        }
        match self.shard.get(slot) {
            _ if self.taking_over.is_some() => ControlFlow::Break(()),
            Some(connection) if !must_wait(connection, &self.live.backpressure) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn is_open(&self, slot: Slot) -> bool {
        self.shard
            .get(slot)
            .is_some_and(|connection| matches!(connection.endpoint.state, State::AwaitAuth | State::Open))
    }

    /// Pings count as messages: answering them costs as much.
    fn pong(&mut self, slot: Slot, payload: &[u8]) {
        if !self.is_open(slot) || !self.shard.admit_message(slot, self.now) {
            return;
        }
        if let Some(connection) = self.shard.get_mut(slot) {
            connection.outbox.push(websocket::frame(Opcode::Pong, payload));
            self.shard.touch_connection(slot);
        }
    }

    pub(super) fn packet(&mut self, slot: Slot, packet: Packet<'_>) {
        if !self.is_open(slot) {
            return;
        }
        let Some(connection) = self.shard.get_mut(slot) else { return };
        if connection.endpoint.is_metered(packet) && !self.shard.admit_message(slot, self.now) {
            return self.refuse(slot, packet);
        }
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        connection.endpoint.receive(packet, &mut actions);
        for action in actions.drain(..) {
            self.act(slot, action);
        }
        self.actions = actions;
        self.follow_up(slot);
    }

    fn act(&mut self, slot: Slot, action: Action) {
        match action {
            Action::Send(packet) => {
                if let Some(connection) = self.shard.get_mut(slot) {
                    connection.outbox.push(connection.endpoint.frame(&packet));
                    self.shard.touch_connection(slot);
                }
            }
            Action::Request(tag, request) => self.request(slot, tag, request),
            Action::Close(closing) => self.close_as(slot, closing),
            Action::Probe => self.probe(slot),
            Action::TakeOver => self.taking_over = Some(slot),
        }
    }

    /// Does what a session wants because of what it was answered, until another answer must be waited for.
    fn follow_up(&mut self, slot: Slot) {
        loop {
            let Some(connection) = self.shard.get_mut(slot) else { return };
            if must_wait(connection, &self.live.backpressure) {
                return;
            }
            let Some(action) = connection.endpoint.follow_ups.pop_front() else { return };
            self.act(slot, action);
        }
    }

    fn refuse(&mut self, slot: Slot, packet: Packet<'_>) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        if connection.closing().is_some() {
            return;
        }
        let refusal = Refusal::new(ErrorCode::RateLimited, "too many messages; slow down");
        connection.endpoint.refuse(packet, &refusal, &mut connection.outbox);
        self.shard.touch_connection(slot);
    }

    pub(super) fn request(&mut self, slot: Slot, tag: Tag, request: Request) {
        let Some(connection) = self.shard.get(slot) else { return };
        let awaits_auth = connection.endpoint.state == State::AwaitAuth;
        match request {
            Request::Authenticate { token } => self.authenticate(slot, tag, token),
            _ if awaits_auth => {
                let refusal = Refusal::new(ErrorCode::AuthRequired, "authenticate first");
                self.answer(slot, &tag, Reply::Refused { refusal, channel: None });
                self.close(slot, CloseReason::AuthRequired);
            }
            request => self.shard.request(slot, tag, request, self.now),
        }
    }

    pub(super) fn answer(&mut self, slot: Slot, tag: &Tag, reply: Reply) {
        if let Some(connection) = self.shard.get_mut(slot) {
            let starling_hub::Connection { endpoint, outbox, .. } = connection;
            starling_hub::Endpoint::answer(endpoint, tag, reply, outbox);
            self.shard.touch_connection(slot);
        }
    }

    /// Begins to close as the session wants it.
    pub(super) fn close_as(&mut self, slot: Slot, closing: Closing) {
        let reason = closing.reason;
        if let Some(connection) = self.shard.get_mut(slot) {
            connection.endpoint.close_as(closing);
        }
        self.close(slot, reason);
    }

    /// Begins to close, for a reason of ours.
    pub(super) fn close(&mut self, slot: Slot, reason: CloseReason) {
        self.shard.close(slot, reason, self.now);
    }

    /// The client said good-bye: it gets its own code back (RFC 6455 section 5.5.1), and that is all.
    fn peer_closes(&mut self, slot: Slot, code: Option<CloseCode>) {
        let Some(connection) = self.shard.get_mut(slot) else { return };
        let line = &mut connection.endpoint;
        let answered = line.state == State::Closing;
        line.state = State::Farewell;
        if !answered {
            let echo = match code {
                Some(code) => websocket::close_frame(code, ""),
                None => websocket::frame(Opcode::Close, &[]),
            };
            connection.outbox.push(echo);
            self.shard.close(slot, CloseReason::Normal, self.now);
        }
        self.shard.touch_connection(slot);
    }

    fn peer_failed(&mut self, slot: Slot, error: &PeerError) {
        let reason = match error.close_code() {
            CloseCode::INVALID_PAYLOAD => CloseReason::InvalidText,
            CloseCode::TOO_LARGE => CloseReason::TooLarge,
            _ => CloseReason::ProtocolError,
        };
        if reason == CloseReason::TooLarge {
            let message = format!("a message has at most {} bytes", self.live.max_payload);
            let refusal = Refusal::new(ErrorCode::PayloadTooLarge, message);
            self.shard.notify(slot, &Notice::Error { refusal });
        }
        tracing::debug!(%error, "a client violated the protocol");
        if let Some(connection) = self.shard.get_mut(slot) {
            connection.endpoint.garbled = true;
        }
        self.close(slot, reason);
    }
}
