//! The few messages of the native protocol that the scenarios use, as text, and the payload that carries the proof
//! of order.
//!
//! A payload is a JSON string of a chosen length: the number of the publish in the whole run (which tells when it was
//! sent), the number of the publish in its channel (which tells what is lost, repeated or out of order), and padding.

use std::fmt::Write as _;

/// Digits of the number of a publish in the run.
const RUN_DIGITS: usize = 10;
/// Digits of the number of a publish in its channel.
const CHANNEL_DIGITS: usize = 8;
/// The shortest payload in bytes, quotes included, that has room for both numbers.
pub const SHORTEST_PAYLOAD: usize = RUN_DIGITS + CHANNEL_DIGITS + 3;

/// Key of the channel, for [`field`].
pub const CHANNEL: &str = "\"channel\":";
/// Key of the payload, for [`field`].
pub const PAYLOAD: &str = "\"payload\":";
/// Key of the request's id, for [`field`].
pub const ID: &str = "\"id\":";

/// What stands before a payload in a message, as both `limit` and Starling write it.
const BEFORE_PAYLOAD: &[u8] = b"\"payload\":\"";

/// The numbers that a payload carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the publish in the run, from 0.
    pub run: u64,
    /// Number of the publish in its channel, from 1.
    pub channel: u32,
}

/// What a frame from the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A message published to a channel.
    Message(&'a [u8]),
    /// The positive answer to a request.
    Ack(&'a [u8]),
    /// Anything the scenarios do not expect: an error, a gap, the end of a subscription.
    Other(&'a [u8]),
}

impl<'a> Incoming<'a> {
    /// Tells frames apart by their first bytes: both servers write `type` first.
    pub fn of(text: &'a [u8]) -> Self {
        match text.get(9..13) {
            Some(b"mess") => Self::Message(text),
            Some(b"ack\"") => Self::Ack(text),
            _ => Self::Other(text),
        }
    }
}

/// The request to join `channel`, to be acknowledged.
pub fn subscribe(channel: &str) -> String {
    format!(r#"{{"type":"subscribe","channel":"{channel}","id":1}}"#)
}

/// Writes a publish of `len` bytes of payload (at least [`SHORTEST_PAYLOAD`]) into `out`; with `id`, it will be acknowledged.
pub fn write_publish(out: &mut String, channel: &str, stamp: Stamp, len: usize, id: Option<u64>) {
    out.clear();
    let _ = write!(
        out,
        r#"{{"type":"publish","channel":"{channel}","payload":"{:0rw$} {:0cw$}{:x>pad$}""#,
        stamp.run,
        stamp.channel,
        "",
        rw = RUN_DIGITS,
        cw = CHANNEL_DIGITS,
        pad = len.saturating_sub(SHORTEST_PAYLOAD),
    );
    if let Some(id) = id {
        let _ = write!(out, r#","id":{id}"#);
    }
    out.push('}');
}

/// Finds the stamp in messages, expecting it where it was last time: in one run nearly all messages look alike.
#[derive(Debug, Default)]
pub struct StampReader {
    at: usize,
}

impl StampReader {
    /// The stamp in `message`, if it has one.
    pub fn read(&mut self, message: &[u8]) -> Option<Stamp> {
        if !message.get(self.at..)?.starts_with(BEFORE_PAYLOAD) {
            self.at = message.windows(BEFORE_PAYLOAD.len()).position(|window| window == BEFORE_PAYLOAD)?;
        }
        let stamp = &message[self.at + BEFORE_PAYLOAD.len()..];
        let run = number(stamp.get(..RUN_DIGITS)?)?;
        let channel = number(stamp.get(RUN_DIGITS + 1..RUN_DIGITS + 1 + CHANNEL_DIGITS)?)?;
        Some(Stamp { run, channel: channel as u32 })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum: u64, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// The raw value of a string or number in `text`, quotes included; `key` is the field's name as written, with quotes
/// and colon.
///
/// A search, not a parser: it is good for the messages written here, and costs the bare loop as little as can be.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = &text[text.find(key)? + key.len()..];
    let end = match value.strip_prefix('"') {
        Some(string) => string.find('"')? + 2,
        None => value.find([',', '}'])?,
    };
    value.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_has_the_length_asked_for_and_keeps_its_stamp() {
        let mut text = String::new();
        let stamp = Stamp { run: 1_234, channel: 56 };
        write_publish(&mut text, "room-1", stamp, 128, Some(9));

        assert_eq!(field(&text, CHANNEL), Some("\"room-1\""));
        assert_eq!(field(&text, PAYLOAD).unwrap().len(), 128);
        assert_eq!(field(&text, ID), Some("9"));
        assert_eq!(StampReader::default().read(text.as_bytes()), Some(stamp));
    }

    #[test]
    fn incoming_frames_are_told_apart() {
        assert!(matches!(Incoming::of(br#"{"type":"message","channel":"a"}"#), Incoming::Message(_)));
        assert!(matches!(Incoming::of(br#"{"type":"ack","id":1}"#), Incoming::Ack(_)));
        assert!(matches!(Incoming::of(br#"{"type":"error"}"#), Incoming::Other(_)));
        assert!(matches!(Incoming::of(b"{}"), Incoming::Other(_)));
    }
}
