//! Decompression of received messages, never beyond the limit of a message (RFC 7692 section 7.2.2).

use flate2::{Decompress, FlushDecompress, Status};

use super::PeerError;

/// How many compressed bytes of an incomplete message are kept as they came, before it gets a decompressor of its
/// own (about 48 KiB). Without this, ten bytes of a message that never ends would cost that much.
pub const HELD_COMPRESSED: usize = 16 * 1024;

/// What the shared output buffer keeps between messages, in bytes.
const KEPT_OUTPUT: usize = 64 * 1024;

/// The first allocation for a message's output, in bytes.
const FIRST_OUTPUT: usize = 1024;

/// How far back a compressed message may refer.
const WINDOW: usize = 32 * 1024;

/// What a sender cuts off the end of each message: the rest of an empty stored block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// An empty final block. A message that is complete ends the stream with it; a truncated one does not.
const END: [u8; 2] = [0x03, 0x00];

/// Decompression for all connections of one thread: a decompressor and an output buffer, reused for every message
/// that arrived in one piece and of a peer that does not keep its context.
#[derive(Debug, Default)]
pub struct Inflater {
    spare: Option<Inflate>,
    pub(super) output: Vec<u8>,
}

impl Inflater {
    /// An inflater that allocates its state (about 48 KiB) with the first compressed message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decompressor that remembers nothing.
    pub(super) fn take(&mut self) -> Inflate {
        self.spare.take().unwrap_or_else(Inflate::new)
    }

    /// Keeps a decompressor for the next message.
    pub(super) fn give_back(&mut self, mut inflate: Inflate) {
        inflate.reset();
        self.spare = Some(inflate);
    }

    /// Gives memory beyond [`KEPT_OUTPUT`] back after a large message.
    pub(super) fn trim(&mut self) {
        self.output.clear();
        self.output.shrink_to(KEPT_OUTPUT);
    }
}

/// One stream of compressed data: a message, or all messages of a peer that keeps its context.
#[derive(Debug)]
pub(super) struct Inflate {
    stream: Decompress,
    /// The block marked final has been read. Further data starts a new stream.
    ended: bool,
}

impl Inflate {
    /// A stream with the full window, which reads what was compressed with any window.
    pub(super) fn new() -> Self {
        Self { stream: Decompress::new(false), ended: false }
    }

    fn reset(&mut self) {
        self.stream.reset(false);
        self.ended = false;
    }

    /// Decompresses the next part of a message and appends it to `output`, which holds the message so far.
    ///
    /// # Errors
    ///
    /// As soon as `output` exceeds `max` bytes; its capacity never exceeds `max` by more than one byte.
    pub(super) fn push(&mut self, mut input: &[u8], output: &mut Vec<u8>, max: usize) -> Result<(), PeerError> {
        loop {
            if self.ended {
                if input.is_empty() {
                    return Ok(());
                }
                self.restart(output)?;
            }
            if output.len() == output.capacity() {
                // The byte beyond the limit is room for the proof that there is more.
                grow(output, FIRST_OUTPUT, max.saturating_add(1));
            }
            let (read, written) = (self.stream.total_in(), output.len());
            let status = self
                .stream
                .decompress_vec(input, output, FlushDecompress::Sync)
                .map_err(|_| PeerError::InvalidDeflate)?;
            if output.len() > max {
                return Err(PeerError::MessageTooLarge { max });
            }
            let read = (self.stream.total_in() - read) as usize;
            input = &input[read..];
            if status == Status::StreamEnd {
                self.ended = true;
                continue;
            }
            let drained = output.len() < output.capacity();
            if drained && input.is_empty() {
                return Ok(());
            }
            if drained && read == 0 && output.len() == written {
                return Err(PeerError::InvalidDeflate);
            }
        }
    }

    /// Ends a message of a stream that goes on with the next one.
    pub(super) fn finish_message(&mut self, output: &mut Vec<u8>, max: usize) -> Result<(), PeerError> {
        if self.ended {
            return Ok(());
        }
        self.push(&TAIL, output, max)
    }

    /// Ends a message that is a stream of its own, and checks that it was complete.
    pub(super) fn finish_stream(&mut self, output: &mut Vec<u8>, max: usize) -> Result<(), PeerError> {
        if self.ended {
            return Ok(());
        }
        self.push(&TAIL, output, max)?;
        self.push(&END, output, max)?;
        if self.ended { Ok(()) } else { Err(PeerError::InvalidDeflate) }
    }

    /// Continues after a final block, which a sender may use and go on (RFC 7692 section 7.2.3.4). The window is
    /// that of this message: data that refers to an earlier one across a final block is taken for corrupt.
    fn restart(&mut self, output: &[u8]) -> Result<(), PeerError> {
        self.reset();
        let window = &output[output.len().saturating_sub(WINDOW)..];
        if !window.is_empty() {
            self.stream.set_dictionary(window).map_err(|_| PeerError::InvalidDeflate)?;
        }
        Ok(())
    }
}

/// Makes room for at least one and about `additional` more bytes in a message's buffer: doubling, but never to more
/// than `max` bytes as long as these suffice.
pub(super) fn grow(buffer: &mut Vec<u8>, additional: usize, max: usize) {
    let needed = buffer.len() + additional;
    if needed <= buffer.capacity() {
        return;
    }
    let target = needed.max(buffer.capacity().saturating_mul(2)).min(max).max(buffer.len() + 1);
    buffer.reserve_exact(target - buffer.len());
}
