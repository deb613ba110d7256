//! Long-polling: the native objects in the answers to requests. Section 7 of the contract.

use starling_core::{CloseReason, Form, Notice, Protocol, Refusal, Reply, Tag};

use super::{codes, compose, json};
use crate::session::{Action, Beat, Closing, Opened, OwnedPacket, Packet, Session};
use crate::voices;

/// The name of the protocol.
pub const POLL_PROTOCOL: Protocol = Protocol("poll");

/// One client's polls. What the client says comes as requests, whose answers do not go here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollSession;

impl Session for PollSession {
    fn open(&mut self, _: &Opened, _: &mut Vec<Action>) {}

    fn receive(&mut self, _: Packet<'_>, _: &mut Vec<Action>) {}

    fn refuse(&mut self, _: Packet<'_>, _: &Refusal, _: &mut Vec<Action>) {}

    fn answer(&mut self, _: &Tag, _: Reply, _: &mut Vec<Action>) {}

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        let mut object = Vec::new();
        compose::notice(&mut json::JsonWriter::new(&mut object), notice);
        out.push(Action::Send(OwnedPacket::Text(object.into())));
    }

    fn beat(&self) -> Beat {
        Beat::Client
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        voices::POLL
    }
}
