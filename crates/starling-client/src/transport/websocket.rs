//! A WebSocket over a byte stream: messages in, masked frames out.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use starling_proto::native::Encoding;
use starling_proto::websocket::{CloseCode, Decoder, Event, Inflater, Opcode, Role, write_masked_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{Frame, ReadError};
use crate::connector::Stream;

/// How much is read at once, in bytes.
const READ: usize = 16 << 10;

/// The receiving half.
pub(crate) struct Reader {
    stream: ReadHalf<Box<dyn Stream>>,
    decoder: Decoder,
    inflater: Inflater,
    buffer: Vec<u8>,
}

/// The sending half: frames wait in it until [`Writer::flush`] is driven.
pub(crate) struct Writer {
    stream: WriteHalf<Box<dyn Stream>>,
    encoding: Encoding,
    waiting: Vec<u8>,
    /// How much of `waiting` has been written.
    written: usize,
    flushed: bool,
}

/// The two halves of a WebSocket. `rest` is what was read behind the answer to the upgrade.
pub(super) fn split(
    stream: Box<dyn Stream>,
    rest: Vec<u8>,
    max_message: usize,
    encoding: Encoding,
) -> (Reader, Writer) {
    let (reader, writer) = tokio::io::split(stream);
    let reader = Reader {
        stream: reader,
        decoder: Decoder::new(Role::Client, max_message, None),
        inflater: Inflater::new(),
        buffer: rest,
    };
    (reader, Writer { stream: writer, encoding, waiting: Vec::new(), written: 0, flushed: true })
}

impl Reader {
    /// Appends the frames of one read to `frames`, possibly none.
    ///
    /// Cancel-safe: what was read is decoded before anything is awaited again.
    pub(super) async fn read(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), ReadError> {
        if self.buffer.is_empty() {
            self.buffer.reserve(READ);
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(ReadError::Io)? == 0 {
                return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let mut sink = |event: Event<'_>| {
            frames.push_back(match event {
                Event::Text(text) => Frame::Text(text.into()),
                Event::Binary(bytes) => Frame::Binary(bytes.into()),
                Event::Ping(payload) => Frame::Ping(payload.into()),
                Event::Pong(_) => Frame::Pong,
                Event::Close(code, reason) => Frame::Close(code.map(|CloseCode(code)| code), reason.into()),
            });
            ControlFlow::Continue(())
        };
        let fed = self.decoder.feed(&mut self.buffer, &mut self.inflater, &mut sink);
        self.buffer.clear();
        fed.map(|_| ()).map_err(ReadError::Peer)
    }
}

impl Writer {
    /// Puts a message behind those that wait.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers, without which a frame must not be masked.
    pub(super) fn message(&mut self, message: &[u8]) -> io::Result<()> {
        self.push(opcode(self.encoding), message)
    }

    pub(super) fn ping(&mut self) -> io::Result<()> {
        self.push(Opcode::Ping, b"")
    }

    pub(super) fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.push(Opcode::Pong, payload)
    }

    pub(super) fn close(&mut self, code: CloseCode) -> io::Result<()> {
        self.push(Opcode::Close, &code.0.to_be_bytes())
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mask = getrandom::u32().map_err(io::Error::other)?.to_ne_bytes();
        write_masked_frame(&mut self.waiting, opcode, payload, mask);
        self.flushed = false;
        Ok(())
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() - self.written
    }

    /// Whether everything has been handed to the network.
    pub(super) fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// Writes all that waits. Cancel-safe: what was written is not written again.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while self.written < self.waiting.len() {
            match self.stream.write(&self.waiting[self.written..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.written += written,
            }
        }
        self.waiting.clear();
        self.written = 0;
        self.stream.flush().await?;
        self.flushed = true;
        Ok(())
    }
}

/// In which frames an encoding travels.
fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json => Opcode::Text,
        Encoding::Msgpack => Opcode::Binary,
    }
}
