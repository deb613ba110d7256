//! Socket.IO 5 in Engine.IO 4, over WebSocket alone.
//!
//! Joining a room and publishing to it are an application's own business in Socket.IO. The events used are those of
//! Starling's contract: `subscribe(channel, ack)` and `publish(channel, event, payload, ack?)`; `docs/bench.md` has a
//! Node server that understands them.

use std::{fmt::Write as _, sync::Arc};

use serde_json::json;

use super::{Heard, Opening, Publish, Session, excerpt, path};
use crate::target::Identity;

/// The number of the ack for the subscription; those of publishes follow.
const JOIN: u64 = 0;

pub struct SocketIo {
    identity: Arc<Identity>,
    channel: Option<String>,
    joined: bool,
}

impl SocketIo {
    pub fn new(identity: Arc<Identity>, channel: Option<String>) -> Self {
        Self { identity, channel, joined: false }
    }

    fn connected(&mut self, say: &mut Vec<String>) -> Heard {
        if let Some(channel) = self.channel.take() {
            say.push(format!("42{JOIN}{}", json!(["subscribe", channel])));
            return Heard::Quiet;
        }
        self.joined = true;
        Heard::Joined
    }

    fn acked(&mut self, packet: &str) -> Heard {
        let digits = packet.find('[').unwrap_or(packet.len());
        let (number, arguments) = packet.split_at(digits);
        let refused = arguments.contains(r#""ok":false"#) || arguments.contains(r#""error":"#);
        match number.parse() {
            Ok(JOIN) if refused => Heard::Refused(excerpt(arguments)),
            Ok(JOIN) => {
                self.joined = true;
                Heard::Joined
            }
            Ok(_) if refused => Heard::Problem(format!("publish refused: {}", excerpt(arguments))),
            Ok(number) => Heard::Answer(number),
            Err(_) => Heard::Problem(format!("ack without a number: {}", excerpt(packet))),
        }
    }
}

impl Session for SocketIo {
    fn opening(&self) -> Opening {
        let own = || "/socket.io/?EIO=4&transport=websocket".to_owned();
        Opening { path: path(&self.identity, self.channel.as_deref(), own), headers: String::new() }
    }

    fn hear(&mut self, text: &str, say: &mut Vec<String>) -> Heard {
        match text.as_bytes() {
            [b'0', ..] => {
                let auth = self.identity.token.as_ref().map(|token| json!({ "token": token }).to_string());
                say.push(format!("40{}", auth.unwrap_or_default()));
                Heard::Quiet
            }
            [b'2', ..] => {
                say.push(format!("3{}", &text[1..]));
                Heard::Quiet
            }
            [b'4', b'0', ..] => self.connected(say),
            [b'4', b'3', ..] => self.acked(&text[2..]),
            [b'4', b'4', ..] => Heard::Refused(format!("connect_error: {}", excerpt(&text[2..]))),
            [b'1', ..] | [b'4', b'1', ..] => Heard::Refused("the server disconnected the client".to_owned()),
            [b'4', b'2', ..] if text[2..].starts_with(r#"["unsubscribed""#) => {
                Heard::Problem(format!("unsubscribed: {}", excerpt(&text[2..])))
            }
            [b'4', b'2', ..] if text[2..].starts_with(r#"["gap""#) => {
                Heard::Problem("gap: messages were dropped".to_owned())
            }
            [b'3' | b'6', ..] | [b'4', b'2' | b'5' | b'6', ..] => Heard::Quiet,
            _ => Heard::Problem(format!("not a packet of Socket.IO: {}", excerpt(text))),
        }
    }

    fn is_answer(&self, text: &str) -> bool {
        text.starts_with("43")
    }

    fn publish(&mut self, publish: Publish<'_>, out: &mut String) {
        out.push_str("42");
        if let Some(request) = publish.request {
            let _ = write!(out, "{request}");
        }
        let _ = write!(out, r#"["publish","{}","{}","{}"]"#, publish.channel, self.identity.event, publish.text);
    }
}
