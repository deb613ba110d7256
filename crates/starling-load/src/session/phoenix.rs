//! Phoenix Channels, serializer 2.0.0: `[join_ref, ref, topic, event, payload]`.

use std::{fmt::Write as _, sync::Arc};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Heard, Opening, Publish, Session, excerpt, path};
use crate::target::{Identity, in_query};

/// `join_ref` and `ref` of the join.
const JOIN: &str = "1";
/// What stands before the number of a request in its `ref`.
const REQUEST: &str = "r";

pub struct Phoenix {
    identity: Arc<Identity>,
    channel: Option<String>,
    joined: bool,
}

/// The payload of `phx_reply`.
#[derive(Deserialize)]
struct Reply<'a> {
    status: &'a str,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

impl Phoenix {
    pub fn new(identity: Arc<Identity>, channel: Option<String>) -> Self {
        Self { identity, channel, joined: false }
    }

    fn replied(&mut self, reference: &str, payload: &str) -> Heard {
        let Ok(reply) = serde_json::from_str::<Reply<'_>>(payload) else {
            return Heard::Problem(format!("not a reply: {}", excerpt(payload)));
        };
        let response = || excerpt(reply.response.map_or("", RawValue::get));
        match reply.status {
            "ok" if reference == JOIN => {
                self.joined = true;
                Heard::Joined
            }
            "ok" => reference.strip_prefix(REQUEST).and_then(|n| n.parse().ok()).map_or(Heard::Quiet, Heard::Answer),
            _ if reference == JOIN => Heard::Refused(format!("join refused: {}", response())),
            _ => Heard::Problem(format!("push refused: {}", response())),
        }
    }
}

impl Session for Phoenix {
    fn opening(&self) -> Opening {
        let own = || {
            let token = self.identity.token.as_ref().map(|token| format!("&token={}", in_query(token)));
            format!("/socket/websocket?vsn=2.0.0{}", token.unwrap_or_default())
        };
        Opening { path: path(&self.identity, self.channel.as_deref(), own), headers: String::new() }
    }

    fn open(&mut self, say: &mut Vec<String>) -> bool {
        match self.channel.take() {
            Some(channel) => say.push(json!([JOIN, JOIN, channel, "phx_join", {}]).to_string()),
            None => self.joined = true,
        }
        self.joined
    }

    fn hear(&mut self, text: &str, _: &mut Vec<String>) -> Heard {
        let frame: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let [_, reference, topic, event, payload, ..] = frame[..] else {
            return Heard::Problem(format!("not a message of Phoenix: {}", excerpt(text)));
        };
        let plain = |value: &RawValue| value.get().trim_matches('"').to_owned();
        match event.get() {
            r#""phx_reply""# => self.replied(&plain(reference), payload.get()),
            r#""phx_error""# | r#""phx_close""# if self.joined => {
                Heard::Problem(format!("{} of {}", plain(event), plain(topic)))
            }
            r#""phx_error""# | r#""phx_close""# => Heard::Refused(format!("{} of {}", plain(event), plain(topic))),
            r#""gap""# => Heard::Problem("gap: messages were dropped".to_owned()),
            _ => Heard::Quiet,
        }
    }

    fn is_answer(&self, text: &str) -> bool {
        text.contains(r#""phx_reply""#)
    }

    fn publish(&mut self, publish: Publish<'_>, out: &mut String) {
        let Publish { channel, text, request } = publish;
        let _ = match request {
            Some(request) => write!(out, r#"["{JOIN}","{REQUEST}{request}""#),
            None => write!(out, r#"["{JOIN}","p""#),
        };
        let _ = write!(out, r#","{channel}","{}",{{"b":"{text}"}}]"#, self.identity.event);
    }

    fn heartbeat(&mut self) -> Option<String> {
        Some(r#"[null,"h","phoenix","heartbeat",{}]"#.to_owned())
    }
}
