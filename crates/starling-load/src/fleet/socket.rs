//! One client connection: from connect to close, with the bytes that are on their way.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    ops::ControlFlow,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use mio::{event::Event as Readiness, net::TcpStream};
use socket2::{Domain, Protocol as Transport, Type};
use starling_proto::websocket::{
    Decoder, Event as Frame, Inflater, Opcode, Role, handshake::check_accept, write_masked_frame,
};

use super::{Event, requests::Requests, wire::Wire};
use crate::{
    http::{Body, Head},
    session::{Heard, Publish, Session, session},
    stamp::StampReader,
    target::{Identity, Protocol, Target},
};

/// The masking key of every frame. Any key does: there is no proxy to be protected from these clients.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
/// The key of every handshake, for the same reason.
const KEY: &str = "c3RhcmxpbmctYmVuY2gtMQ==";
/// The largest message that a server may send, in bytes.
const MAX_MESSAGE: usize = 64 << 20;
/// The longest line of an event stream, in bytes.
const MAX_LINE: usize = 64 << 20;

/// What the connection waits for.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The TCP handshake; then the request is sent.
    Connecting,
    /// The response to the request.
    Upgrading,
    /// To be in the channel.
    Joining,
    /// Messages.
    Ready,
}

/// What the bytes are.
enum Speech {
    WebSocket(Box<dyn Session>, Decoder),
    Stream(Box<dyn Session>, Body, Vec<u8>),
    Api(Requests),
}

/// What all connections of a thread share while one of them is read.
pub(super) struct Shared<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) inflater: &'a mut Inflater,
    pub(super) reader: &'a mut StampReader,
    pub(super) target: &'a Target,
}

pub(super) struct Socket {
    wire: Wire,
    stage: Stage,
    speech: Speech,
    /// The head of a response, or the size of a chunk, of which the end has not arrived.
    tail: Vec<u8>,
    /// Bytes that the socket had no room for.
    outbox: Vec<u8>,
    /// Whether it was ready once.
    was_ready: bool,
    /// Whether the server said that it closes it.
    is_over: bool,
    /// Whether we close it.
    is_closing: bool,
    /// Why the server ended it, if it said so.
    pub(super) reason: Option<String>,
}

impl Socket {
    /// A connection for a client that joins `channel`, or for requests where there is no `identity`.
    pub(super) fn connect(
        target: &Target,
        source: Option<Ipv4Addr>,
        identity: Option<(&Arc<Identity>, Option<&str>)>,
    ) -> io::Result<Self> {
        let wire = dial(target, source)?;
        let speech = match identity {
            None => Speech::Api(Requests::default()),
            Some((identity, channel)) => {
                let session = session(identity, channel);
                match identity.protocol {
                    Protocol::Sse => Speech::Stream(session, Body::Ended, Vec::new()),
                    _ => Speech::WebSocket(session, Decoder::new(Role::Client, MAX_MESSAGE, None)),
                }
            }
        };
        Ok(Self {
            wire,
            stage: Stage::Connecting,
            speech,
            tail: Vec::new(),
            outbox: Vec::new(),
            was_ready: false,
            is_over: false,
            is_closing: false,
            reason: None,
        })
    }

    /// Whether it ended as a connection for requests may, whose server keeps none: another one takes its place.
    pub(super) fn may_reconnect(&self) -> bool {
        matches!(&self.speech, Speech::Api(requests) if requests.is_between_answers()) && !self.is_closing
    }

    /// Connects again, for the requests that wait and those to come.
    pub(super) fn reconnect(&mut self, target: &Target, source: Option<Ipv4Addr>) -> io::Result<()> {
        self.wire = dial(target, source)?;
        self.stage = Stage::Connecting;
        self.tail.clear();
        self.outbox.clear();
        self.is_over = false;
        self.reason = None;
        if let Speech::Api(requests) = &mut self.speech {
            requests.reconnected();
        }
        Ok(())
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        self.wire.stream()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.stage != Stage::Ready
    }

    /// Writes and reads what can be; returns whether the connection is still there.
    pub(super) fn on_readiness(
        &mut self,
        readiness: &Readiness,
        shared: &mut Shared<'_>,
        mut sink: impl FnMut(Event<'_>),
    ) -> bool {
        match self.work(readiness, shared, &mut sink) {
            Ok(open) => open,
            Err(error) => {
                self.reason.get_or_insert(format!("{error:#}"));
                false
            }
        }
    }

    fn work(
        &mut self,
        readiness: &Readiness,
        shared: &mut Shared<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<bool> {
        if readiness.is_writable() {
            self.on_writable(shared.target, sink)?;
        }
        while readiness.is_readable() {
            let scratch = std::mem::take(&mut shared.scratch);
            let read = self.wire.read(scratch);
            let received = match read {
                Ok(len) if len > 0 => self.receive(&mut scratch[..len], shared, sink),
                _ => Ok(()),
            };
            let room = scratch.len();
            shared.scratch = scratch;
            received?;
            if self.is_over {
                return Ok(false);
            }
            match read {
                Ok(0) => return Ok(false),
                // Less than there was room for: the socket is empty, and epoll tells when that changes, unless it has
                // told of the end already.
                Ok(len) if len < room && self.wire.short_reads_are_final() && !readiness.is_read_closed() => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Publishes a message.
    pub(super) fn publish(&mut self, publish: Publish<'_>) {
        if let Speech::WebSocket(session, _) = &mut self.speech {
            let mut text = String::new();
            session.publish(publish, &mut text);
            self.say(Opcode::Text, text.as_bytes());
        }
    }

    /// Sends a request, when those before it are answered.
    pub(super) fn request(&mut self, request: &[u8]) {
        if let Speech::Api(requests) = &mut self.speech {
            requests.push(request);
            self.ask();
        }
    }

    /// Shows that the client is there.
    pub(super) fn heartbeat(&mut self) {
        if self.stage == Stage::Ready
            && let Speech::WebSocket(session, _) = &mut self.speech
            && let Some(text) = session.heartbeat()
        {
            self.say(Opcode::Text, text.as_bytes());
        }
    }

    pub(super) fn close(&mut self) {
        self.is_closing = true;
        match self.speech {
            Speech::WebSocket(..) if matches!(self.stage, Stage::Joining | Stage::Ready) => {
                self.say(Opcode::Close, &1000u16.to_be_bytes());
            }
            _ => drop(self.wire.stream().shutdown(Shutdown::Write)),
        }
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        write_masked_frame(&mut self.outbox, opcode, payload, MASK);
        self.flush();
    }

    fn ask(&mut self) {
        if self.stage == Stage::Ready
            && let Speech::Api(requests) = &mut self.speech
            && let Some(request) = requests.next()
        {
            self.outbox.extend_from_slice(&request);
            self.flush();
        }
    }

    fn on_writable(&mut self, target: &Target, sink: &mut impl FnMut(Event<'_>)) -> Result<()> {
        if self.stage == Stage::Connecting {
            // Refused connections are reported as writable, too.
            if let Some(error) = self.wire.stream().take_error()? {
                return Err(error.into());
            }
            self.wire.stream().peer_addr()?;
            self.stage = Stage::Upgrading;
            match &self.speech {
                Speech::WebSocket(session, _) => {
                    let upgrade = format!(
                        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
                    );
                    self.outbox = head(&**session, target, &upgrade).into_bytes();
                }
                Speech::Stream(session, ..) => self.outbox = head(&**session, target, "").into_bytes(),
                Speech::Api(_) => {
                    self.become_ready(sink);
                    self.ask();
                }
            }
        }
        self.flush();
        Ok(())
    }

    // A failed write is noticed by the read that follows it.
    fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match self.wire.write(&self.outbox) {
                Ok(len) if len == self.outbox.len() => self.outbox.clear(),
                Ok(len) => drop(self.outbox.drain(..len)),
                Err(_) => return,
            }
        }
    }

    fn receive(&mut self, bytes: &mut [u8], shared: &mut Shared<'_>, sink: &mut impl FnMut(Event<'_>)) -> Result<()> {
        if self.stage != Stage::Upgrading && matches!(self.speech, Speech::WebSocket(..)) {
            return self.receive_frames(bytes, shared, sink);
        }
        if self.tail.is_empty() {
            let used = self.consume(bytes, shared, sink)?;
            self.tail.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut tail = std::mem::take(&mut self.tail);
        tail.extend_from_slice(bytes);
        let used = self.consume(&mut tail, shared, sink)?;
        tail.drain(..used);
        self.tail = tail;
        Ok(())
    }

    /// Handles what is complete in `bytes`, where that is not for the decoder of frames; returns how many bytes that
    /// were.
    fn consume(
        &mut self,
        bytes: &mut [u8],
        shared: &mut Shared<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<usize> {
        if let Speech::Api(requests) = &mut self.speech {
            let (used, goes_on) = requests.receive(bytes, sink)?;
            self.is_over = !goes_on;
            if goes_on {
                self.ask();
            }
            return Ok(used);
        }
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some(head) = Head::read(bytes)? else { return Ok(0) };
            used = head.len;
            self.upgraded(&head, bytes, sink)?;
        }
        match &mut self.speech {
            Speech::WebSocket(..) => {
                self.receive_frames(&mut bytes[used..], shared, sink)?;
                Ok(bytes.len())
            }
            Speech::Stream(_, body, line) => {
                let mut lines = std::mem::take(line);
                used += body.take(&bytes[used..], |part| lines.extend_from_slice(part))?;
                let ended = *body == Body::Ended;
                let rest = self.receive_lines(&lines, shared, sink)?;
                lines.drain(..rest);
                anyhow::ensure!(lines.len() <= MAX_LINE, "a line of an event stream is too long");
                anyhow::ensure!(!ended, "the stream ended");
                if let Speech::Stream(_, _, line) = &mut self.speech {
                    *line = lines;
                }
                Ok(used)
            }
            Speech::Api(_) => unreachable!("returned above"),
        }
    }

    /// Checks the answer to the request, and goes on from there.
    fn upgraded(&mut self, head: &Head, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let expected = if matches!(self.speech, Speech::Stream(..)) { 200 } else { 101 };
        if head.status != expected {
            let location = head.location.as_ref().map_or(String::new(), |location| format!(" to {location}"));
            let (mut body, mut text) = (head.body, Vec::new());
            let _ = body.take(&bytes[head.len..], |part| text.extend_from_slice(part));
            text.truncate(200);
            let text = String::from_utf8_lossy(&text);
            bail!("{}{location} {}", head.line, text.trim());
        }
        let mut say = Vec::new();
        let ready = match &mut self.speech {
            Speech::WebSocket(session, _) => {
                let accept = head.accept.as_deref().unwrap_or_default();
                check_accept(KEY, accept).context("the upgrade's answer is wrong")?;
                session.open(&mut say)
            }
            Speech::Stream(session, body, _) => {
                *body = head.body;
                session.open(&mut say)
            }
            Speech::Api(_) => false,
        };
        self.stage = Stage::Joining;
        say.iter().for_each(|text| self.say(Opcode::Text, text.as_bytes()));
        if ready {
            self.become_ready(sink);
        }
        Ok(())
    }

    fn receive_frames(
        &mut self,
        bytes: &mut [u8],
        shared: &mut Shared<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<()> {
        let Speech::WebSocket(session, decoder) = &mut self.speech else { return Ok(()) };
        let mut later = Later::default();
        let stage = &mut self.stage;
        let reader = &mut *shared.reader;
        decoder.feed(bytes, shared.inflater, &mut |frame| {
            match frame {
                Frame::Text(text) => later.hear(&mut **session, stage, reader, text, sink),
                Frame::Ping(payload) => write_masked_frame(&mut later.out, Opcode::Pong, payload, MASK),
                Frame::Close(code, reason) => {
                    let code = code.map_or("without a code".to_owned(), |code| format!("with {}", code.0));
                    later.ended = Some(format!("closed {code} {reason}").trim_end().to_owned());
                    // The server closes the connection, so that the port rests on its side.
                    if *stage != Stage::Connecting {
                        write_masked_frame(&mut later.out, Opcode::Close, &1000u16.to_be_bytes(), MASK);
                    }
                }
                Frame::Binary(_) | Frame::Pong(_) => {}
            }
            ControlFlow::Continue(())
        })?;
        self.conclude(later)
    }

    /// Handles the complete lines of an event stream; returns how many bytes they have.
    fn receive_lines(
        &mut self,
        bytes: &[u8],
        shared: &mut Shared<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<usize> {
        let Speech::Stream(session, ..) = &mut self.speech else { return Ok(0) };
        let mut later = Later::default();
        let mut used = 0;
        while let Some(end) = bytes[used..].iter().position(|&byte| byte == b'\n') {
            let line = std::str::from_utf8(&bytes[used..used + end]).context("a line is not UTF-8")?.trim_end();
            used += end + 1;
            later.hear(&mut **session, &mut self.stage, shared.reader, line, sink);
        }
        self.conclude(later)?;
        Ok(used)
    }

    fn conclude(&mut self, later: Later) -> Result<()> {
        self.outbox.extend_from_slice(&later.out);
        self.flush();
        if let Some(reason) = later.refused {
            return Err(anyhow!(reason));
        }
        if let Some(reason) = later.ended {
            self.reason.get_or_insert(reason);
        }
        Ok(())
    }

    fn become_ready(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        self.stage = Stage::Ready;
        if !std::mem::replace(&mut self.was_ready, true) {
            sink(Event::Ready);
        }
    }
}

/// Begins to connect.
fn dial(target: &Target, source: Option<Ipv4Addr>) -> io::Result<Wire> {
    let socket = socket2::Socket::new(Domain::for_address(target.address), Type::STREAM, Some(Transport::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&target.address.into()) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        other => other?,
    }
    Wire::new(TcpStream::from_std(socket.into()), target.tls.as_ref())
}

/// What follows from frames that were heard.
#[derive(Default)]
struct Later {
    out: Vec<u8>,
    refused: Option<String>,
    ended: Option<String>,
}

impl Later {
    fn hear(
        &mut self,
        session: &mut dyn Session,
        stage: &mut Stage,
        reader: &mut StampReader,
        text: &str,
        sink: &mut impl FnMut(Event<'_>),
    ) {
        let stamp = match reader.read_again(text.as_bytes()) {
            None if session.is_answer(text) => None,
            None => reader.find(text.as_bytes()),
            stamp => stamp,
        };
        if let Some(stamp) = stamp {
            return sink(Event::Message(stamp, text.len()));
        }
        let mut say = Vec::new();
        let heard = session.hear(text, &mut say);
        say.iter().for_each(|text| write_masked_frame(&mut self.out, Opcode::Text, text.as_bytes(), MASK));
        match heard {
            Heard::Quiet => {}
            Heard::Joined => {
                *stage = Stage::Ready;
                sink(Event::Ready);
            }
            Heard::Answer(request) => sink(Event::Answer(request)),
            Heard::Problem(problem) => sink(Event::Problem(&problem)),
            Heard::Refused(reason) => self.refused = Some(reason),
        }
    }
}

/// The head of the request that opens a session.
fn head(session: &dyn Session, target: &Target, headers: &str) -> String {
    let opening = session.opening();
    let Target { authority, prefix, .. } = target;
    format!("GET {prefix}{} HTTP/1.1\r\nHost: {authority}\r\n{headers}{}\r\n", opening.path, opening.headers)
}
