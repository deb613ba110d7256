//! Values to JSON text, by concatenation.

use starling_core::{Message, Payload, RawJson};

use crate::json_text::{base64_len, write_base64, write_number, write_text};
use crate::native::compose::Writer;

/// Appends values of JSON to a buffer, with the commas between them.
pub(in crate::native) struct JsonWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Whether something stands before the next member or element.
    follows: bool,
}

impl<'a> JsonWriter<'a> {
    pub(in crate::native) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, follows: false }
    }

    /// Begins a value: with a comma, if it is a further element.
    fn value(&mut self) -> &mut Vec<u8> {
        if self.follows {
            self.out.push(b',');
        }
        self.follows = true;
        self.out
    }

    fn end(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.follows = true;
    }
}

impl Writer for JsonWriter<'_> {
    fn begin_object(&mut self, _members: usize) {
        self.value().push(b'{');
        self.follows = false;
    }

    fn end_object(&mut self) {
        self.end(b'}');
    }

    fn begin_array(&mut self, _elements: usize) {
        self.value().push(b'[');
        self.follows = false;
    }

    fn end_array(&mut self) {
        self.end(b']');
    }

    fn name(&mut self, name: &'static str) {
        let out = self.value();
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        self.follows = false;
    }

    fn text(&mut self, text: &str) {
        write_text(self.value(), text);
    }

    fn number(&mut self, number: u64) {
        write_number(self.value(), number);
    }

    fn boolean(&mut self, value: bool) {
        self.value().extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn null(&mut self) {
        self.value().extend_from_slice(b"null");
    }

    fn json(&mut self, json: &RawJson) {
        self.value().extend_from_slice(json.bytes());
    }

    fn written(&mut self, bytes: &[u8]) {
        self.value().extend_from_slice(bytes);
    }

    fn payload(&mut self, payload: &Payload) {
        self.name("payload");
        match payload {
            Payload::Json(json) => self.json(json),
            Payload::Binary(bytes) => {
                write_base64(self.value(), bytes);
                self.name("encoding");
                self.text("base64");
            }
        }
    }
}

/// The length of a `message` object in which nothing must be escaped.
pub(super) fn message_len(message: &Message) -> usize {
    let payload = match &message.payload {
        Payload::Json(json) => json.bytes().len(),
        Payload::Binary(bytes) => base64_len(bytes.len()) + r#""","encoding":"base64""#.len(),
    };
    let user = message.user.as_ref().map_or(0, |user| r#","userId":"""#.len() + user.as_str().len());
    let position = message.position.as_ref().map_or(0, |position| {
        r#","offset":,"epoch":"""#.len() + number_len(position.offset) + position.epoch.as_str().len()
    });
    r#"{"type":"message","channel":"","event":"","payload":,"id":"","ts":}"#.len()
        + message.channel.as_str().len()
        + message.event.len()
        + payload
        + message.id.as_str().len()
        + number_len(message.ts)
        + user
        + position
}

fn number_len(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use starling_core::{AppId, ChannelName, Epoch, MessageId, Position, UserId};

    use super::*;
    use crate::native::compose;

    #[test]
    fn the_length_of_a_message_is_foretold() {
        for payload in [Payload::Json(RawJson::null()), Payload::Binary((&b"1234"[..]).into())] {
            for (ts, offset) in [(0, 1), (9, 10), (10, 99), (u64::MAX, u64::MAX)] {
                let mut message = Message {
                    app: AppId::from("1"),
                    channel: ChannelName::parse("room:1").unwrap(),
                    id: MessageId::from("m1"),
                    event: Arc::from("move"),
                    payload: payload.clone(),
                    user: None,
                    ts,
                    position: None,
                    key: None,
                    exclude: None,
                };
                assert_eq!(written(&message), message_len(&message), "{message:?}");
                message.user = Some(UserId::from("7"));
                message.position = Some(Position { epoch: Epoch::from("e"), offset });
                assert_eq!(written(&message), message_len(&message), "{message:?}");
            }
        }
    }

    fn written(message: &Message) -> usize {
        let mut out = Vec::new();
        compose::message(&mut JsonWriter::new(&mut out), message);
        out.len()
    }
}
