//! The bare loop: one thread, one epoll, one `send()` of the same framed bytes to each member, and nothing else.
//!
//! It has no queues, limits, checks or features: a socket that is full loses the connection. What it costs is what the
//! kernel asks for the same work, so that a server can be given as a ratio to it.

mod connection;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use connection::Connection;
use mio::{Events, Interest, Poll, Token, net::TcpListener};
use slab::Slab;

use crate::{frame, native};

const LISTENER: Token = Token(usize::MAX);
const SCRATCH: usize = 256 * 1024;
/// Characters of a message id: about as many as Starling's have, so that both send frames of one size.
const ID_CHARS: usize = 14;

/// When a published message leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// At once, with one send to each member for each message.
    EachMessage,
    /// At the end of a turn of the loop, with one send to each member for all messages of the channel.
    EachTurn,
}

#[derive(Default)]
struct Channel {
    members: Vec<usize>,
    /// Frames that leave at the end of the turn.
    waiting: Vec<u8>,
}

/// The server.
pub struct Bare {
    poll: Poll,
    listener: TcpListener,
    flush: Flush,
    connections: Slab<Connection>,
    names: HashMap<String, usize>,
    channels: Vec<Channel>,
    /// Channels that have frames waiting.
    dirty: Vec<usize>,
    published: u64,
    outgoing: Vec<u8>,
    text: String,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare").field("flush", &self.flush).finish_non_exhaustive()
    }
}

impl Bare {
    /// Listens on `address`.
    ///
    /// # Errors
    /// Fails when the address is taken.
    pub fn listen(address: SocketAddr, flush: Flush) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            flush,
            connections: Slab::new(),
            names: HashMap::new(),
            channels: Vec::new(),
            dirty: Vec::new(),
            published: 0,
            outgoing: Vec::new(),
            text: String::new(),
        })
    }

    /// Serves until the process is ended.
    ///
    /// # Errors
    /// Fails when the system does.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; SCRATCH];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(id) => self.read(id, &mut scratch, event.is_read_closed()),
                }
            }
            self.end_turn();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                other => other?,
            };
            stream.set_nodelay(true)?;
            let slot = self.connections.vacant_entry();
            self.poll.registry().register(&mut stream, Token(slot.key()), Interest::READABLE)?;
            slot.insert(Connection::new(stream));
        }
    }

    fn read(&mut self, id: usize, scratch: &mut [u8], at_end: bool) {
        loop {
            let Some(connection) = self.connections.get_mut(id) else {
                return;
            };
            let len = match connection.read(scratch) {
                Ok(Some(len)) => len,
                Ok(None) => return,
                Err(_) => return self.remove(id),
            };
            if connection.tail.is_empty() {
                let used = self.consume(id, &mut scratch[..len]);
                self.keep(id, &scratch[used..len]);
            } else {
                let mut tail = std::mem::take(&mut connection.tail);
                tail.extend_from_slice(&scratch[..len]);
                let used = self.consume(id, &mut tail);
                self.keep(id, &tail[used..]);
            }
            // A short read has emptied the socket; the end is told once, and shows in one more read.
            if len < scratch.len() && !at_end {
                return;
            }
        }
    }

    fn keep(&mut self, id: usize, tail: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id)
            && !tail.is_empty()
        {
            connection.tail.extend_from_slice(tail);
        }
    }

    /// Handles the request or every whole frame in `bytes`; returns how many bytes that were.
    fn consume(&mut self, id: usize, bytes: &mut [u8]) -> usize {
        if !self.connections[id].upgraded {
            return match self.connections[id].upgrade(bytes) {
                Ok(used) => used,
                Err(_) => {
                    self.remove(id);
                    bytes.len()
                }
            };
        }
        let mut used = 0;
        while let Some(head) = frame::Head::of_whole_frame(&bytes[used..]) {
            let payload = &mut bytes[used + head.len..used + head.total()];
            used += head.total();
            if let Some(key) = head.mask {
                frame::unmask(payload, key);
            }
            match head.opcode {
                frame::TEXT => self.on_text(id, payload),
                frame::PING => self.answer(id, frame::PONG, payload),
                frame::CLOSE => {
                    self.answer(id, frame::CLOSE, payload);
                    self.remove(id);
                    return bytes.len();
                }
                _ => {}
            }
        }
        used
    }

    fn on_text(&mut self, id: usize, text: &[u8]) {
        let Ok(text) = std::str::from_utf8(text) else {
            return;
        };
        let Some(channel) = native::field(text, native::CHANNEL).map(|quoted| quoted.trim_matches('"')) else {
            return;
        };
        let request = native::field(text, native::ID);
        if text.starts_with(r#"{"type":"publish""#) {
            if let Some(payload) = native::field(text, native::PAYLOAD) {
                self.publish(channel, payload);
            }
            if let Some(request) = request {
                let ack = format!(
                    r#"{{"type":"ack","id":{request},"channel":"{channel}","messageId":"{:0width$}"}}"#,
                    self.published,
                    width = ID_CHARS
                );
                self.answer(id, frame::TEXT, ack.as_bytes());
            }
            return;
        }
        let index = self.channel(channel);
        self.channels[index].members.push(id);
        self.connections[id].channels.push(index);
        let ack = format!(r#"{{"type":"ack","id":{},"channel":"{channel}"}}"#, request.unwrap_or("null"));
        self.answer(id, frame::TEXT, ack.as_bytes());
    }

    fn channel(&mut self, name: &str) -> usize {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        self.names.insert(name.to_owned(), self.channels.len());
        self.channels.push(Channel::default());
        self.channels.len() - 1
    }

    fn publish(&mut self, channel: &str, payload: &str) {
        self.published += 1;
        let Some(&index) = self.names.get(channel) else {
            return;
        };
        self.write_message(channel, payload);
        self.outgoing.clear();
        frame::push_server_frame(&mut self.outgoing, frame::TEXT, self.text.as_bytes());
        match self.flush {
            Flush::EachMessage => {
                let outgoing = std::mem::take(&mut self.outgoing);
                self.send_to_members(index, &outgoing);
                self.outgoing = outgoing;
            }
            Flush::EachTurn => {
                let channel = &mut self.channels[index];
                if channel.waiting.is_empty() {
                    self.dirty.push(index);
                }
                channel.waiting.extend_from_slice(&self.outgoing);
            }
        }
    }

    fn write_message(&mut self, channel: &str, payload: &str) {
        use std::fmt::Write as _;
        let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.text.clear();
        let _ = write!(
            self.text,
            r#"{{"type":"message","channel":"{channel}","event":"message","payload":{payload},"id":"{:0width$}","ts":{ts}}}"#,
            self.published,
            width = ID_CHARS
        );
    }

    fn end_turn(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            let waiting = std::mem::take(&mut self.channels[index].waiting);
            self.send_to_members(index, &waiting);
        }
    }

    fn send_to_members(&mut self, channel: usize, bytes: &[u8]) {
        let mut full = Vec::new();
        for &member in &self.channels[channel].members {
            match self.connections[member].stream.write(bytes) {
                Ok(len) if len == bytes.len() => {}
                _ => full.push(member),
            }
        }
        full.into_iter().for_each(|member| self.remove(member));
    }

    fn answer(&mut self, id: usize, opcode: u8, payload: &[u8]) {
        self.outgoing.clear();
        frame::push_server_frame(&mut self.outgoing, opcode, payload);
        if let Some(connection) = self.connections.get_mut(id) {
            let _ = connection.stream.write(&self.outgoing);
        }
    }

    fn remove(&mut self, id: usize) {
        let Some(connection) = self.connections.try_remove(id) else {
            return;
        };
        for channel in connection.channels {
            let members = &mut self.channels[channel].members;
            if let Some(at) = members.iter().position(|&member| member == id) {
                members.swap_remove(at);
            }
        }
    }
}
