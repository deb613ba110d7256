//! A connection's socket: plain, or with TLS on top.

use std::io::{self, IoSlice, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use rustls::ServerConnection;
use socket2::SockRef;

/// What a worker reads from and writes to. Nothing here blocks.
pub(crate) enum Socket {
    /// There is none: requests come and fetch what there is.
    Absent,
    Plain(TcpStream),
    Tls(TlsSocket),
}

/// TLS driven by hand. What it has encrypted and not yet sent is bounded by [`TLS_BUFFER`].
pub(crate) struct TlsSocket {
    stream: TcpStream,
    tls: Box<ServerConnection>,
}

/// Plain text that rustls takes before the socket took its cipher text, in bytes.
const TLS_BUFFER: usize = 64 << 10;

impl Socket {
    fn tls(stream: TcpStream, mut tls: Box<ServerConnection>) -> Self {
        tls.set_buffer_limit(Some(TLS_BUFFER));
        Self::Tls(TlsSocket { stream, tls })
    }

    pub fn new(stream: std::net::TcpStream, tls: Option<Box<ServerConnection>>) -> Self {
        let stream = TcpStream::from_std(stream);
        match tls {
            Some(tls) => Self::tls(stream, tls),
            None => Self::Plain(stream),
        }
    }

    pub fn stream(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Absent => None,
            Self::Plain(stream) => Some(stream),
            Self::Tls(socket) => Some(&mut socket.stream),
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether bytes may be there without the socket becoming readable: they were read ahead of the worker.
    pub fn has_read_ahead(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Absent => Err(io::ErrorKind::WouldBlock.into()),
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(socket) => socket.read(buffer),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Absent => Err(io::ErrorKind::WouldBlock.into()),
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(socket) => socket.write(&[IoSlice::new(bytes)]),
        }
    }

    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Absent => Err(io::ErrorKind::WouldBlock.into()),
            Self::Plain(stream) => stream.write_vectored(slices),
            Self::Tls(socket) => socket.write(slices),
        }
    }

    /// Sends what an earlier write left behind; `WouldBlock` while the socket does not take all of it.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Absent | Self::Plain(_) => Ok(()),
            Self::Tls(socket) => socket.send(),
        }
    }

    /// What the peer has not taken is thrown away when this is dropped, and not kept by the system for minutes.
    pub fn give_up(&mut self) {
        if let Some(stream) = self.stream() {
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Says that nothing more will be written.
    pub fn finish(&mut self) {
        if let Self::Tls(socket) = self {
            socket.tls.send_close_notify();
            // Best effort: the peer may be gone.
            let _ = socket.send();
        }
        if let Some(stream) = self.stream() {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }
}

impl TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a close_notify the peer may have been cut off; for us both are the end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            if self.tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The alert, if it gets through.
                let _ = self.send();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if self.tls.wants_write() {
                ignore_full(self.send())?;
            }
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        ignore_full(self.send())?;
        let taken = self.tls.writer().write_vectored(slices)?;
        ignore_full(self.send())?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

fn ignore_full(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}
