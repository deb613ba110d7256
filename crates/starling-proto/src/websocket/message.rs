//! A message of which only a part has arrived.

use std::ops::ControlFlow;

use super::inflater::{HELD_COMPRESSED, Inflate, Inflater, grow};
use super::{Event, Opcode, PeerError};

/// The first allocation for a message that arrives in parts, in bytes.
const FIRST_PART: usize = 256;

/// Whether a message is text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

impl Kind {
    /// The kind of message that a frame of `opcode` starts, if it starts one.
    pub(super) fn started_by(opcode: Opcode) -> Option<Self> {
        match opcode {
            Opcode::Text => Some(Self::Text),
            Opcode::Binary => Some(Self::Binary),
            _ => None,
        }
    }

    /// Hands a complete payload to the driver.
    pub(super) fn deliver(
        self,
        payload: &[u8],
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, PeerError> {
        Ok(match self {
            Self::Text => {
                let text = simdutf8::basic::from_utf8(payload).map_err(|_| PeerError::InvalidUtf8)?;
                sink(Event::Text(text))
            }
            Self::Binary => sink(Event::Binary(payload)),
        })
    }
}

/// How the payload is encoded.
#[derive(Debug)]
enum Encoding {
    Plain,
    /// Compressed bytes, kept as they came until they are worth a decompressor.
    Held(Vec<u8>),
    Inflating(Inflate),
}

/// An incomplete message.
#[derive(Debug)]
pub(super) struct Message {
    kind: Kind,
    encoding: Encoding,
    /// The payload so far, decompressed.
    payload: Vec<u8>,
    /// How much of `payload` is known to be UTF-8, if it must be; at most three bytes of a character's beginning
    /// follow.
    valid: usize,
    /// Bytes of payload received or announced by the present frame, before decompression.
    announced: u64,
}

impl Message {
    pub(super) fn plain(kind: Kind) -> Self {
        Self::new(kind, Encoding::Plain)
    }

    /// A compressed message; `context` is the stream that it continues, if the peer keeps its context.
    pub(super) fn compressed(kind: Kind, context: Option<Inflate>) -> Self {
        Self::new(kind, context.map_or(Encoding::Held(Vec::new()), Encoding::Inflating))
    }

    fn new(kind: Kind, encoding: Encoding) -> Self {
        Self { kind, encoding, payload: Vec::new(), valid: 0, announced: 0 }
    }

    /// Takes note of a frame of `len` bytes before any of them is kept.
    pub(super) fn announce(&mut self, len: u64, max: usize) -> Result<(), PeerError> {
        let total = self.announced.saturating_add(len);
        check_size(total, !matches!(self.encoding, Encoding::Plain), max)?;
        self.announced = total;
        Ok(())
    }

    /// Takes the next bytes of payload, unmasked.
    pub(super) fn append(&mut self, bytes: &[u8], max: usize, inflater: &mut Inflater) -> Result<(), PeerError> {
        match &mut self.encoding {
            Encoding::Plain => append(&mut self.payload, bytes, max),
            Encoding::Held(held) if held.len() + bytes.len() <= HELD_COMPRESSED => {
                append(held, bytes, HELD_COMPRESSED);
                return Ok(());
            }
            Encoding::Held(held) => {
                let mut inflate = inflater.take();
                inflate.push(held, &mut self.payload, max)?;
                inflate.push(bytes, &mut self.payload, max)?;
                self.encoding = Encoding::Inflating(inflate);
            }
            Encoding::Inflating(inflate) => inflate.push(bytes, &mut self.payload, max)?,
        }
        self.validate()
    }

    /// Delivers the message, which is complete, and returns the stream that the next one continues to `context` if
    /// `keep_context`.
    pub(super) fn finish(
        self,
        max: usize,
        keep_context: bool,
        context: &mut Option<Box<Inflate>>,
        inflater: &mut Inflater,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, PeerError> {
        let mut payload = self.payload;
        match self.encoding {
            Encoding::Plain => {}
            Encoding::Held(held) => return deliver_compressed(self.kind, &held, max, None, inflater, sink),
            // A message without any payload, not even the byte of an empty block, is taken for an empty one.
            Encoding::Inflating(inflate) if keep_context && self.announced == 0 => *context = Some(Box::new(inflate)),
            Encoding::Inflating(mut inflate) if keep_context => {
                inflate.finish_message(&mut payload, max)?;
                *context = Some(Box::new(inflate));
            }
            Encoding::Inflating(mut inflate) => {
                inflate.finish_stream(&mut payload, max)?;
                inflater.give_back(inflate);
            }
        }
        // Text is checked a second time here rather than kept as a `String`: at 10 GB/s the simpler state wins.
        self.kind.deliver(&payload, sink)
    }

    /// Checks what is new of a text, so that invalid text is refused with the first wrong byte.
    fn validate(&mut self) -> Result<(), PeerError> {
        if self.kind == Kind::Binary {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.payload[self.valid..]) {
            Ok(text) => self.valid += text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(PeerError::InvalidUtf8),
        }
        Ok(())
    }
}

/// Delivers a compressed message whose whole payload is at hand, without an allocation that outlives it.
pub(super) fn deliver_compressed(
    kind: Kind,
    compressed: &[u8],
    max: usize,
    context: Option<&mut Inflate>,
    inflater: &mut Inflater,
    sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, PeerError> {
    let mut output = std::mem::take(&mut inflater.output);
    let inflated = inflate_whole(compressed, &mut output, max, context, inflater);
    let flow = inflated.and_then(|()| kind.deliver(&output, sink));
    inflater.output = output;
    inflater.trim();
    flow
}

fn inflate_whole(
    compressed: &[u8],
    output: &mut Vec<u8>,
    max: usize,
    context: Option<&mut Inflate>,
    inflater: &mut Inflater,
) -> Result<(), PeerError> {
    if compressed.is_empty() {
        return Ok(());
    }
    if let Some(context) = context {
        context.push(compressed, output, max)?;
        return context.finish_message(output, max);
    }
    let mut inflate = inflater.take();
    let inflated = inflate.push(compressed, output, max).and_then(|()| inflate.finish_stream(output, max));
    inflater.give_back(inflate);
    inflated
}

/// Refuses a message of `len` bytes before decompression. A compressed one may be a little longer than its content:
/// deflate adds up to an eighth to bytes that it cannot compress, and each flush five more.
pub(super) fn check_size(len: u64, compressed: bool, max: usize) -> Result<(), PeerError> {
    let limit = if compressed { max.saturating_add(max / 8).saturating_add(1024) } else { max };
    if len > limit as u64 { Err(PeerError::MessageTooLarge { max }) } else { Ok(()) }
}

fn append(buffer: &mut Vec<u8>, bytes: &[u8], max: usize) {
    grow(buffer, bytes.len().max(FIRST_PART.min(max - buffer.len())), max);
    buffer.extend_from_slice(bytes);
}
