//! Many client connections on one thread and one epoll.
//!
//! The fleet opens, reads, writes and closes; what the messages mean is the scenario's business. It answers pings,
//! and keeps the number of connections being opened within the server's backlog.

mod socket;
mod wire;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket::Socket;

/// Connections that may be on their way at the same time.
const OPENING_AT_ONCE: usize = 128;
/// Local addresses the connections are spread over, so that ports last through many short connections.
const SOURCES: usize = 32;
/// Bytes read from one socket at a time.
const SCRATCH: usize = 256 * 1024;

/// A connection of the fleet; numbers are used again after a connection is closed.
pub type Id = usize;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// The native protocol over WebSocket, at `/ws`.
    Websocket,
    /// An event stream of one channel, at `/sse`.
    Sse,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is open and has joined the channel it was opened for.
    Ready,
    /// A text frame, or an event of a stream.
    Text(&'a [u8]),
    /// It is gone, by the server's will or after [`Fleet::close`].
    Closed,
}

/// All client connections of one process.
pub struct Fleet {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    sockets: Slab<Socket>,
    scratch: Vec<u8>,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Whether it asks for events again and again instead of sleeping until there are some.
    pub spins: bool,
    opened: usize,
    opening: usize,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("server", &self.server)
            .field("sockets", &self.sockets.len())
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// A fleet without connections, for the server at `server`; with `tls`, all of them will be encrypted.
    ///
    /// # Errors
    /// Fails when the system has no more descriptors.
    pub fn new(server: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            server,
            sockets: Slab::new(),
            scratch: vec![0; SCRATCH],
            tls,
            spins: false,
            opened: 0,
            opening: 0,
        })
    }

    /// Whether another connection may be opened now; if not, it may after a [`turn`](Self::turn).
    pub fn may_open(&self) -> bool {
        self.opening < OPENING_AT_ONCE
    }

    /// Connections that exist, in whatever state.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Starts a connection that joins `channel`, if one is given; [`Event::Ready`] follows.
    ///
    /// # Errors
    /// Fails when the system has no more descriptors or ports.
    pub fn open(&mut self, transport: Transport, channel: Option<&str>) -> Result<Id> {
        let source = match self.server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => Some(Ipv4Addr::new(127, 0, 1, 1 + (self.opened % SOURCES) as u8)),
            _ => None,
        };
        self.opened += 1;
        self.opening += 1;
        let mut socket = Socket::connect(self.server, source, transport, channel, self.tls.as_ref())
            .with_context(|| format!("failed to connect to {}", self.server))?;
        let slot = self.sockets.vacant_entry();
        let id = slot.key();
        self.poll.registry().register(socket.stream(), Token(id), Interest::READABLE | Interest::WRITABLE)?;
        slot.insert(socket);
        Ok(id)
    }

    /// Opens one connection per item of `channels` and waits until all are ready.
    ///
    /// # Errors
    /// Fails when a connection is refused or closed on the way.
    pub fn open_all<'c>(
        &mut self,
        transport: Transport,
        channels: impl IntoIterator<Item = Option<&'c str>>,
    ) -> Result<Vec<Id>> {
        let mut channels = channels.into_iter().peekable();
        let (mut ids, mut ready, mut closed) = (Vec::new(), 0, 0);
        while channels.peek().is_some() || ready < ids.len() {
            while self.may_open()
                && let Some(channel) = channels.next()
            {
                ids.push(self.open(transport, channel)?);
            }
            self.turn(Some(Duration::from_secs(10)), |_, event| match event {
                Event::Ready => ready += 1,
                Event::Closed => closed += 1,
                Event::Text(_) => {}
            })?;
            anyhow::ensure!(closed == 0, "the server closed {closed} connections after {ready} were open");
            anyhow::ensure!(
                self.spins || !self.events.is_empty(),
                "the server did not answer for 10 s with {ready} connections open"
            );
        }
        Ok(ids)
    }

    /// Waits for events, at most for `timeout`, and gives each to `sink`.
    ///
    /// # Errors
    /// Fails when the system does.
    pub fn turn(&mut self, timeout: Option<Duration>, mut sink: impl FnMut(Id, Event<'_>)) -> Result<()> {
        let timeout = if self.spins { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let Token(id) = event.token();
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            let was_opening = socket.is_opening();
            let open = socket.on_readiness(event, &mut self.scratch, |event| sink(id, event));
            if was_opening && (!open || !socket.is_opening()) {
                self.opening -= 1;
            }
            if !open {
                self.sockets.remove(id);
                sink(id, Event::Closed);
            }
        }
        Ok(())
    }

    /// Sends `text` as one text frame.
    ///
    /// What the socket does not take is kept and follows when it does.
    pub fn send(&mut self, id: Id, text: &str) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.send(crate::frame::TEXT, text.as_bytes());
        }
    }

    /// Starts the closing handshake; [`Event::Closed`] follows when the server has closed the connection.
    pub fn close(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.close();
        }
    }

    /// Stops reading from a connection, as a client that hangs.
    ///
    /// # Errors
    /// Fails when the system does.
    pub fn pause(&mut self, id: Id) -> Result<()> {
        let socket = self.sockets.get_mut(id).context("the connection is closed")?;
        Ok(self.poll.registry().deregister(socket.stream())?)
    }

    /// Reads from a paused connection again.
    ///
    /// # Errors
    /// Fails when the system does.
    pub fn resume(&mut self, id: Id) -> Result<()> {
        let socket = self.sockets.get_mut(id).context("the connection is closed")?;
        Ok(self.poll.registry().register(socket.stream(), Token(id), Interest::READABLE | Interest::WRITABLE)?)
    }

    /// Closes every connection and waits, at most for `patience`, until the server has closed them all.
    ///
    /// # Errors
    /// Fails when the system does.
    pub fn close_all(&mut self, patience: Duration) -> Result<()> {
        let ids: Vec<Id> = self.sockets.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.close(id));
        let deadline = std::time::Instant::now() + patience;
        while !self.is_empty() && std::time::Instant::now() < deadline {
            self.turn(Some(Duration::from_millis(100)), |_, _| {})?;
        }
        self.sockets.clear();
        Ok(())
    }
}
