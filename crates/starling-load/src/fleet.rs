//! Many client connections on one thread and one epoll.
//!
//! The fleet opens, reads, writes and closes; what the messages mean is the scenario's business. It answers pings, sends
//! the heartbeats that a protocol wants, and keeps the number of connections being opened within the server's backlog.

mod requests;
mod socket;
mod wire;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket::{Shared, Socket};
use starling_proto::websocket::Inflater;

use crate::{
    session::{HEARTBEAT, Publish},
    stamp::{Stamp, StampReader},
    target::{Identity, Target},
    watch::{Stage, Watch},
};

/// Connections that may be on their way at the same time.
const OPENING_AT_ONCE: usize = 128;
/// Local addresses the connections are spread over, so that ports last through many short connections.
const SOURCES: usize = 32;
/// Bytes read from one socket at a time.
const SCRATCH: usize = 256 * 1024;
/// How long the server may do nothing for connections that are being opened.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often some of the connections send their heartbeat.
const BEAT: Duration = Duration::from_millis(100);

/// A connection of the fleet; numbers are used again after a connection is closed.
pub type Id = usize;

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is open and has joined the channel it was opened for.
    Ready,
    /// A message with its stamp and its length in bytes, framing left out.
    Message(Stamp, usize),
    /// The positive answer to the request with this number.
    Answer(u64),
    /// The server refused something, or said what is not understood.
    Problem(&'a str),
    /// It is gone, by the server's will or after [`Fleet::close`]; and why, if that is known.
    Closed(Option<&'a str>),
}

/// All client connections of one process.
pub struct Fleet {
    poll: Poll,
    events: Events,
    target: Target,
    identity: Arc<Identity>,
    sockets: Slab<Socket>,
    scratch: Vec<u8>,
    inflater: Inflater,
    reader: StampReader,
    /// Whether it asks for events again and again instead of sleeping until there are some.
    pub spins: bool,
    opened: usize,
    opening: usize,
    /// When the next connections send their heartbeat, and which were the last.
    beat: (Instant, usize),
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("target", &self.target)
            .field("sockets", &self.sockets.len())
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// A fleet without connections.
    ///
    /// # Errors
    /// Fails when the system has no more descriptors.
    pub fn new(target: Target, identity: Arc<Identity>) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            target,
            identity,
            sockets: Slab::new(),
            scratch: vec![0; SCRATCH],
            inflater: Inflater::new(),
            reader: StampReader::default(),
            spins: false,
            opened: 0,
            opening: 0,
            beat: (Instant::now() + BEAT, 0),
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
    pub fn open(&mut self, channel: Option<&str>) -> Result<Id> {
        let identity = self.identity.clone();
        self.connect(Some((&identity, channel)))
    }

    /// Starts a connection for [`request`](Self::request)s; [`Event::Ready`] follows.
    ///
    /// # Errors
    /// Fails when the system has no more descriptors or ports.
    pub fn open_for_requests(&mut self) -> Result<Id> {
        self.connect(None)
    }

    fn connect(&mut self, identity: Option<(&Arc<Identity>, Option<&str>)>) -> Result<Id> {
        let source = source(&self.target, self.opened);
        self.opened += 1;
        self.opening += 1;
        let mut socket = Socket::connect(&self.target, source, identity).with_context(|| {
            format!("cannot connect to {} with {} connections open", self.target.address, self.len())
        })?;
        let slot = self.sockets.vacant_entry();
        let id = slot.key();
        self.poll.registry().register(socket.stream(), Token(id), Interest::READABLE | Interest::WRITABLE)?;
        slot.insert(socket);
        Ok(id)
    }

    /// Opens one connection per item of `channels` and waits until all are ready, or the watch wants to stop.
    ///
    /// # Errors
    /// Fails when a connection is refused or closed on the way, or the server stops answering.
    pub fn open_all<'c>(
        &mut self,
        watch: &mut dyn Watch,
        channels: impl ExactSizeIterator<Item = Option<&'c str>>,
    ) -> Result<Vec<Id>> {
        let total = channels.len() as u64;
        let mut channels = channels.peekable();
        let (mut ids, mut ready, mut closed) = (Vec::new(), 0, None);
        let mut heard = Instant::now();
        while (channels.peek().is_some() || ready < ids.len()) && !watch.wants_stop() {
            while self.may_open()
                && let Some(channel) = channels.next()
            {
                ids.push(self.open(channel)?);
            }
            let before = ready;
            let mut problem = None;
            self.turn(Some(BEAT), |_, event| match event {
                Event::Ready => ready += 1,
                Event::Closed(reason) => closed = Some(reason.unwrap_or("closed without a word").to_owned()),
                Event::Problem(text) => problem = Some(text.to_owned()),
                Event::Message(..) | Event::Answer(_) => {}
            })?;
            watch.see(Stage::Connecting, ready as u64, total);
            if let Some(reason) = closed {
                match ready {
                    0 => bail!("the server refused the connection: {reason}"),
                    _ => bail!("the server ended a connection after {ready} of {total} were open: {reason}"),
                }
            }
            if ready > before {
                heard = Instant::now();
            }
            ensure!(
                heard.elapsed() < PATIENCE,
                "the server did not answer for {} s with {ready} of {total} connections open and in their channels{}",
                PATIENCE.as_secs(),
                problem.map_or(String::new(), |text| format!("; it said: {text}"))
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
        let mut shared = Shared {
            scratch: &mut self.scratch,
            inflater: &mut self.inflater,
            reader: &mut self.reader,
            target: &self.target,
        };
        for event in &self.events {
            let Token(id) = event.token();
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            let was_opening = socket.is_opening();
            let open = socket.on_readiness(event, &mut shared, |event| sink(id, event));
            if was_opening && (!open || !socket.is_opening()) {
                self.opening -= 1;
            }
            if !open && socket.may_reconnect() {
                let again = socket.reconnect(&self.target, source(&self.target, self.opened)).and_then(|()| {
                    self.poll.registry().register(socket.stream(), Token(id), Interest::READABLE | Interest::WRITABLE)
                });
                self.opened += 1;
                match again {
                    Ok(()) => {
                        self.opening += 1;
                        continue;
                    }
                    Err(error) => socket.reason = Some(error.to_string()),
                }
            }
            if !open {
                let socket = self.sockets.remove(id);
                sink(id, Event::Closed(socket.reason.as_deref()));
            }
        }
        self.send_heartbeats();
        Ok(())
    }

    /// Lets a few connections at a time send their heartbeat, so that they do not come at once.
    fn send_heartbeats(&mut self) {
        let now = Instant::now();
        let (due, last) = &mut self.beat;
        if now < *due {
            return;
        }
        *due = now + BEAT;
        let slots = self.sockets.capacity().max(1);
        let share = slots.div_ceil((HEARTBEAT.as_millis() / BEAT.as_millis()) as usize);
        for _ in 0..share {
            *last = (*last + 1) % slots;
            if let Some(socket) = self.sockets.get_mut(*last) {
                socket.heartbeat();
            }
        }
    }

    /// Publishes a message; what the socket does not take is kept and follows when it does.
    pub fn publish(&mut self, id: Id, publish: Publish<'_>) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.publish(publish);
        }
    }

    /// Sends a request over a connection of [`open_for_requests`](Self::open_for_requests), when those before it are
    /// answered; an [`Event::Answer`] or [`Event::Problem`] follows. Where the server closes the connection after an
    /// answer, another one takes its place.
    pub fn request(&mut self, id: Id, request: &[u8]) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.request(request);
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
        let deadline = Instant::now() + patience;
        while !self.is_empty() && Instant::now() < deadline {
            self.turn(Some(BEAT), |_, _| {})?;
        }
        self.sockets.clear();
        self.opening = 0;
        Ok(())
    }
}

/// The local address of a connection to this machine.
fn source(target: &Target, opened: usize) -> Option<Ipv4Addr> {
    match target.address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Some(Ipv4Addr::new(127, 0, 1, 1 + (opened % SOURCES) as u8)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::target::Protocol;

    /// Longer than anything here takes, so that a broken test ends.
    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn requests_go_on_where_the_server_closes_after_each_answer() {
        const REQUESTS: u64 = 20;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::plain(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            for number in 0..REQUESTS {
                let (mut client, _) = listener.accept().unwrap();
                let mut request = [0; 4];
                client.read_exact(&mut request).unwrap();
                // With a word of it, and without.
                let word = if number % 2 == 0 { "Connection: close\r\n" } else { "" };
                let answer = format!("HTTP/1.1 200 OK\r\n{word}Content-Length: 2\r\n\r\n{{}}");
                client.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut fleet = Fleet::new(target, Arc::new(Identity::anonymous(Protocol::Native))).unwrap();
        let id = fleet.open_for_requests().unwrap();
        let (mut ready, mut answers, mut closed) = (0, 0, None);
        let deadline = Instant::now() + LIMIT;
        let mut asked = 0;
        while answers < REQUESTS && closed.is_none() && Instant::now() < deadline {
            if asked == answers && ready > 0 {
                asked += 1;
                fleet.request(id, b"ask\n");
            }
            let turned = fleet.turn(Some(BEAT), |_, event| match event {
                Event::Ready => ready += 1,
                Event::Answer(number) => answers = number,
                Event::Closed(reason) => closed = Some(reason.map(str::to_owned)),
                Event::Problem(problem) => panic!("{problem}"),
                Event::Message(..) => {}
            });
            turned.unwrap();
        }
        assert_eq!((ready, answers, closed), (1, REQUESTS, None));
        server.join().unwrap();
    }
}
