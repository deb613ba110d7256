//! One connection as its worker holds it: transport, frames, session.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use bytes::Bytes;
use starling_core::{ChannelName, CloseReason, Form, Notice, Position, Refusal, Reply, Tag};
use starling_hub::{Endpoint, Outbox};
use starling_proto::native::Cursor;
use starling_proto::session::Beat;
use starling_proto::voices;
use starling_proto::websocket::{self, Decoder, Opcode};
use starling_proto::{Action, Closing, Opened, OwnedPacket, Packet, Session};

use super::desk::Desk;
use super::encoder::{Framing, frame, voice_in};
use super::socket::Socket;
use super::stamper::Stamper;
use crate::gate::Permit;

/// Frames given to the socket in one write.
const SLICES: usize = 64;

/// A connection's transport and protocol.
///
/// In this order in memory: what a delivery touches comes first and stays together.
#[repr(C)]
pub(crate) struct Line {
    pub socket: Socket,
    /// Whether the socket took less than it was given.
    pub full: bool,
    pub state: State,
    /// Whether its input was left lying because a request must be answered first.
    pub held: bool,
    /// Whether the socket may have more to read than was read.
    pub readable: bool,
    /// Whether the client's side of the socket ended, which only reading on tells.
    pub ended: bool,
    /// Whether a heartbeat is unanswered.
    pub pinged: bool,
    /// Whether the client violated the framing, so that its good-bye cannot be heard.
    pub garbled: bool,
    /// Whether its credentials are being looked at, and nothing else meanwhile.
    pub verifying: bool,
    /// Whether the application knows nothing of it.
    pub is_guest: bool,
    form: Form,
    /// When it may be looked at again, as the wheel knows it; 0: not scheduled.
    pub scheduled: u32,
    /// When something was last heard, in ticks.
    pub heard: u32,
    /// When the last heartbeat was sent, in ticks.
    pub beaten: u32,
    /// When the connection must be authenticated, or closed, in ticks; 0: not bound to.
    pub deadline: u32,
    /// When it is cut off because its close took too long, in ticks; 0: it is not closing.
    pub close_by: u32,
    /// When its token expires, in Unix milliseconds; 0: never.
    pub expires_at: u64,
    pub decoder: Decoder,
    /// Completes the events of a stream of several channels.
    pub stamper: Option<Box<Stamper>>,
    session: Box<dyn Session + Send>,
    /// What a connection has whose client also sends requests; see [`Desk`].
    pub desk: Option<Box<Desk>>,
    /// How the session itself wanted to close, where that says more than the reason.
    closing_as: Option<Box<Closing>>,
    /// What the session wants because of an answer, and was not done yet.
    pub follow_ups: VecDeque<Action>,
    /// Bytes that were read and not looked at, because a request must be answered first.
    pub unread: Vec<u8>,
    _permit: Permit,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It must say who it is before anything else.
    AwaitAuth,
    /// It is in.
    Open,
    /// The good-bye is in the outbox; the client's is awaited.
    Closing,
    /// The client said good-bye, or its side of the socket ended: what is in the outbox is written, and that is all.
    Farewell,
}

/// What a new line is made of.
pub(crate) struct NewLine {
    pub socket: Socket,
    pub decoder: Decoder,
    pub session: Box<dyn Session + Send>,
    /// What it gets what members get alike in: the session's form in its transport's framing.
    pub form: Form,
    pub desk: Option<Box<Desk>>,
    pub permit: Permit,
    pub state: State,
    pub now: u32,
}

impl Line {
    pub fn new(new: NewLine) -> Self {
        Self {
            socket: new.socket,
            decoder: new.decoder,
            unread: Vec::new(),
            follow_ups: VecDeque::new(),
            stamper: None,
            scheduled: 0,
            heard: new.now,
            beaten: new.now,
            deadline: 0,
            close_by: 0,
            expires_at: 0,
            state: new.state,
            pinged: false,
            garbled: false,
            held: false,
            readable: false,
            ended: false,
            full: false,
            verifying: false,
            is_guest: false,
            session: new.session,
            form: new.form,
            desk: new.desk,
            closing_as: None,
            _permit: new.permit,
        }
    }

    /// Writes what comes before everything else.
    pub fn greet(&mut self, out: &mut Outbox) {
        let mut actions = Vec::new();
        self.session.greet(&mut actions);
        self.write_all(actions, out);
    }

    /// Whether it lives on when the first thing that it wanted was refused.
    pub fn outlives_refusal(&self) -> bool {
        self.session.outlives_refusal()
    }

    /// Lets the session say its first words. Returns how it closes, where it turns its client away.
    pub fn open(&mut self, opened: &Opened, out: &mut Outbox) -> Option<Closing> {
        let mut actions = Vec::new();
        self.session.open(opened, &mut actions);
        let closing = match actions.pop() {
            Some(Action::Close(closing)) => Some(closing),
            last => {
                actions.extend(last);
                None
            }
        };
        self.write_all(actions, out);
        closing
    }

    pub fn framing(&self) -> Framing {
        Framing::of(self.form)
    }

    /// Changes the framing, and returns the form that goes with it.
    pub fn reframe(&mut self, framing: Framing) -> Form {
        self.form = framing.form(self.session.form());
        self.form
    }

    /// Whether requests fetch what there is, instead of a socket taking it.
    pub fn is_mailbox(&self) -> bool {
        self.socket.is_absent()
    }

    /// How the connection is closed for `reason`.
    pub fn closing(&mut self, reason: CloseReason) -> Closing {
        match self.closing_as.take() {
            Some(closing) => *closing,
            None => self.session.closing(reason),
        }
    }

    /// Has the next close say this.
    pub fn close_as(&mut self, closing: Closing) {
        self.closing_as = Some(Box::new(closing));
    }

    /// Gives what waits to the socket, until it is full or nothing waits.
    pub fn send(&mut self, out: &mut Outbox) -> io::Result<()> {
        if self.socket.is_absent() {
            return Ok(());
        }
        if self.stamper.is_some() {
            return self.send_stamped(out);
        }
        while !self.full && out.wire_bytes() > 0 {
            let written = match out.only() {
                Some(frame) => self.socket.write(frame),
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let count = out.slices(&mut slices);
                    self.socket.write_vectored(&slices[..count])
                }
            };
            match written {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Like `send`, for a stream whose events are completed on their way.
    fn send_stamped(&mut self, out: &mut Outbox) -> io::Result<()> {
        while !self.full {
            let Some(stamper) = &mut self.stamper else { return Ok(()) };
            if !stamper.fill(out) {
                return Ok(());
            }
            match self.socket.write(stamper.waiting()) {
                Ok(written) => stamper.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether nothing but the outbox is between it and its next message: neither TLS nor a good-bye.
    pub fn is_plainly_open(&self) -> bool {
        self.state == State::Open && matches!(self.socket, Socket::Plain(_)) && self.stamper.is_none()
    }

    /// Hands a packet to the session; what must be done is appended to `actions`.
    pub fn receive(&mut self, packet: Packet<'_>, actions: &mut Vec<Action>) {
        self.session.receive(packet, actions);
    }

    /// A packet as this transport carries it.
    pub fn frame(&self, packet: &OwnedPacket) -> Bytes {
        frame(Framing::of(self.form), packet)
    }

    /// Writes what a session answers or tells. What else it wants because of that is done when the connection is looked
    /// at again.
    fn write_all(&mut self, actions: Vec<Action>, out: &mut Outbox) {
        for action in actions {
            match action {
                Action::Send(packet) => out.push(self.frame(&packet)),
                Action::Request(..) | Action::Close(_) | Action::Probe | Action::TakeOver => {
                    self.follow_ups.push_back(action);
                    self.held = true;
                }
            }
        }
    }

    /// Whether somebody waits for what there is.
    pub fn is_visited(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.is_visited())
    }

    /// For how many ticks of silence the client counts as there, where it is `usual` to speak.
    pub fn patience(&self, usual: u32) -> u32 {
        match (&self.desk, self.beat()) {
            (Some(desk), Beat::Client | Beat::Every(_)) if self.is_mailbox() => desk.patience(),
            (_, Beat::Every(_)) => u32::MAX / 4,
            _ => usual,
        }
    }

    /// Whether a packet counts as a message, of which there may be too many.
    pub fn is_metered(&mut self, packet: Packet<'_>) -> bool {
        self.session.is_metered(packet)
    }

    /// See [`starling_proto::Session::ends_apart`].
    pub fn ends_apart(&self) -> bool {
        self.session.ends_apart()
    }

    /// Whether something of the client is not looked at because we have not answered what it asked before.
    pub fn keeps_client_waiting(&self) -> bool {
        self.held && !self.full && (self.readable || !self.unread.is_empty())
    }

    pub fn beat(&self) -> Beat {
        self.session.beat()
    }

    pub fn heartbeat(&mut self, out: &mut Outbox) {
        if self.session.beat() == Beat::Transport {
            return out.push(websocket::frame(Opcode::Ping, &[]));
        }
        let mut actions = Vec::new();
        self.session.heartbeat(&mut actions);
        self.write_all(actions, out);
    }

    pub fn refuse(&mut self, packet: Packet<'_>, refusal: &Refusal, out: &mut Outbox) {
        let mut actions = Vec::new();
        self.session.refuse(packet, refusal, &mut actions);
        self.write_all(actions, out);
    }
}

impl Endpoint for Line {
    fn form(&self) -> Form {
        self.form
    }

    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Outbox) {
        let reply = match &mut self.desk {
            Some(desk) => desk.answered(tag, reply),
            None => Some(reply),
        };
        let Some(reply) = reply else { return };
        let mut actions = Vec::new();
        self.session.answer(tag, reply, &mut actions);
        self.write_all(actions, out);
    }

    fn notify(&mut self, notice: &Notice, out: &mut Outbox) {
        let mut actions = Vec::new();
        self.session.notify(notice, &mut actions);
        self.write_all(actions, out);
    }

    fn forgives(&self) -> bool {
        self.session.forgives()
    }

    fn write(&mut self, out: &mut Outbox) -> bool {
        if self.socket.is_absent() {
            return false;
        }
        // What is wrong with the socket is found again, and dealt with, when the turn's writes are done.
        let _ = self.send(out);
        true
    }

    fn answers_last(&self) -> bool {
        self.session.answers_last()
    }

    fn widen(&mut self, members: &[(ChannelName, Option<Position>)], out: &mut Outbox) -> Option<Form> {
        let voice = match voice_in(self.form) {
            voices::STREAM => voices::STREAM_OPEN,
            voices::STREAM_NAMED => voices::STREAM_NAMED_OPEN,
            _ => return None,
        };
        let mut cursor = Cursor::default();
        for (channel, position) in members {
            if let Some(position) = position {
                cursor.set(channel.as_str(), position.epoch.as_str(), position.offset);
            }
        }
        out.rewrite(&mut |frame| Stamper::complete(&frame));
        self.stamper = Some(Box::new(Stamper::new(cursor, self.framing() == Framing::Zipped)));
        self.form = Framing::Stream.form(voice);
        Some(self.form)
    }

    fn close(&mut self, reason: CloseReason, out: &mut Outbox) {
        if matches!(self.state, State::AwaitAuth | State::Open) {
            let mut actions = Vec::new();
            self.session.farewell(reason, &mut actions);
            self.write_all(actions, out);
            let closing = self.closing(reason);
            self.state = State::Closing;
            if self.is_mailbox() {
                if let Some(desk) = &mut self.desk {
                    desk.closing = Some(closing);
                }
            } else if self.framing().is_stream() {
                // A stream has no good-bye that could be answered.
                self.state = State::Farewell;
            } else {
                out.push(websocket::close_frame(closing.code, &closing.text));
            }
        }
    }
}
