//! One connection of the bare loop: a socket, its channels, and the upgrade.

use std::io::{self, Read as _, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mio::net::TcpStream;

/// What RFC 6455 section 4.2.2 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) upgraded: bool,
    /// The channels it is a member of.
    pub(super) channels: Vec<usize>,
    /// A request or frame of which the end has not arrived.
    pub(super) tail: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, upgraded: false, channels: Vec::new(), tail: Vec::new() }
    }

    /// Reads what is there: `None` when nothing is, an error when nothing will be.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.read(scratch) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Answers the upgrade request in `bytes`; returns how long it was, 0 while it is incomplete.
    pub(super) fn upgrade(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(0),
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
        let key = key.ok_or(io::ErrorKind::InvalidData)?;
        let mut sha1 = sha1_smol::Sha1::new();
        sha1.update(key.value);
        sha1.update(GUID.as_bytes());
        let accept = STANDARD.encode(sha1.digest().bytes());
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(response.as_bytes())?;
        self.upgraded = true;
        Ok(len)
    }
}
