//! Starling's own protocol, in JSON.

use std::{fmt::Write as _, sync::Arc};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Heard, Opening, Publish, Session, bearer, excerpt, path};
use crate::target::Identity;

/// The `id` of the subscription; publishes have theirs.
const JOIN: &str = "join";

pub struct Native {
    identity: Arc<Identity>,
    channel: Option<String>,
    joined: bool,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    code: &'a str,
    #[serde(default)]
    message: String,
}

impl Native {
    pub fn new(identity: Arc<Identity>, channel: Option<String>) -> Self {
        Self { identity, channel, joined: false }
    }
}

impl Session for Native {
    fn opening(&self) -> Opening {
        let path = path(&self.identity, self.channel.as_deref(), || "/ws".to_owned());
        Opening { path, headers: bearer(&self.identity) }
    }

    fn open(&mut self, say: &mut Vec<String>) -> bool {
        if let Some(channel) = self.channel.take() {
            say.push(format!(r#"{{"type":"subscribe","channel":{},"id":"{JOIN}"}}"#, json!(channel)));
            return false;
        }
        self.joined = true;
        true
    }

    fn hear(&mut self, text: &str, _: &mut Vec<String>) -> Heard {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            return Heard::Problem(format!("not a message of the native protocol: {}", excerpt(text)));
        };
        let refusal = || format!("{}: {}", frame.code, frame.message);
        match frame.kind {
            "ack" if frame.id == JOIN => {
                self.joined = true;
                Heard::Joined
            }
            "ack" => frame.id.as_u64().map_or(Heard::Quiet, Heard::Answer),
            "error" if self.joined => Heard::Problem(refusal()),
            "error" => Heard::Refused(refusal()),
            "gap" => Heard::Problem("gap: messages were dropped because the client is too slow".to_owned()),
            "unsubscribed" => Heard::Problem(format!("unsubscribed: {}", refusal())),
            "drain" => Heard::Problem("the server is about to restart (drain)".to_owned()),
            _ => Heard::Quiet,
        }
    }

    fn publish(&mut self, publish: Publish<'_>, out: &mut String) {
        let Publish { channel, text, request } = publish;
        let _ = write!(out, r#"{{"type":"publish","channel":"{channel}","#);
        if self.identity.event != "message" {
            let _ = write!(out, r#""event":"{}","#, self.identity.event);
        }
        let _ = write!(out, r#""payload":"{text}""#);
        if let Some(request) = request {
            let _ = write!(out, r#","id":{request}"#);
        }
        out.push('}');
    }
}
