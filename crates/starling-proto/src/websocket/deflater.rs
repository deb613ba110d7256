//! Compression of messages, each on its own, so that one compressed frame serves many connections.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use super::encoder::encode;
use super::{Deflate, Opcode};

/// Messages of fewer bytes are never compressed: the gain is smaller than the work.
pub const MIN_COMPRESSED: usize = 64;

/// Level 1: 2.7 µs for 200 bytes. Higher levels cost several times that for a few percent.
const LEVEL: Compression = Compression::fast();

/// The windows a compressor can be made for. zlib has none of 8 bits (256 bytes).
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// What the output buffer keeps between messages, in bytes.
const KEPT_OUTPUT: usize = 64 * 1024;

/// What is cut off the end of each message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Compression for all connections of one thread.
///
/// Every message is compressed without reference to earlier ones. That is allowed whatever was negotiated, and makes
/// a frame the same for all connections with the same window.
#[derive(Default)]
pub struct Deflater {
    /// By window bits; made when first needed (about 200 KiB for the full window).
    streams: [Option<Box<Compress>>; 7],
    output: Vec<u8>,
    /// Compress also what gets longer by it.
    always: bool,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// A deflater that allocates its state with the first message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A deflater that compresses every message, even one that gets longer by it, for test suites that insist.
    pub fn always() -> Self {
        Self { always: true, ..Self::default() }
    }

    /// Encodes a message as one compressed frame of a server, within `params.server_max_window_bits`.
    ///
    /// `None` when the message is better sent as it is, with [`frame`](super::frame): it is a control frame or has
    /// fewer than [`MIN_COMPRESSED`] bytes, it would not get smaller, or the window is one of 8 bits.
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8], params: Deflate) -> Option<Bytes> {
        self.encode(opcode, payload, params.server_max_window_bits, None)
    }

    /// Encodes a message as one compressed frame of a client, within `params.client_max_window_bits`; otherwise as
    /// [`frame`](Self::frame).
    pub fn masked_frame(&mut self, opcode: Opcode, payload: &[u8], params: Deflate, mask: [u8; 4]) -> Option<Bytes> {
        self.encode(opcode, payload, params.client_max_window_bits, Some(mask))
    }

    fn encode(&mut self, opcode: Opcode, payload: &[u8], bits: u8, mask: Option<[u8; 4]>) -> Option<Bytes> {
        if opcode.is_control() || (payload.len() < MIN_COMPRESSED && !self.always) {
            return None;
        }
        self.output.clear();
        let frame = self.compress(payload, bits).map(|len| encode(opcode, &self.output[..len], true, mask));
        self.output.shrink_to(KEPT_OUTPUT);
        frame
    }

    /// Compresses `payload` into `output` and returns its length there, if that is worth it.
    fn compress(&mut self, payload: &[u8], bits: u8) -> Option<usize> {
        if !WINDOW_BITS.contains(&bits) {
            return None;
        }
        let slot = &mut self.streams[usize::from(bits - WINDOW_BITS.start())];
        let stream = slot.get_or_insert_with(|| Box::new(Compress::new_with_window_bits(LEVEL, false, bits)));
        self.output.reserve_exact(bound(payload.len()));
        let compressed = stream.compress_vec(payload, &mut self.output, FlushCompress::Sync);
        let complete = compressed.is_ok()
            && stream.total_in() == payload.len() as u64
            && self.output.len() < self.output.capacity()
            && self.output.ends_with(&TAIL);
        if !complete {
            // Within `bound` there is no such case. One that did not write out everything must not be reused: zlib-rs
            // 0.6.8 panics in a message after a reset that found bytes still to be written.
            *slot = None;
            return None;
        }
        stream.reset();
        let len = self.output.len() - TAIL.len();
        (len < payload.len() || self.always).then_some(len)
    }
}

/// The most that `len` bytes become: an eighth more in the fixed code of level 1 (a little more in others), and the
/// ends of blocks.
fn bound(len: usize) -> usize {
    len + len / 8 + len / 64 + 64
}
