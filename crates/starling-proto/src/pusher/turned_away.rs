//! What a client hears that gets no session: why, and whether it may come back.

use starling_core::{CloseReason, Form, Notice, Refusal, Reply, Tag};

use super::wire;
use crate::session::{Action, Closing, Opened, Packet, Session};
use crate::websocket::CloseCode;

/// Says one error, and closes with its code: clients of Pusher learn from the code whether to come back, which they
/// could not from an HTTP status.
#[derive(Debug)]
pub struct TurnedAway {
    code: u16,
    message: String,
}

impl TurnedAway {
    /// Turns a client away with a code of [`super::codes`].
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Session for TurnedAway {
    fn open(&mut self, _opened: &Opened, out: &mut Vec<Action>) {
        out.push(Action::Send(wire::error(Some(self.code), &self.message, None)));
        out.push(Action::Close(self.closing(CloseReason::Forbidden)));
    }

    fn receive(&mut self, _packet: Packet<'_>, _out: &mut Vec<Action>) {}

    fn refuse(&mut self, _packet: Packet<'_>, _refusal: &Refusal, _out: &mut Vec<Action>) {}

    fn answer(&mut self, _tag: &Tag, _reply: Reply, _out: &mut Vec<Action>) {}

    fn notify(&mut self, _notice: &Notice, _out: &mut Vec<Action>) {}

    fn closing(&self, reason: CloseReason) -> Closing {
        Closing { reason, code: CloseCode(self.code), text: super::close_text(&self.message) }
    }

    fn form(&self) -> Form {
        crate::voices::PUSHER
    }
}
