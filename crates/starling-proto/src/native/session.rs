//! The session of one native connection. It has no state but its encoding: membership and identity are the hub's.

use starling_core::{CloseReason, Form, Notice, Refusal, Reply, Tag};

use super::compose::{self, Writer};
use super::fields::Malformed;
use super::interpret::{self, Command, Interpreted};
use super::{Encoding, codes, json, msgpack};
use crate::session::{Action, Closing, Opened, OwnedPacket, Packet, Session};

/// What most answers fit into, in bytes.
const ANSWER_CAPACITY: usize = 128;

/// A native client's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeSession {
    encoding: Encoding,
}

impl NativeSession {
    /// A session in the encoding that was agreed upon.
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding }
    }

    fn send(self, out: &mut Vec<Action>, write: impl FnOnce(&mut dyn Writer)) {
        let mut bytes = Vec::with_capacity(ANSWER_CAPACITY);
        out.push(Action::Send(match self.encoding {
            Encoding::Json => {
                write(&mut json::JsonWriter::new(&mut bytes));
                OwnedPacket::Text(bytes.into())
            }
            Encoding::Msgpack => {
                write(&mut msgpack::MsgpackWriter::new(&mut bytes));
                OwnedPacket::Binary(bytes.into())
            }
        }));
    }

    fn parse(self, packet: Packet<'_>) -> Result<Interpreted, Malformed> {
        match (self.encoding, packet) {
            (Encoding::Json, Packet::Text(text)) => json::parse(text),
            (Encoding::Msgpack, Packet::Binary(bytes)) => msgpack::parse(bytes),
            (Encoding::Json, Packet::Binary(_)) | (Encoding::Msgpack, Packet::Text(_)) => Err(Malformed::FrameKind),
        }
    }

    /// The client's reference; empty when there is none that can be used.
    fn reference<'a>(self, packet: Packet<'a>) -> &'a [u8] {
        match (self.encoding, packet) {
            (Encoding::Json, Packet::Text(text)) => {
                json::fields(text).ok().and_then(|fields| interpret::id(&fields).ok())
            }
            (Encoding::Msgpack, Packet::Binary(bytes)) => {
                msgpack::fields(bytes).ok().and_then(|fields| interpret::id(&fields).ok())
            }
            (Encoding::Json, Packet::Binary(_)) | (Encoding::Msgpack, Packet::Text(_)) => None,
        }
        .unwrap_or_default()
    }
}

impl Session for NativeSession {
    fn open(&mut self, opened: &Opened, out: &mut Vec<Action>) {
        if opened.authenticated {
            self.send(out, |w| {
                compose::authenticated(w, &[], opened.user.as_ref(), &opened.connection, opened.expires_at);
            });
        }
    }

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>) {
        match self.parse(packet) {
            Ok(Interpreted { tag, outcome: Ok(Command::Request(request)), .. }) => {
                out.push(Action::Request(tag, request))
            }
            Ok(Interpreted { tag, outcome: Ok(Command::Ping), .. }) => self.send(out, |w| compose::pong(w, &tag.0)),
            Ok(Interpreted { tag, outcome: Err(refusal), channel }) => {
                self.send(out, |w| compose::error(w, &tag.0, &refusal, channel.as_ref()));
            }
            Err(malformed) => {
                self.send(out, |w| compose::error(w, &[], &malformed.into(), None));
                if malformed.is_fatal() {
                    out.push(Action::Close(self.closing(CloseReason::InvalidMessage)));
                }
            }
        }
    }

    fn refuse(&mut self, packet: Packet<'_>, refusal: &Refusal, out: &mut Vec<Action>) {
        let id = self.reference(packet);
        self.send(out, |w| compose::error(w, id, refusal, None));
    }

    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Vec<Action>) {
        let is_awaited = !tag.0.is_empty() || matches!(reply, Reply::Authenticated { .. } | Reply::Refused { .. });
        if is_awaited {
            self.send(out, |w| compose::reply(w, &tag.0, &reply));
        }
    }

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        self.send(out, |w| compose::notice(w, notice));
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        self.encoding.form()
    }
}
