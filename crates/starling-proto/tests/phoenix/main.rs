//! Phoenix Channels as clients see them: bytes in, bytes out.

mod bad_input;
mod broadcasts;
mod presence;
mod transcripts;
mod vectors;

use starling_core::{AppId, ChannelName, ConnectionId, Message, MessageId, Payload, PresenceEntry, RawJson, UserId};
use starling_proto::phoenix::{PhoenixSession, Serializer};
use starling_proto::{Action, Opened, OwnedPacket, Packet, Session};

/// A session, and what it did in words: `send …`, `request …`, `close CODE`; tags are kept for the answers.
struct Talk {
    session: PhoenixSession,
    out: Vec<Action>,
    tags: Vec<starling_core::Tag>,
}

impl Talk {
    fn new(serializer: Serializer) -> Self {
        let mut talk = Self { session: PhoenixSession::new(serializer), out: Vec::new(), tags: Vec::new() };
        let opened = Opened {
            connection: ConnectionId::from("c1"),
            user: Some(UserId::from("bob")),
            expires_at: None,
            authenticated: true,
        };
        talk.session.open(&opened, &mut talk.out);
        assert!(talk.out.is_empty(), "Phoenix greets nobody");
        talk
    }

    fn says(&mut self) -> Vec<String> {
        let out = std::mem::take(&mut self.out);
        out.into_iter()
            .map(|action| match action {
                Action::Send(packet) => format!("send {}", written(&packet)),
                Action::Request(tag, request) => {
                    self.tags.push(tag);
                    format!("request {request:?}")
                }
                Action::Close(closing) => format!("close {}", closing.code.0),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn hears(&mut self, packet: Packet<'_>) -> Vec<String> {
        self.session.receive(packet, &mut self.out);
        self.says()
    }

    fn hears_text(&mut self, text: &str) -> Vec<String> {
        self.hears(Packet::Text(text))
    }

    /// Answers the oldest request that was not answered.
    fn answers(&mut self, reply: starling_core::Reply) -> Vec<String> {
        let tag = self.tags.remove(0);
        self.session.answer(&tag, reply, &mut self.out);
        self.says()
    }

    fn notices(&mut self, notice: &starling_core::Notice) -> Vec<String> {
        self.session.notify(notice, &mut self.out);
        self.says()
    }

    /// Joins a topic by the join `join_ref`, and takes the reply.
    fn joins(&mut self, join_ref: &str, topic: &str) {
        self.hears_text(&format!(r#"["{join_ref}","{join_ref}","{topic}","phx_join",{{}}]"#));
        let said = self.answers(subscribed(topic));
        if said.is_empty() || said[0].starts_with("request") {
            // It was the answer to leaving by an earlier join.
            self.answers(subscribed(topic));
        }
    }
}

/// A text packet as it is, a binary one as hex.
fn written(packet: &OwnedPacket) -> String {
    match packet {
        OwnedPacket::Text(text) => std::str::from_utf8(text).expect("text is UTF-8").to_owned(),
        OwnedPacket::Binary(bytes) => format!("bin {}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a good name")
}

fn json(text: &str) -> Payload {
    Payload::Json(RawJson::parse(text).expect("JSON"))
}

fn subscribed(topic: &str) -> starling_core::Reply {
    starling_core::Reply::Subscribed {
        channel: channel(topic),
        position: None,
        recovered: None,
        follows: false,
        response: None,
    }
}

fn entry(user: Option<&str>, connection: &str, data: &str, revision: u64) -> PresenceEntry {
    PresenceEntry {
        user: user.map(UserId::from),
        connection: ConnectionId::from(connection),
        data: RawJson::from_valid(data.to_owned()),
        revision,
    }
}

fn message(topic: &str, event: &str, payload: Payload) -> Message {
    Message {
        app: AppId::from("1"),
        channel: channel(topic),
        id: MessageId::from("m1"),
        event: event.into(),
        payload,
        user: Some(UserId::from("bob")),
        ts: 1_700_000_000_000,
        position: None,
        key: None,
        exclude: None,
    }
}
