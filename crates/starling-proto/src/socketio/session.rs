//! The session of one connection: its namespaces, and the packet that is being put together.

use bytes::Bytes;
use serde::Deserialize;
use starling_core::{
    ChannelName, CloseReason, Enter, ErrorCode, Form, Notice, RawJson, Refusal, Reply, Request, Resume, Tag,
};

use super::builtin::{self, NotAnEvent};
use super::engine::{self, Handshake};
use super::packet::{Head, Kind, Malformed};
use super::{MAX_DEPTH, MAX_NAMESPACES, arguments, codes, compose};
use crate::json_text::is_too_deep;
use crate::session::{Action, Beat, Closing, Opened, OwnedPacket, Packet, Session};
use crate::voices;

/// A Socket.IO client's session.
#[derive(Debug)]
pub struct SocketIoSession {
    /// Told first, and forgotten.
    handshake: Option<Box<Handshake>>,
    /// The largest message, attachments included, in bytes.
    max_payload: usize,
    namespaces: Vec<Namespace>,
    /// A packet whose attachments are on their way.
    partial: Option<Box<Partial>>,
    /// Whether the hub has let the connection in.
    admitted: bool,
    /// Whether tokens are the application's business alone.
    opaque_tokens: bool,
}

/// A namespace that the client is in, or wants to enter.
#[derive(Debug)]
struct Namespace {
    /// With the slash.
    name: Box<str>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Its token is being looked at; this follows.
    AwaitAuthentication(Box<Enter>),
    /// The hub was asked.
    AwaitEntry,
    Connected,
}

/// A packet with attachments.
#[derive(Debug)]
struct Partial {
    text: Box<str>,
    attachments: Vec<Bytes>,
    wanted: usize,
    bytes: usize,
    /// The packet, or a part of it, was refused: it is put together only to be answered.
    refusal: Option<Refusal>,
}

/// What CONNECT carries, as far as the server looks at it.
#[derive(Default, Deserialize)]
struct Credentials {
    #[serde(default)]
    token: Option<serde_json::Value>,
    #[serde(default)]
    pid: Option<serde_json::Value>,
    #[serde(default)]
    offset: Option<serde_json::Value>,
}

impl SocketIoSession {
    /// A session that opens with this.
    pub fn new(handshake: Handshake) -> Self {
        Self {
            max_payload: handshake.max_payload,
            handshake: Some(Box::new(handshake)),
            namespaces: Vec::new(),
            partial: None,
            admitted: false,
            opaque_tokens: false,
        }
    }

    /// Has tokens left to the application, which gets them with all else that the client sends along.
    #[must_use]
    pub fn with_opaque_tokens(mut self) -> Self {
        self.opaque_tokens = true;
        self
    }

    fn text(&mut self, text: &str, out: &mut Vec<Action>) -> Result<(), Malformed> {
        if self.partial.is_some() {
            return Err(Malformed);
        }
        match text {
            engine::PONG => {
                if self.admitted {
                    out.push(Action::Request(Tag::default(), Request::Confirm));
                }
                return Ok(());
            }
            engine::CLOSE => {
                out.push(Action::Close(self.closing(CloseReason::Normal)));
                return Ok(());
            }
            engine::NOOP => return Ok(()),
            _ => {}
        }
        let text = text.strip_prefix('4').ok_or(Malformed)?;
        let head = Head::parse(text)?;
        if head.attachments > 0 {
            self.begin(text, &head, None);
            return Ok(());
        }
        self.packet(&head, &[], out)
    }

    fn begin(&mut self, text: &str, head: &Head<'_>, refusal: Option<Refusal>) {
        self.partial = Some(Box::new(Partial {
            text: text.into(),
            attachments: Vec::new(),
            wanted: head.attachments,
            bytes: text.len(),
            refusal,
        }));
    }

    fn attachment(&mut self, bytes: &[u8], refusal: Option<&Refusal>, out: &mut Vec<Action>) -> Result<(), Malformed> {
        let mut partial = self.partial.take().ok_or(Malformed)?;
        partial.bytes += bytes.len();
        if partial.bytes > self.max_payload {
            out.push(Action::Close(self.closing(CloseReason::TooLarge)));
            return Ok(());
        }
        if partial.refusal.is_none() {
            partial.refusal = refusal.cloned();
        }
        // What is refused is only counted.
        let kept = if partial.refusal.is_none() { Bytes::copy_from_slice(bytes) } else { Bytes::new() };
        partial.attachments.push(kept);
        if partial.attachments.len() < partial.wanted {
            self.partial = Some(partial);
            return Ok(());
        }
        let head = Head::parse(&partial.text)?;
        match &partial.refusal {
            Some(refusal) => self.refuse_packet(&head, refusal, out),
            None => self.packet(&head, &partial.attachments, out)?,
        }
        Ok(())
    }

    fn packet(&mut self, head: &Head<'_>, attachments: &[Bytes], out: &mut Vec<Action>) -> Result<(), Malformed> {
        let known = self.namespaces.iter().position(|namespace| &*namespace.name == head.namespace);
        if head.kind == Kind::Connect {
            return match known {
                Some(_) => Err(Malformed),
                None => self.connect(head, out),
            };
        }
        let index = known.ok_or(Malformed)?;
        if !matches!(self.namespaces[index].state, State::Connected) {
            return Err(Malformed);
        }
        match head.kind {
            Kind::Event | Kind::BinaryEvent => self.event(head, attachments, out),
            Kind::Ack | Kind::BinaryAck => Self::acknowledge(head, attachments, out),
            Kind::Disconnect if head.data.is_empty() => {
                self.namespaces.remove(index);
                let scope = scope_of(head.namespace).ok_or(Malformed)?;
                out.push(Action::Request(Tag::default(), Request::Exit { scope }));
                Ok(())
            }
            Kind::Disconnect | Kind::Connect | Kind::ConnectError => Err(Malformed),
        }
    }

    fn connect(&mut self, head: &Head<'_>, out: &mut Vec<Action>) -> Result<(), Malformed> {
        let mut credentials = Credentials::default();
        let mut params = None;
        if !head.data.is_empty() {
            if !head.data.starts_with('{') || is_too_deep(head.data.as_bytes(), MAX_DEPTH) {
                return Err(Malformed);
            }
            credentials = serde_json::from_str(head.data).map_err(|_| Malformed)?;
            params = Some(RawJson::from_valid(head.data.to_owned()));
        }
        let Some(scope) = scope_of(head.namespace) else {
            self.send(out, |out| compose::connect_error(head.namespace, INVALID_NAMESPACE, None, out));
            return Ok(());
        };
        if self.namespaces.len() >= MAX_NAMESPACES {
            let code = ErrorCode::LimitExceeded.as_str();
            self.send(out, |out| compose::connect_error(head.namespace, "too many namespaces", Some(code), out));
            return Ok(());
        }
        let text = |value: Option<serde_json::Value>| match value {
            Some(serde_json::Value::String(text)) => Some(text.into_boxed_str()),
            _ => None,
        };
        let resume = text(credentials.pid).map(|session| Resume { session, after: text(credentials.offset) });
        let enter = Box::new(Enter { scope, params, resume });
        let token = text(credentials.token).filter(|_| !self.opaque_tokens);
        let state = if self.admitted && token.is_none() {
            out.push(Action::Request(tag(ENTER, head.namespace), Request::Enter(enter)));
            State::AwaitEntry
        } else {
            out.push(Action::Request(tag(AUTHENTICATE, head.namespace), Request::Authenticate { token }));
            State::AwaitAuthentication(enter)
        };
        self.namespaces.push(Namespace { name: head.namespace.into(), state });
        Ok(())
    }

    fn event(&self, head: &Head<'_>, attachments: &[Bytes], out: &mut Vec<Action>) -> Result<(), Malformed> {
        let scope = scope_of(head.namespace).ok_or(Malformed)?;
        match builtin::request(scope.as_ref(), head.data, attachments) {
            Ok(request) => {
                let tag = head.id.map_or_else(Tag::default, |id| tag(ACK, &format!("{id}{}", head.namespace)));
                out.push(Action::Request(tag, request));
            }
            Err(NotAnEvent::Refused(refusal)) => self.refuse_packet(head, &refusal, out),
            Err(NotAnEvent::Malformed) => return Err(Malformed),
        }
        Ok(())
    }

    fn acknowledge(head: &Head<'_>, attachments: &[Bytes], out: &mut Vec<Action>) -> Result<(), Malformed> {
        let elements = arguments::split(head.data).ok_or(Malformed)?;
        // As in Socket.IO, an answer to nothing is nobody's.
        let Some(ack) = head.id.and_then(|id| id.parse().ok()) else { return Ok(()) };
        let payload = builtin::payload_of(&elements, attachments).map_err(|_| Malformed)?;
        out.push(Action::Request(Tag::default(), Request::Acknowledge { ack, payload }));
        Ok(())
    }

    fn refuse_packet(&self, head: &Head<'_>, refusal: &Refusal, out: &mut Vec<Action>) {
        match (head.kind, head.id) {
            (Kind::Event | Kind::BinaryEvent, Some(id)) => {
                let reply = Reply::Refused { refusal: refusal.clone(), channel: None };
                self.send(out, |out| compose::ack(head.namespace, id, &reply, out));
            }
            (Kind::Connect, _) => self.send(out, |out| {
                compose::connect_error(head.namespace, &refusal.message, Some(&refusal.code), out);
            }),
            _ => {}
        }
    }

    fn send(&self, out: &mut Vec<Action>, write: impl FnOnce(&mut Vec<OwnedPacket>)) {
        let mut packets = Vec::new();
        write(&mut packets);
        out.extend(packets.into_iter().map(Action::Send));
    }

    fn or_close(&mut self, done: Result<(), Malformed>, out: &mut Vec<Action>) {
        if done.is_err() {
            self.partial = None;
            out.push(Action::Close(self.closing(CloseReason::InvalidMessage)));
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Namespace> {
        self.namespaces.iter_mut().find(|namespace| &*namespace.name == name)
    }

    fn connect_refused(&mut self, name: &str, refusal: &Refusal, out: &mut Vec<Action>) {
        self.namespaces.retain(|namespace| &*namespace.name != name);
        // A namespace that is not there has its own words in the protocol.
        let is_unknown = refusal.is(ErrorCode::InvalidChannel);
        let (message, code) =
            if is_unknown { (INVALID_NAMESPACE, None) } else { (&*refusal.message, Some(&*refusal.code)) };
        self.send(out, |out| compose::connect_error(name, message, code, out));
    }

    fn authenticated(&mut self, name: &str, reply: &Reply, out: &mut Vec<Action>) {
        if let Reply::Refused { refusal, .. } = reply {
            return self.connect_refused(name, refusal, out);
        }
        self.admitted = true;
        let Some(namespace) = self.find(name) else { return };
        if let State::AwaitAuthentication(enter) = std::mem::replace(&mut namespace.state, State::AwaitEntry) {
            out.push(Action::Request(tag(ENTER, name), Request::Enter(enter)));
        }
    }

    fn entered(&mut self, name: &str, reply: &Reply, out: &mut Vec<Action>) {
        match reply {
            Reply::Entered { id, session, .. } => {
                if let Some(namespace) = self.find(name) {
                    namespace.state = State::Connected;
                }
                self.send(out, |out| compose::connected(name, id, session.as_deref(), out));
            }
            Reply::Refused { refusal, .. } => self.connect_refused(name, refusal, out),
            _ => {}
        }
    }
}

impl Session for SocketIoSession {
    fn greet(&mut self, out: &mut Vec<Action>) {
        if let Some(handshake) = self.handshake.take() {
            out.push(Action::Send(handshake.packet()));
        }
    }

    fn open(&mut self, _opened: &Opened, _out: &mut Vec<Action>) {
        self.admitted = true;
    }

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>) {
        let done = match packet {
            Packet::Text(text) => self.text(text, out),
            Packet::Binary(bytes) => self.attachment(bytes, None, out),
        };
        self.or_close(done, out);
    }

    fn refuse(&mut self, packet: Packet<'_>, refusal: &Refusal, out: &mut Vec<Action>) {
        match packet {
            Packet::Binary(bytes) => {
                // One that belongs to nothing was refused with its packet.
                if self.partial.is_some() {
                    let done = self.attachment(bytes, Some(refusal), out);
                    debug_assert!(done.is_ok() || self.partial.is_none());
                }
            }
            Packet::Text(text) => {
                let Some(Ok(head)) = text.strip_prefix('4').map(Head::parse) else { return };
                if head.attachments > 0 && self.partial.is_none() {
                    self.begin(&text[1..], &head, Some(refusal.clone()));
                } else {
                    self.refuse_packet(&head, refusal, out);
                }
            }
        }
        // A refusal only answers.
        out.retain(|action| matches!(action, Action::Send(_)));
    }

    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Vec<Action>) {
        if matches!(reply, Reply::Unanswered) {
            return;
        }
        let Some((kind, reference)) = tag.0.split_first() else { return };
        let reference = std::str::from_utf8(reference).expect("tags are made of text");
        match *kind {
            AUTHENTICATE => self.authenticated(reference, &reply, out),
            ENTER => self.entered(reference, &reply, out),
            _ => {
                let digits = reference.find('/').unwrap_or(reference.len());
                let (id, name) = reference.split_at(digits);
                if self.find(name).is_some() {
                    self.send(out, |out| compose::ack(name, id, &reply, out));
                }
            }
        }
    }

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        let connected = |namespace: &&Namespace| matches!(namespace.state, State::Connected);
        let names = self.namespaces.iter().filter(connected).map(|namespace| &*namespace.name);
        self.send(out, |out| compose::notice(notice, names, out));
    }

    fn beat(&self) -> Beat {
        Beat::Regular
    }

    fn ends_apart(&self) -> bool {
        true
    }

    fn heartbeat(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Send(engine::text(engine::PING)));
    }

    fn farewell(&mut self, reason: CloseReason, out: &mut Vec<Action>) {
        // After a DISCONNECT, the official clients stay away.
        if matches!(reason, CloseReason::Forbidden | CloseReason::TokenExpired) {
            for namespace in &self.namespaces {
                self.send(out, |out| compose::disconnect(&namespace.name, out));
            }
        }
    }

    fn outlives_refusal(&self) -> bool {
        true
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        voices::SOCKETIO
    }
}

const INVALID_NAMESPACE: &str = "Invalid namespace";
const AUTHENTICATE: u8 = b'c';
const ENTER: u8 = b'e';
const ACK: u8 = b'a';

fn tag(kind: u8, reference: &str) -> Tag {
    let mut tag = Vec::with_capacity(1 + reference.len());
    tag.push(kind);
    tag.extend_from_slice(reference.as_bytes());
    Tag(tag.into())
}

/// The scope that a namespace is: none for `/`. `None`: no namespace can be called so.
#[expect(clippy::option_option, reason = "the outer one is an error")]
fn scope_of(namespace: &str) -> Option<Option<ChannelName>> {
    if namespace == "/" {
        return Some(None);
    }
    let is_name = namespace.starts_with('/') && !namespace.contains('#');
    let scope = is_name.then(|| ChannelName::parse(&format!("{namespace}#")).ok())?;
    scope.map(Some)
}
