//! Sessions of Engine.IO without Socket.IO: the WebSocket that takes over from polling, and Engine.IO for its own sake.

use starling_core::{CloseReason, Form, Notice, Payload, RawJson, Refusal, Reply, Request, Tag};

use super::codes;
use super::engine::{self, Handshake};
use crate::json_text::write_text;
use crate::session::{Action, Beat, Closing, Opened, OwnedPacket, Packet, Session};
use crate::voices;

/// A WebSocket that is to take over a session: it probes, and then it takes over. Anything else closes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpgradeSession {
    probed: bool,
}

impl Session for UpgradeSession {
    fn open(&mut self, _opened: &Opened, _out: &mut Vec<Action>) {}

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>) {
        match packet {
            Packet::Text(engine::PROBE) => {
                self.probed = true;
                out.push(Action::Send(engine::text(engine::PROBED)));
                out.push(Action::Probe);
            }
            Packet::Text(engine::UPGRADE) if self.probed => out.push(Action::TakeOver),
            _ => out.push(Action::Close(self.closing(CloseReason::InvalidMessage))),
        }
    }

    fn refuse(&mut self, _packet: Packet<'_>, _refusal: &Refusal, _out: &mut Vec<Action>) {}

    fn answer(&mut self, _tag: &Tag, _reply: Reply, _out: &mut Vec<Action>) {}

    fn notify(&mut self, _notice: &Notice, _out: &mut Vec<Action>) {}

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        voices::SOCKETIO
    }
}

/// Engine.IO alone. What a client sends is the application's event `message`, text as a JSON string and bytes as they
/// are; what the application answers or emits, under any name, is sent in the same way.
#[derive(Debug)]
pub struct EngineSession {
    handshake: Option<Box<Handshake>>,
}

impl EngineSession {
    /// A session that opens with this.
    pub fn new(handshake: Handshake) -> Self {
        Self { handshake: Some(Box::new(handshake)) }
    }

    fn say(payload: &Payload, out: &mut Vec<Action>) {
        out.push(Action::Send(match payload {
            Payload::Binary(bytes) => OwnedPacket::Binary(bytes.clone()),
            Payload::Json(json) => {
                // Text that is no JSON string is said as the JSON that it is.
                let text = serde_json::from_str::<String>(json.as_str());
                let text = text.unwrap_or_else(|_| json.as_str().trim_start().to_owned());
                OwnedPacket::Text(format!("4{text}").into())
            }
        }));
    }
}

impl Session for EngineSession {
    fn greet(&mut self, out: &mut Vec<Action>) {
        if let Some(handshake) = self.handshake.take() {
            out.push(Action::Send(handshake.packet()));
        }
    }

    fn open(&mut self, _opened: &Opened, _out: &mut Vec<Action>) {}

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>) {
        let payload = match packet {
            Packet::Binary(bytes) => Payload::Binary(bytes.to_vec().into()),
            Packet::Text(engine::PONG | engine::NOOP) => return,
            Packet::Text(engine::CLOSE) => return out.push(Action::Close(self.closing(CloseReason::Normal))),
            Packet::Text(text) => match text.strip_prefix('4') {
                Some(text) => {
                    let mut json = Vec::with_capacity(text.len() + 2);
                    write_text(&mut json, text);
                    Payload::Json(RawJson::from_valid(json))
                }
                None => return out.push(Action::Close(self.closing(CloseReason::InvalidMessage))),
            },
        };
        let event = Request::Event { channel: None, event: "message".into(), payload, fallback: None };
        out.push(Action::Request(Tag::default(), event));
    }

    fn refuse(&mut self, _packet: Packet<'_>, _refusal: &Refusal, _out: &mut Vec<Action>) {}

    fn answer(&mut self, _tag: &Tag, reply: Reply, out: &mut Vec<Action>) {
        if let Reply::Event(Some(payload)) = reply {
            Self::say(&payload, out);
        }
    }

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        if let Notice::Event { payload, .. } = notice {
            Self::say(payload, out);
        }
    }

    fn beat(&self) -> Beat {
        Beat::Regular
    }

    fn heartbeat(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Send(engine::text(engine::PING)));
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        voices::SOCKETIO
    }
}
