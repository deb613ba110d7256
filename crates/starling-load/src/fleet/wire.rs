//! The socket of a connection, plain or under TLS.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::target::Tls;

pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<(TcpStream, ClientConnection)>),
}

impl Wire {
    pub(super) fn new(stream: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        let Some(tls) = tls else {
            return Ok(Self::Plain(stream));
        };
        let session = ClientConnection::new(tls.config.clone(), tls.name.clone()).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new((stream, session))))
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(both) => &mut both.0,
        }
    }

    /// Reads like a socket. Under TLS a short read does not mean that the socket is empty: only `WouldBlock` does.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (stream, session) = match self {
            Self::Plain(stream) => return stream.read(into),
            Self::Tls(both) => (&mut both.0, &mut both.1),
        };
        loop {
            match session.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if session.read_tls(stream)? == 0 {
                return Ok(0);
            }
            session.process_new_packets().map_err(io::Error::other)?;
            // The handshake answers by itself.
            while session.wants_write() {
                session.write_tls(stream)?;
            }
        }
    }

    /// Whether a short read has emptied the socket.
    pub(super) fn short_reads_are_final(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Writes like a socket; under TLS everything is taken, and what the socket has no room for follows with the next
    /// write: the clients send little.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (stream, session) = match self {
            Self::Plain(stream) => return stream.write(bytes),
            Self::Tls(both) => (&mut both.0, &mut both.1),
        };
        let len = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(stream)?;
        }
        Ok(len)
    }
}
