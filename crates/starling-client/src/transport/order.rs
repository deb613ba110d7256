//! The order between what comes down and the answers to what goes up, where each has a connection of its own.
//!
//! Messages to the server are posted one after the other. While the answer to a `subscribe` is on its way, what comes
//! down for that channel is held back, because the server sent it behind that answer.

use std::collections::{BTreeSet, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Frame;

/// Bytes that may be held back before nothing more is taken from what comes down, until the answer has come.
const MAX_HELD: usize = 1 << 20;

/// A message to the server, as far as its answer is understood by it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) channel: Option<String>,
    pub(super) token: Option<String>,
    pub(super) id: Option<Box<RawValue>>,
}

impl Sent {
    /// Reads a message that this client wrote.
    pub(super) fn read(message: &[u8]) -> Self {
        serde_json::from_slice(message).unwrap_or_default()
    }

    fn subscribes_to(&self) -> Option<&str> {
        self.channel.as_deref().filter(|_| self.kind == "subscribe")
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Order {
    held: Option<Held>,
    /// Channels that the server agreed to.
    joined: BTreeSet<String>,
}

#[derive(Debug)]
struct Held {
    channel: String,
    messages: Vec<String>,
    bytes: usize,
}

impl Order {
    /// A message is about to be posted.
    pub(super) fn posting(&mut self, sent: &Sent) {
        if let Some(channel) = sent.subscribes_to() {
            self.held = Some(Held { channel: channel.to_owned(), messages: Vec::new(), bytes: 0 });
        }
    }

    /// The answer to what was posted has come: `None` where nobody waits for it.
    pub(super) fn answered(&mut self, sent: &Sent, answer: Option<String>, out: &mut VecDeque<Frame>) {
        if let (Some(channel), Some(answer)) = (&sent.channel, &answer) {
            let is_agreed = Kind::of(answer).kind == "ack";
            match sent.kind.as_str() {
                "subscribe" if is_agreed => self.joined.insert(channel.clone()),
                "unsubscribe" => self.joined.remove(channel),
                _ => false,
            };
        }
        out.extend(answer.map(Frame::Text));
        if sent.subscribes_to().is_some() {
            let held = self.held.take().map(|held| held.messages).unwrap_or_default();
            out.extend(held.into_iter().map(Frame::Text));
        }
    }

    /// A message came down.
    pub(super) fn came_down(&mut self, message: String, out: &mut VecDeque<Frame>) {
        match &mut self.held {
            Some(held) if Kind::of(&message).channel.as_deref() == Some(&held.channel) => {
                held.bytes += message.len();
                held.messages.push(message);
            }
            _ => out.push_back(Frame::Text(message)),
        }
    }

    /// Whether so much is held back that nothing more should come down.
    pub(super) fn is_full(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.bytes >= MAX_HELD)
    }

    /// Channels that the server holds this session for a member of.
    pub(super) fn joined(&self) -> impl Iterator<Item = &str> {
        self.joined.iter().map(String::as_str)
    }
}

/// What a message of the server is, and about which channel. What is none of the protocol's words is left to whoever
/// reads it.
#[derive(Default, Deserialize)]
struct Kind {
    #[serde(rename = "type", default)]
    kind: String,
    channel: Option<String>,
}

impl Kind {
    fn of(message: &str) -> Self {
        serde_json::from_str(message).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIBE: &[u8] = br#"{"type":"subscribe","id":7,"channel":"a"}"#;

    fn taken(out: &mut VecDeque<Frame>) -> Vec<String> {
        let text = |frame| match frame {
            Frame::Text(text) => text,
            other => panic!("not {other:?}"),
        };
        out.drain(..).map(text).collect()
    }

    #[test]
    fn what_comes_for_a_channel_before_the_answer_follows_it() {
        let (mut order, mut out) = (Order::default(), VecDeque::new());
        let sent = Sent::read(SUBSCRIBE);
        order.posting(&sent);
        let (early, other, broken) = (r#"{"type":"message","channel":"a"}"#, r#"{"type":"gap","channel":"b"}"#, "{");
        for message in [early, other, broken] {
            order.came_down(message.into(), &mut out);
        }
        assert_eq!(taken(&mut out), [other, broken]);
        let ack = r#"{"type":"ack","id":7}"#;
        order.answered(&sent, Some(ack.into()), &mut out);
        order.came_down(early.into(), &mut out);
        assert_eq!(taken(&mut out), [ack, early, early]);
        assert_eq!(order.joined().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let (mut order, mut out) = (Order::default(), VecDeque::new());
        order.posting(&Sent::read(SUBSCRIBE));
        let message = format!(r#"{{"type":"message","channel":"a","payload":"{}"}}"#, "x".repeat(MAX_HELD / 2));
        order.came_down(message.clone(), &mut out);
        assert!(!order.is_full());
        order.came_down(message, &mut out);
        assert!(order.is_full());
        order.answered(&Sent::read(SUBSCRIBE), Some(r#"{"type":"error","id":7}"#.into()), &mut out);
        assert!(!order.is_full());
        assert_eq!((out.len(), order.joined().count()), (3, 0));
    }

    #[test]
    fn what_was_left_is_left() {
        let (mut order, mut out) = (Order::default(), VecDeque::new());
        order.answered(&Sent::read(SUBSCRIBE), Some(r#"{"type":"ack","id":7}"#.into()), &mut out);
        let leave = Sent::read(br#"{"type":"unsubscribe","id":8,"channel":"a"}"#);
        order.posting(&leave);
        order.answered(&leave, Some(r#"{"type":"ack","id":8}"#.into()), &mut out);
        assert_eq!(order.joined().count(), 0);
    }
}
