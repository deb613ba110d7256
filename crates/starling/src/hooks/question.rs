//! The body of a question (section 9 of the contract).
//!
//! Written in one pass into the buffer that is sent: a payload is copied once, into the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use starling_core::{Caller, ChannelName, Payload, RawJson};

use super::HookEvent;

/// What the application is asked.
pub(super) struct Question<'a> {
    pub hook: HookEvent,
    pub caller: &'a Caller,
    pub channel: Option<&'a ChannelName>,
    pub event: Option<&'a str>,
    pub payload: Option<&'a Payload>,
    /// A JSON value that the client or its token says of itself.
    pub data: Option<&'a RawJson>,
}

impl Question<'_> {
    pub fn body(&self) -> Vec<u8> {
        let size =
            256 + self.payload.map_or(0, |payload| payload.len() * 4 / 3) + self.data.map_or(0, |d| d.bytes().len());
        let mut object = Object::with_capacity(size);
        object.text("type", self.hook.as_str());
        object.text("app", self.caller.app.as_str());
        object.text("connectionId", self.caller.connection.as_str());
        if let Some(user) = &self.caller.user {
            object.text("userId", user.as_str());
        }
        object.text("protocol", self.caller.protocol.0);
        if let Some(channel) = self.channel {
            object.text("channel", channel.as_str());
        }
        if let Some(event) = self.event {
            object.text("event", event);
        }
        if let Some(payload) = self.payload {
            object.payload(payload);
        }
        if let Some(data) = self.data {
            object.json("data", data);
        }
        object.finish()
    }
}

/// A JSON object that is being written.
pub(super) struct Object {
    out: Vec<u8>,
    is_empty: bool,
}

impl Object {
    pub fn with_capacity(bytes: usize) -> Self {
        Self::nested(Vec::with_capacity(bytes))
    }

    fn nested(mut out: Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.value(name, text);
    }

    pub fn number(&mut self, name: &str, number: u64) {
        self.value(name, &number);
    }

    pub fn json(&mut self, name: &str, json: &RawJson) {
        self.name(name);
        self.out.extend_from_slice(json.bytes());
    }

    /// A payload; bytes as base64, which `encoding` tells.
    pub fn payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Json(json) => self.json("payload", json),
            Payload::Binary(bytes) => {
                self.name("payload");
                self.out.push(b'"');
                let start = self.out.len();
                self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
                let written = STANDARD.encode_slice(bytes, &mut self.out[start..]);
                self.out.truncate(start + written.expect("the line above makes room for it"));
                self.out.push(b'"');
                self.text("encoding", "base64");
            }
        }
    }

    /// A list of objects, each written by a function.
    pub fn objects<F: FnOnce(&mut Object)>(&mut self, name: &str, entries: impl Iterator<Item = F>) {
        self.name(name);
        self.out.push(b'[');
        for (index, entry) in entries.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            // Written into the same buffer: an object that is nested begins like any other.
            let mut object = Object::nested(std::mem::take(&mut self.out));
            entry(&mut object);
            self.out = object.finish();
        }
        self.out.push(b']');
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn value(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        serde_json::to_writer(&mut self.out, value).expect("text and numbers always serialise, and a Vec takes them");
    }
}

#[cfg(test)]
mod tests {
    use starling_core::{AppId, ConnectionId, Protocol, UserId};

    use super::*;

    fn caller(user: Option<&str>) -> Caller {
        Caller {
            app: AppId::from("1"),
            connection: ConnectionId::from("c\"1"),
            user: user.map(UserId::from),
            info: None,
            protocol: Protocol("native"),
            query: None,
        }
    }

    fn body(question: &Question<'_>) -> String {
        String::from_utf8(question.body()).unwrap()
    }

    #[test]
    fn bodies_have_the_fields_that_the_contract_names() {
        let (ann, nobody) = (caller(Some("ann")), caller(None));
        let channel = ChannelName::parse("/chat#room").unwrap();
        let payload = Payload::Json(RawJson::from_valid("{\"n\":12345678901234567890.10}"));
        let connect = Question {
            hook: HookEvent::Connect,
            caller: &nobody,
            channel: None,
            event: None,
            payload: None,
            data: None,
        };
        assert_eq!(body(&connect), r#"{"type":"connect","app":"1","connectionId":"c\"1","protocol":"native"}"#);
        let publish = Question {
            hook: HookEvent::Publish,
            caller: &ann,
            channel: Some(&channel),
            event: Some("say"),
            payload: Some(&payload),
            data: None,
        };
        assert_eq!(
            body(&publish),
            r#"{"type":"publish","app":"1","connectionId":"c\"1","userId":"ann","protocol":"native","channel":"/chat#room","event":"say","payload":{"n":12345678901234567890.10}}"#
        );
        let bytes = Payload::Binary(b"\xffab".to_vec().into());
        let binary = Question { payload: Some(&bytes), ..publish };
        assert!(body(&binary).ends_with(r#""event":"say","payload":"/2Fi","encoding":"base64"}"#));
    }
}
