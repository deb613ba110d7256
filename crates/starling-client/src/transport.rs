//! The ways to a server. Whoever drives a connection sees the same of each: frames come in, messages go out.
//!
//! [`upgrade`] and [`websocket`] are the WebSocket. The others are sessions over HTTP ([`http`]): [`sse`] or [`poll`]
//! bring what comes down, `POST /send` carries what goes up, and [`order`] keeps the two in order.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use starling_proto::native::Encoding;
use starling_proto::websocket::{CloseCode, PeerError};

use crate::connector::Connector;
use crate::error::{Failure, Lost};

mod answer;
mod events;
mod http;
mod order;
mod poll;
mod requests;
mod sse;
mod upgrade;
mod websocket;

/// How long a connection that is left may take for its farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// A way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A WebSocket on `/ws`: one connection for both directions.
    WebSocket,
    /// Server-sent events on `/sse`, and `POST /send` for the way up. Always JSON.
    Sse,
    /// Long-polling on `/poll`, and `POST /send` for the way up. Always JSON.
    Poll,
}

impl Transport {
    /// All of them, from best to worst: the default of [`Builder::transports`](crate::Builder::transports).
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Poll];

    /// Its name: `websocket`, `sse` or `poll`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came from the server. Pings are answered by the [`Socket`]'s owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    /// A sign of life.
    Pong,
    Close(Option<u16>, String),
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    /// Nothing came for longer than the server is silent.
    Silent,
    /// The server violated RFC 6455.
    Peer(PeerError),
    /// A request of a session over HTTP was not answered as it should be.
    Http(Failure),
}

impl ReadError {
    pub(crate) fn lost(&self) -> Lost {
        match self {
            Self::Io(error) => Lost::broken(error),
            Self::Silent => Lost::broken("no sign of life from the server"),
            Self::Peer(violation) => Lost::broken(format!("the server violated the WebSocket protocol: {violation}")),
            Self::Http(failure) => Lost::broken(&failure.error),
        }
    }
}

/// An open connection, in two halves that are driven independently.
pub(crate) struct Socket {
    pub(crate) transport: Transport,
    /// How messages are written in the frames that come.
    pub(crate) encoding: Encoding,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// The receiving half.
pub(crate) enum Reader {
    WebSocket(Box<websocket::Reader>),
    Http(http::Reader),
}

/// The sending half: what is to be sent waits in it until [`Writer::flush`] is driven.
pub(crate) enum Writer {
    WebSocket(websocket::Writer),
    Http(http::Writer),
}

/// Opens a connection over this transport. `token` goes into `Authorization`.
///
/// Cancel-safe: a connection that is half open is closed.
pub(crate) async fn open(
    connector: &Arc<Connector>,
    transport: Transport,
    token: Option<&str>,
) -> Result<Socket, Failure> {
    match transport {
        Transport::WebSocket => {
            let (reader, writer) = upgrade::open(connector, token).await?;
            let (reader, writer) = (Reader::WebSocket(Box::new(reader)), Writer::WebSocket(writer));
            Ok(Socket { transport, encoding: connector.encoding, reader, writer })
        }
        Transport::Sse | Transport::Poll => {
            let (reader, writer) = http::open(connector, transport, token).await?;
            Ok(Socket {
                transport,
                encoding: Encoding::Json,
                reader: Reader::Http(reader),
                writer: Writer::Http(writer),
            })
        }
    }
}

impl Socket {
    /// Says farewell, and waits for the end, at most [`FAREWELL`].
    pub(crate) async fn retire(mut self) {
        let ended = async {
            let _ = self.writer.close(CloseCode::NORMAL);
            let mut frames = VecDeque::new();
            loop {
                let may_flush = !self.writer.is_flushed();
                tokio::select! {
                    flushed = self.writer.flush(), if may_flush => if flushed.is_err() { return },
                    read = self.reader.read(&mut frames) => {
                        if read.is_err() || frames.drain(..).any(|frame| matches!(frame, Frame::Close(..))) {
                            return;
                        }
                    }
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }
}

impl Reader {
    /// Appends the frames of one read to `frames`, possibly none.
    ///
    /// Cancel-safe: nothing that was read is lost.
    pub(crate) async fn read(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), ReadError> {
        match self {
            Self::WebSocket(reader) => reader.read(frames).await,
            Self::Http(reader) => reader.read(frames).await,
        }
    }
}

impl Writer {
    /// Puts a message behind those that wait. It is in the encoding of the connector.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers, without which a frame must not be masked.
    pub(crate) fn message(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::WebSocket(writer) => writer.message(message),
            Self::Http(writer) => writer.message(message),
        }
    }

    /// Whether silence has to be questioned with pings; otherwise the transport notices itself that the path is dead.
    pub(crate) fn needs_pings(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    /// Asks for a sign of life, where that is needed.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        match self {
            Self::WebSocket(writer) => writer.ping(),
            Self::Http(_) => Ok(()),
        }
    }

    /// Gives a sign of life, where there is such.
    pub(crate) fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::WebSocket(writer) => writer.pong(payload),
            Self::Http(_) => Ok(()),
        }
    }

    /// Ends the connection behind what waits. The end comes as [`Frame::Close`].
    pub(crate) fn close(&mut self, code: CloseCode) -> io::Result<()> {
        match self {
            Self::WebSocket(writer) => writer.close(code),
            Self::Http(writer) => {
                writer.close();
                Ok(())
            }
        }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::WebSocket(writer) => writer.len(),
            Self::Http(writer) => writer.len(),
        }
    }

    /// Whether everything has been handed to the network.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::WebSocket(writer) => writer.is_flushed(),
            Self::Http(writer) => writer.is_flushed(),
        }
    }

    /// Writes all that waits. Cancel-safe: what was written is not written again.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::WebSocket(writer) => writer.flush().await,
            Self::Http(writer) => writer.flush().await,
        }
    }
}
