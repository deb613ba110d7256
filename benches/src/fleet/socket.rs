//! One client connection: from connect to close, with the bytes that are on their way.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    sync::Arc,
};

use mio::{event::Event as Readiness, net::TcpStream};
use socket2::{Domain, Protocol, Type};

use super::{Event, Transport, wire::Wire};
use crate::{
    frame::{self, Head},
    native,
};

/// What the connection waits for.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The TCP handshake; then the request is sent.
    Connecting(String),
    /// The response to the request; then the channel is joined.
    Upgrading(Option<String>),
    /// The acknowledgement of the subscription.
    Joining,
    /// Messages.
    Ready,
}

pub(super) struct Socket {
    wire: Wire,
    transport: Transport,
    stage: Stage,
    /// A message of which the end has not arrived.
    tail: Vec<u8>,
    /// Bytes that the socket had no room for.
    outbox: Vec<u8>,
}

impl Socket {
    pub(super) fn connect(
        server: SocketAddr,
        source: Option<Ipv4Addr>,
        transport: Transport,
        channel: Option<&str>,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            other => other?,
        }
        Ok(Self {
            wire: Wire::new(TcpStream::from_std(socket.into()), tls)?,
            transport,
            stage: Stage::Connecting(channel.unwrap_or_default().to_owned()),
            tail: Vec::new(),
            outbox: Vec::new(),
        })
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
        scratch: &mut [u8],
        mut sink: impl FnMut(Event<'_>),
    ) -> bool {
        if readiness.is_writable() && !self.on_writable() {
            return false;
        }
        while readiness.is_readable() {
            match self.wire.read(scratch) {
                Ok(0) => return false,
                Ok(len) => {
                    self.receive(&scratch[..len], &mut sink);
                    // Less than there was room for: the socket is empty, and epoll tells when that changes, unless
                    // it has told of the end already.
                    if len < scratch.len() && self.wire.short_reads_are_final() && !readiness.is_read_closed() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }

    pub(super) fn send(&mut self, opcode: u8, payload: &[u8]) {
        frame::push_client_frame(&mut self.outbox, opcode, payload);
        self.flush();
    }

    pub(super) fn close(&mut self) {
        match self.transport {
            Transport::Websocket => self.send(frame::CLOSE, &1000u16.to_be_bytes()),
            Transport::Sse => drop(self.wire.stream().shutdown(Shutdown::Write)),
        }
    }

    fn on_writable(&mut self) -> bool {
        if let Stage::Connecting(channel) = &mut self.stage {
            // Refused connections are reported as writable, too.
            if self.wire.stream().peer_addr().is_err() {
                return false;
            }
            let channel = std::mem::take(channel);
            let request = request(self.transport, &channel);
            self.outbox.extend_from_slice(request.as_bytes());
            let joins = self.transport == Transport::Websocket && !channel.is_empty();
            self.stage = Stage::Upgrading(joins.then_some(channel));
        }
        self.flush();
        true
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

    fn receive(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        if self.tail.is_empty() {
            let used = self.consume(bytes, sink);
            self.tail.extend_from_slice(&bytes[used..]);
            return;
        }
        let mut tail = std::mem::take(&mut self.tail);
        tail.extend_from_slice(bytes);
        let used = self.consume(&tail, sink);
        if used < tail.len() {
            self.tail = tail.split_off(used);
        }
    }

    /// Handles every whole response, frame or event in `bytes`; returns how many bytes that were.
    fn consume(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> usize {
        let mut used = 0;
        if let Stage::Upgrading(channel) = &mut self.stage {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return 0;
            };
            used = end + 4;
            let channel = channel.take();
            let accepted = matches!(&bytes[..bytes.len().min(12)], b"HTTP/1.1 101" | b"HTTP/1.1 200");
            if !accepted {
                let _ = self.wire.stream().shutdown(Shutdown::Both);
                return bytes.len();
            }
            match channel {
                Some(channel) => {
                    self.stage = Stage::Joining;
                    self.send(frame::TEXT, native::subscribe(&channel).as_bytes());
                }
                None => self.become_ready(sink),
            }
        }
        used + match self.transport {
            Transport::Websocket => self.consume_frames(&bytes[used..], sink),
            Transport::Sse => self.consume_lines(&bytes[used..], sink),
        }
    }

    fn consume_frames(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> usize {
        let mut used = 0;
        while let Some(head) = Head::of_whole_frame(&bytes[used..]) {
            let payload = &bytes[used + head.len..used + head.total()];
            used += head.total();
            match head.opcode {
                frame::TEXT if self.stage == Stage::Ready => sink(Event::Text(payload)),
                frame::TEXT if matches!(native::Incoming::of(payload), native::Incoming::Ack(_)) => {
                    self.become_ready(sink)
                }
                frame::TEXT => sink(Event::Text(payload)),
                frame::PING => self.send(frame::PONG, payload),
                // The server closes first, so that the port rests on its side.
                _ => {}
            }
        }
        used
    }

    /// Finds the `data:` lines; sizes of chunks, comments and other fields are of no interest.
    fn consume_lines(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> usize {
        let mut used = 0;
        while let Some(end) = bytes[used..].iter().position(|&byte| byte == b'\n') {
            let line = &bytes[used..used + end];
            used += end + 1;
            if let Some(data) = line.strip_prefix(b"data: ") {
                sink(Event::Text(data));
            }
        }
        used
    }

    fn become_ready(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        self.stage = Stage::Ready;
        self.tail = Vec::new();
        self.outbox = Vec::new();
        sink(Event::Ready);
    }
}

fn request(transport: Transport, channel: &str) -> String {
    match transport {
        Transport::Websocket => concat!(
            "GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c3RhcmxpbmctYmVuY2gtMQ==\r\n\r\n"
        )
        .to_owned(),
        Transport::Sse => {
            format!("GET /sse?channel={channel} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
        }
    }
}
