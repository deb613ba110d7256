//! What one client says and hears, for each protocol: texts in, texts out.
//!
//! A session never parses what a run has most of: a frame with a stamp where the last one had it is a message. Only what
//! else comes is looked at here.

mod native;
mod phoenix;
mod pusher;
mod socketio;
mod sse;

use std::{sync::Arc, time::Duration};

use crate::target::{Identity, Protocol};

/// What a frame meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that a scenario waits for.
    Quiet,
    /// The connection is open, and in its channel.
    Joined,
    /// The positive answer to the request with this number.
    Answer(u64),
    /// Something went wrong; the connection goes on.
    Problem(String),
    /// The server does not want this client, or ends it.
    Refused(String),
}

/// A message to be published.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Where to.
    pub channel: &'a str,
    /// The stamp with its padding, see [`overhead`].
    pub text: &'a str,
    /// The number of the request, if an answer is wanted; from 1.
    pub request: Option<u64>,
}

/// How a connection is asked for.
#[derive(Debug, Default)]
pub struct Opening {
    /// Path and query.
    pub path: String,
    /// Further header lines, each with its line end.
    pub headers: String,
}

/// One client's side of a protocol.
pub trait Session: Send {
    /// What to ask for.
    fn opening(&self) -> Opening;

    /// The connection is there: says what has to be said first. Returns whether that is all it takes.
    fn open(&mut self, _say: &mut Vec<String>) -> bool {
        false
    }

    /// A text arrived.
    fn hear(&mut self, text: &str, say: &mut Vec<String>) -> Heard;

    /// Whether a text that has a stamp is an answer and no message.
    fn is_answer(&self, _text: &str) -> bool {
        false
    }

    /// Writes a message to be published, or a request like it where the protocol has no answer to a publish.
    fn publish(&mut self, publish: Publish<'_>, out: &mut String);

    /// What is to be said every [`HEARTBEAT`], if anything.
    fn heartbeat(&mut self) -> Option<String> {
        None
    }
}

/// How often clients show that they are there, where the protocol wants them to.
pub const HEARTBEAT: Duration = Duration::from_secs(25);

/// A session for a client that joins `channel`, if one is given.
pub fn session(identity: &Arc<Identity>, channel: Option<&str>) -> Box<dyn Session> {
    let (identity, channel) = (identity.clone(), channel.map(str::to_owned));
    match identity.protocol {
        Protocol::Native => Box::new(native::Native::new(identity, channel)),
        Protocol::SocketIo => Box::new(socketio::SocketIo::new(identity, channel)),
        Protocol::Phoenix => Box::new(phoenix::Phoenix::new(identity, channel)),
        Protocol::Pusher => Box::new(pusher::Pusher::new(identity, channel)),
        Protocol::Sse => Box::new(sse::Sse::new(identity, channel)),
    }
}

/// Bytes of a payload, as JSON, beside the text in it.
pub fn overhead(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Native | Protocol::SocketIo | Protocol::Sse => r#""""#.len(),
        // Both take objects only.
        Protocol::Phoenix | Protocol::Pusher => r#"{"b":""}"#.len(),
    }
}

/// The path to connect to: the one that was asked for, or the protocol's own.
fn path(identity: &Identity, channel: Option<&str>, own: impl FnOnce() -> String) -> String {
    match &identity.path {
        Some(path) => path.replace("{channel}", &crate::target::in_query(channel.unwrap_or_default())),
        None => own(),
    }
}

/// The header that shows the token.
fn bearer(identity: &Identity) -> String {
    identity.token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"))
}

/// The beginning of a text that is not understood, for people.
fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(120).map_or(text.len(), |(at, _)| at);
    format!("{}{}", &text[..end], if end < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::App;

    fn client(protocol: Protocol, channel: Option<&str>) -> Box<dyn Session> {
        let mut identity = Identity::anonymous(protocol);
        identity.token = (protocol != Protocol::Pusher).then(|| "T".to_owned());
        identity.app =
            Some(App { id: "1".into(), key: "278d425bdf160c739803".into(), secret: "7ad3773142a6692b25b8".into() });
        session(&Arc::new(identity), channel)
    }

    /// What is said when each of `texts` is heard, and what they meant.
    fn hear(session: &mut dyn Session, texts: &[&str]) -> (Vec<String>, Vec<Heard>) {
        let mut say = Vec::new();
        let heard = texts.iter().map(|text| session.hear(text, &mut say)).collect();
        (say, heard)
    }

    fn published(session: &mut dyn Session, request: Option<u64>) -> String {
        let mut out = String::new();
        session.publish(Publish { channel: "room", text: "sb:1", request }, &mut out);
        out
    }

    #[test]
    fn native_subscribes_and_is_told() {
        let mut native = client(Protocol::Native, Some("room"));
        let opening = native.opening();
        assert_eq!((opening.path.as_str(), opening.headers.as_str()), ("/ws", "Authorization: Bearer T\r\n"));
        let mut say = Vec::new();
        assert!(!native.open(&mut say));
        assert_eq!(say, [r#"{"type":"subscribe","channel":"room","id":"join"}"#]);
        let refused = r#"{"type":"error","code":"FORBIDDEN","message":"no"}"#;
        assert_eq!(hear(&mut *native, &[refused]).1, [Heard::Refused("FORBIDDEN: no".into())]);
        let texts = [r#"{"type":"ack","id":"join"}"#, r#"{"type":"ack","id":7}"#, refused, r#"{"type":"pong"}"#];
        let heard = [Heard::Joined, Heard::Answer(7), Heard::Problem("FORBIDDEN: no".into()), Heard::Quiet];
        assert_eq!(hear(&mut *native, &texts).1, heard);
        assert_eq!(published(&mut *native, Some(7)), r#"{"type":"publish","channel":"room","payload":"sb:1","id":7}"#);
    }

    #[test]
    fn socketio_connects_subscribes_and_answers_pings() {
        let mut client = client(Protocol::SocketIo, Some("room"));
        let texts = [r#"0{"sid":"s"}"#, r#"40{"sid":"t"}"#, "2", r#"430[{"ok":true}]"#, "435[]"];
        let (say, heard) = hear(&mut *client, &texts);
        assert_eq!(say, [r#"40{"token":"T"}"#, r#"420["subscribe","room"]"#, "3"]);
        assert_eq!(heard, [Heard::Quiet, Heard::Quiet, Heard::Quiet, Heard::Joined, Heard::Answer(5)]);
        assert_eq!(published(&mut *client, None), r#"42["publish","room","message","sb:1"]"#);
        assert!(client.is_answer(r#"435["sb:1"]"#) && !client.is_answer(r#"42["message","sb:1"]"#));
    }

    #[test]
    fn phoenix_joins_and_takes_replies() {
        let mut phoenix = client(Protocol::Phoenix, Some("room"));
        assert_eq!(phoenix.opening().path, "/socket/websocket?vsn=2.0.0&token=T");
        let mut say = Vec::new();
        assert!(!phoenix.open(&mut say));
        assert_eq!(say, [r#"["1","1","room","phx_join",{}]"#]);
        let reply = |reference: &str, status: &str| {
            format!(r#"["1","{reference}","room","phx_reply",{{"status":"{status}","response":{{}}}}]"#)
        };
        let texts = [reply("1", "ok"), reply("r7", "ok"), reply("p", "ok"), reply("r8", "error")];
        let heard = hear(&mut *phoenix, &texts.each_ref().map(String::as_str)).1;
        let refused = Heard::Problem("push refused: {}".into());
        assert_eq!(heard, [Heard::Joined, Heard::Answer(7), Heard::Quiet, refused]);
        assert_eq!(published(&mut *phoenix, Some(7)), r#"["1","r7","room","message",{"b":"sb:1"}]"#);
    }

    #[test]
    fn pusher_signs_for_private_channels() {
        // The example of Pusher's own documentation.
        let mut pusher = client(Protocol::Pusher, Some("private-foobar"));
        let established = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.1234\"}"}"#;
        let texts = [
            established,
            r#"{"event":"pusher:ping","data":{}}"#,
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-foobar","data":"{}"}"#,
        ];
        let (say, heard) = hear(&mut *pusher, &texts);
        let signature = "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert!(say[0].contains(signature), "{}", say[0]);
        assert_eq!(say[1], r#"{"event":"pusher:pong","data":{}}"#);
        assert_eq!(heard, [Heard::Quiet, Heard::Quiet, Heard::Joined]);
        assert_eq!(published(&mut *pusher, None), r#"{"event":"client-message","channel":"room","data":{"b":"sb:1"}}"#);
        assert_eq!(published(&mut *pusher, Some(7)), r#"{"event":"pusher:ping","data":{}}"#);
        assert_eq!(hear(&mut *pusher, &[r#"{"event":"pusher:pong","data":{}}"#]).1, [Heard::Answer(7)]);
    }

    #[test]
    fn event_streams_are_ready_when_they_say_so() {
        let mut sse = client(Protocol::Sse, Some("a b"));
        assert_eq!(sse.opening().path, "/sse?channel=a%20b");
        assert!(!sse.open(&mut Vec::new()));
        let heard = hear(&mut *sse, &["event: ready", "data: {}", ": keep-alive", ""]).1;
        assert_eq!(heard, [Heard::Joined, Heard::Quiet, Heard::Quiet, Heard::Quiet]);
    }
}
