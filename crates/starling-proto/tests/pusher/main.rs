//! Pusher Channels as its clients see it: bytes in, bytes out.

mod events;
mod transcripts;

use std::sync::Arc;

use starling_core::{AppId, ChannelName, ConnectionId, Message, MessageId, Payload, PresenceEntry, RawJson, UserId};
use starling_proto::pusher::{App, AppSettings, LiveApp, PusherSession, sign};
use starling_proto::{Action, Opened, OwnedPacket, Packet, Session};

const SECRET: &str = "secret";
const SOCKET: &str = "123.456";

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a good name")
}

fn entry(user: Option<&str>, connection: &str, data: &str, revision: u64) -> PresenceEntry {
    PresenceEntry {
        user: user.map(UserId::from),
        connection: ConnectionId::from(connection),
        data: RawJson::parse(data).expect("JSON"),
        revision,
    }
}

fn message(channel: ChannelName, event: &str, payload: Payload) -> Message {
    Message {
        app: AppId::from("1"),
        channel,
        id: MessageId::from("m1"),
        event: event.into(),
        payload,
        user: None,
        ts: 1_700_000_000_000,
        position: None,
        key: None,
        exclude: None,
    }
}

fn json(text: &str) -> Payload {
    Payload::Json(RawJson::parse(text).expect("JSON"))
}

fn session(settings: AppSettings) -> PusherSession {
    open(Arc::new(LiveApp::new(App::new("key", SECRET, settings))))
}

fn open(app: Arc<LiveApp>) -> PusherSession {
    let mut session = PusherSession::new(app, 30);
    let opened = Opened { connection: ConnectionId::from(SOCKET), user: None, expires_at: None, authenticated: false };
    session.open(&opened, &mut Vec::new());
    session
}

/// The signature of the app for what follows the socket id.
fn auth(rest: &str) -> String {
    format!("key:{}", sign(SECRET, format!("{SOCKET}:{rest}").as_bytes()))
}

fn receive(session: &mut PusherSession, text: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    session.receive(Packet::Text(text), &mut actions);
    actions
}

/// What is written, and nothing else may be done.
fn texts(actions: Vec<Action>) -> Vec<String> {
    let texts = actions.into_iter().map(|action| match action {
        Action::Send(packet) => text(&packet),
        other => panic!("nothing was to be done: {other:?}"),
    });
    texts.collect()
}

fn text(packet: &OwnedPacket) -> String {
    match packet {
        OwnedPacket::Text(text) => String::from_utf8(text.to_vec()).expect("UTF-8"),
        OwnedPacket::Binary(_) => panic!("Pusher has no binary packets"),
    }
}
