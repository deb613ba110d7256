//! One end of a conversation that sends every message back: the driver that both examples share.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::time::Duration;

use starling_proto::websocket::{
    Decoder, Deflate, Deflater, Event, Inflater, Opcode, Role, close_frame, masked_frame, write_frame,
    write_masked_frame,
};

/// The largest message that is echoed, in bytes; Autobahn's largest has 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;
/// How long the other end has to close after the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Encodes this end's frames, masked if it is a client.
struct Encoder {
    role: Role,
    deflate: Option<Deflate>,
    deflater: Deflater,
    random: u64,
}

impl Encoder {
    fn message(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
        let mask = self.mask();
        // Always, because kosoku takes a text message that came uncompressed for a failure of its own.
        let compressed = self.deflate.and_then(|deflate| match self.role {
            Role::Server => self.deflater.frame(opcode, payload, deflate),
            Role::Client => self.deflater.masked_frame(opcode, payload, deflate, mask),
        });
        match (compressed, self.role) {
            (Some(frame), _) => out.extend_from_slice(&frame),
            (None, Role::Server) => write_frame(out, opcode, payload),
            (None, Role::Client) => write_masked_frame(out, opcode, payload, mask),
        }
    }

    fn close(&mut self, out: &mut Vec<u8>, code: Option<starling_proto::websocket::CloseCode>) {
        let payload = code.map(|code| code.0.to_be_bytes());
        match (self.role, code) {
            (Role::Server, Some(code)) => out.extend_from_slice(&close_frame(code, "")),
            (Role::Server, None) => write_frame(out, Opcode::Close, b""),
            (Role::Client, _) => {
                let payload = payload.as_ref().map_or(&[][..], |payload| payload);
                out.extend_from_slice(&masked_frame(Opcode::Close, payload, self.mask()));
            }
        }
    }

    /// Good enough against a test server on the same machine; a real client needs unpredictable masks.
    fn mask(&mut self) -> [u8; 4] {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 32) as u32).to_be_bytes()
    }
}

/// Echoes until the connection is closed. `early` is what followed the handshake's last byte.
pub fn converse(stream: &mut TcpStream, role: Role, deflate: Option<Deflate>, early: &[u8]) -> io::Result<()> {
    let mut decoder = Decoder::new(role, MAX_MESSAGE, deflate);
    let mut inflater = Inflater::new();
    let mut encoder = Encoder { role, deflate, deflater: Deflater::always(), random: u64::from(std::process::id()) };
    let mut buffer = vec![0; 64 * 1024];
    let mut out = Vec::new();
    buffer[..early.len()].copy_from_slice(early);
    let mut read = early.len();
    let mut open = true;
    while open {
        let decoded = decoder.feed(&mut buffer[..read], &mut inflater, &mut |event| {
            match event {
                Event::Text(text) => encoder.message(&mut out, Opcode::Text, text.as_bytes()),
                Event::Binary(bytes) => encoder.message(&mut out, Opcode::Binary, bytes),
                Event::Ping(payload) => encoder.message(&mut out, Opcode::Pong, payload),
                Event::Pong(_) => {}
                Event::Close(code, _) => {
                    encoder.close(&mut out, code);
                    open = false;
                }
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = decoded {
            encoder.close(&mut out, Some(error.close_code()));
            open = false;
        }
        stream.write_all(&out)?;
        out.clear();
        if open {
            read = stream.read(&mut buffer)?;
            open = read > 0;
        }
    }
    // The server closes first (section 7.1.1); reading to the end keeps unread bytes from resetting the connection.
    if role == Role::Server {
        stream.shutdown(Shutdown::Write)?;
    }
    stream.set_read_timeout(Some(CLOSE_TIMEOUT))?;
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Reads the head of an HTTP message; also returns what came after it.
pub fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if bytes.len() > 16 * 1024 => return Err(io::ErrorKind::InvalidData.into()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// All values of a header, joined by `", "`.
pub fn header(head: &str, name: &str) -> String {
    let values = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let values = values.filter(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    values.collect::<Vec<_>>().join(", ")
}
