//! Pusher Channels, protocol 7.

use std::{fmt::Write as _, sync::Arc};

use serde::Deserialize;
use serde_json::{json, value::RawValue};
use starling_proto::pusher::sign;

use super::{Heard, Opening, Publish, Session, excerpt, path};
use crate::target::Identity;

/// What names of channels begin with whose members need the app's signature.
const SIGNED: [&str; 2] = ["private-", "presence-"];

pub struct Pusher {
    identity: Arc<Identity>,
    channel: Option<String>,
    joined: bool,
    /// The request that the next `pusher:pong` answers.
    request: u64,
}

#[derive(Deserialize)]
struct Frame<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Established {
    socket_id: String,
}

impl Pusher {
    pub fn new(identity: Arc<Identity>, channel: Option<String>) -> Self {
        Self { identity, channel, joined: false, request: 0 }
    }

    fn established(&mut self, data: &str, say: &mut Vec<String>) -> Heard {
        let Some(channel) = self.channel.take() else {
            self.joined = true;
            return Heard::Joined;
        };
        // A string that holds JSON; some servers send the object itself.
        let inner = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
        let Ok(Established { socket_id }) = serde_json::from_str(&inner) else {
            return Heard::Refused(format!("connection_established without a socket_id: {}", excerpt(data)));
        };
        let mut subscription = json!({ "channel": channel });
        if SIGNED.iter().any(|prefix| channel.starts_with(prefix)) {
            let Some(app) = &self.identity.app else {
                return Heard::Refused(format!("{channel} needs the app's secret"));
            };
            let mut signed = format!("{socket_id}:{channel}");
            if channel.starts_with("presence-") {
                let member = json!({ "user_id": socket_id }).to_string();
                let _ = write!(signed, ":{member}");
                subscription["channel_data"] = member.into();
            }
            subscription["auth"] = format!("{}:{}", app.key, sign(&app.secret, signed.as_bytes())).into();
        }
        say.push(json!({"event": "pusher:subscribe", "data": subscription}).to_string());
        Heard::Quiet
    }
}

impl Session for Pusher {
    fn opening(&self) -> Opening {
        let own = || {
            let key = self.identity.app.as_ref().map_or("", |app| app.key.as_str());
            format!("/app/{key}?protocol=7&client=starling-bench&version={}", env!("CARGO_PKG_VERSION"))
        };
        Opening { path: path(&self.identity, self.channel.as_deref(), own), headers: String::new() }
    }

    fn hear(&mut self, text: &str, say: &mut Vec<String>) -> Heard {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            return Heard::Problem(format!("not an event of Pusher: {}", excerpt(text)));
        };
        let data = frame.data.map_or("", RawValue::get);
        match frame.event {
            "pusher:connection_established" => self.established(data, say),
            "pusher_internal:subscription_succeeded" => {
                self.joined = true;
                Heard::Joined
            }
            "pusher:ping" => {
                say.push(r#"{"event":"pusher:pong","data":{}}"#.to_owned());
                Heard::Quiet
            }
            "pusher:pong" if self.request > 0 => Heard::Answer(std::mem::take(&mut self.request)),
            event @ ("pusher:error" | "pusher:subscription_error") if self.joined => {
                Heard::Problem(format!("{event}: {}", excerpt(data)))
            }
            event @ ("pusher:error" | "pusher:subscription_error") => {
                Heard::Refused(format!("{event}: {}", excerpt(data)))
            }
            _ => Heard::Quiet,
        }
    }

    /// A client event; with a request, a ping: client events are not answered.
    fn publish(&mut self, publish: Publish<'_>, out: &mut String) {
        if let Some(request) = publish.request {
            self.request = request;
            out.push_str(r#"{"event":"pusher:ping","data":{}}"#);
            return;
        }
        let (channel, text, event) = (publish.channel, publish.text, &self.identity.event);
        let prefix = if event.starts_with("client-") { "" } else { "client-" };
        let _ = write!(out, r#"{{"event":"{prefix}{event}","channel":"{channel}","data":{{"b":"{text}"}}}}"#);
    }

    fn heartbeat(&mut self) -> Option<String> {
        Some(r#"{"event":"pusher:ping","data":{}}"#.to_owned())
    }
}
