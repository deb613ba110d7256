//! Bytes to messages: the receiving half of a connection.

use std::ops::ControlFlow;

use super::header::{Header, MAX_CONTROL, MAX_HEADER};
use super::inflater::{Inflate, Inflater};
use super::message::{Kind, Message, check_size, deliver_compressed};
use super::{CloseCode, Deflate, Event, Opcode, PeerError, Role, mask};

type Sink<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// Decodes what one peer sends.
///
/// Between messages it is these few words and owns no heap memory; only for a peer that compresses with context
/// takeover it keeps the decompressor (about 48 KiB), which [`handshake::negotiate`](super::handshake::negotiate)
/// never agrees to.
#[derive(Debug)]
pub struct Decoder {
    /// What is incomplete; `None` between messages.
    partial: Option<Box<Partial>>,
    /// The peer's compression context, between messages.
    context: Option<Box<Inflate>>,
    max_message: usize,
    deflate: Option<Deflate>,
    role: Role,
    /// After a close frame or an error nothing is decoded any more.
    done: bool,
}

/// The state of a frame or a message that has arrived in part.
#[derive(Debug, Default)]
struct Partial {
    stage: Stage,
    message: Option<Message>,
}

/// Where in a frame the input ended.
#[derive(Debug)]
enum Stage {
    /// Between frames (`len` 0) or inside a header.
    Header { bytes: [u8; MAX_HEADER], len: usize },
    /// Inside the payload of a data frame.
    Data(Payload),
    /// Inside the payload of a control frame.
    Control { payload: Payload, opcode: Opcode, bytes: [u8; MAX_CONTROL] },
}

impl Default for Stage {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], len: 0 }
    }
}

/// Progress in the payload of a frame.
#[derive(Clone, Copy, Debug)]
struct Payload {
    fin: bool,
    mask: Option<[u8; 4]>,
    received: usize,
    len: usize,
}

impl Payload {
    /// Unmasks the part of `input` that belongs to the frame and returns it.
    fn take<'a>(&mut self, input: &'a mut [u8]) -> &'a [u8] {
        let n = input.len().min(self.len - self.received);
        let part = &mut input[..n];
        if let Some(key) = self.mask {
            mask::apply(part, key, self.received);
        }
        self.received += n;
        part
    }

    fn is_complete(&self) -> bool {
        self.received == self.len
    }
}

impl Decoder {
    /// A decoder for the `role` end of a connection.
    ///
    /// A message of more than `max_message` bytes, after decompression, is refused: by the frame header that
    /// announces it, or as soon as decompression exceeds it. `deflate` is what the handshake agreed upon.
    pub fn new(role: Role, max_message: usize, deflate: Option<Deflate>) -> Self {
        Self { partial: None, context: None, max_message, deflate, role, done: false }
    }

    /// Decodes from the front of `input`, calling `sink` for every message and control frame, and returns how many
    /// bytes were consumed.
    ///
    /// Payloads are unmasked in place; one that is complete in `input` and not fragmented is handed out from there.
    /// The beginning of a frame at the end of `input` is consumed and kept. So all of `input` is consumed, unless
    /// `sink` pauses with [`ControlFlow::Break`]: then the rest has not been touched and must be passed again.
    /// After [`Event::Close`] everything is consumed and ignored (section 1.4), and so it is after an error.
    ///
    /// # Errors
    ///
    /// With the first byte that violates the protocol or a limit; what came before it has been handed out. Text that
    /// is not UTF-8 is refused inside an unfinished frame.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        inflater: &mut Inflater,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, PeerError> {
        let mut consumed = 0;
        while consumed < input.len() && !self.done {
            let step = self.step(&mut input[consumed..], inflater, sink);
            let (used, flow) = step.inspect_err(|_| self.end())?;
            consumed += used;
            if flow.is_break() && !self.done {
                return Ok(consumed);
            }
        }
        Ok(input.len())
    }

    /// Whether the decoder is between messages and holds nothing of one.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    fn end(&mut self) {
        self.done = true;
        self.partial = None;
        self.context = None;
    }

    /// Decodes one frame, or as much of it as there is.
    fn step(
        &mut self,
        input: &mut [u8],
        inflater: &mut Inflater,
        sink: &mut Sink<'_>,
    ) -> Result<(usize, ControlFlow<()>), PeerError> {
        let mut used = 0;
        if let None | Some(Stage::Header { .. }) = self.partial.as_deref().map(|partial| &partial.stage) {
            let header;
            (header, used) = self.header(input)?;
            let Some(header) = header else { return Ok((used, ControlFlow::Continue(()))) };
            self.check(&header)?;
            if let Some(flow) = self.whole(&header, &mut input[used..], inflater, sink)? {
                return Ok((used + header.len as usize, flow));
            }
            self.begin(&header)?;
        }
        let (taken, flow) = self.resume(&mut input[used..], inflater, sink)?;
        Ok((used + taken, flow))
    }

    /// Decodes a header whose beginning may have come earlier; says how much of `input` belongs to it.
    fn header(&mut self, input: &[u8]) -> Result<(Option<Header>, usize), PeerError> {
        let deflate = self.deflate.is_some();
        let (mut bytes, held) = match self.partial.as_deref() {
            Some(&Partial { stage: Stage::Header { bytes, len }, .. }) => (bytes, len),
            _ => ([0; MAX_HEADER], 0),
        };
        if held == 0
            && let Some((header, len)) = Header::decode(input, self.role, deflate)?
        {
            return Ok((Some(header), len));
        }
        let taken = input.len().min(MAX_HEADER - held);
        bytes[held..held + taken].copy_from_slice(&input[..taken]);
        if let Some((header, len)) = Header::decode(&bytes[..held + taken], self.role, deflate)? {
            return Ok((Some(header), len - held));
        }
        self.partial.get_or_insert_default().stage = Stage::Header { bytes, len: held + taken };
        Ok((None, taken))
    }

    /// Checks a header against what came before it and against the limit.
    fn check(&self, header: &Header) -> Result<(), PeerError> {
        if header.opcode.is_control() {
            return Ok(());
        }
        match (self.in_message(), header.opcode) {
            (true, Opcode::Continuation) => Ok(()),
            (false, Opcode::Continuation) => Err(PeerError::UnexpectedContinuation),
            (true, _) => Err(PeerError::ExpectedContinuation),
            (false, _) => check_size(header.len, header.compressed, self.max_message),
        }
    }

    fn in_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.message.is_some())
    }

    /// The fast path: hands out a frame that needs nothing from before and is complete in `input`.
    fn whole(
        &mut self,
        header: &Header,
        input: &mut [u8],
        inflater: &mut Inflater,
        sink: &mut Sink<'_>,
    ) -> Result<Option<ControlFlow<()>>, PeerError> {
        let kind = Kind::started_by(header.opcode);
        if header.len > input.len() as u64 || !header.fin || (kind.is_none() && !header.opcode.is_control()) {
            return Ok(None);
        }
        self.leave_frame();
        let payload = &mut input[..header.len as usize];
        if let Some(key) = header.mask {
            mask::apply(payload, key, 0);
        }
        match kind {
            None => self.control(header.opcode, payload, sink),
            Some(kind) if header.compressed => {
                let context = match self.keeps_context() {
                    true => Some(&mut **self.context.get_or_insert_with(|| Box::new(Inflate::new()))),
                    false => None,
                };
                deliver_compressed(kind, payload, self.max_message, context, inflater, sink)
            }
            Some(kind) => kind.deliver(payload, sink),
        }
        .map(Some)
    }

    /// Starts a frame that will arrive in parts or belongs to a fragmented message.
    fn begin(&mut self, header: &Header) -> Result<(), PeerError> {
        // The limits have been checked, or are by `announce`, before this cast could lose anything.
        let payload = Payload { fin: header.fin, mask: header.mask, received: 0, len: header.len as usize };
        let keeps_context = self.keeps_context();
        let partial = self.partial.get_or_insert_default();
        if header.opcode.is_control() {
            partial.stage = Stage::Control { payload, opcode: header.opcode, bytes: [0; MAX_CONTROL] };
            return Ok(());
        }
        if let Some(kind) = Kind::started_by(header.opcode) {
            partial.message = Some(match header.compressed {
                false => Message::plain(kind),
                true if !keeps_context => Message::compressed(kind, None),
                true => {
                    Message::compressed(kind, Some(self.context.take().map_or_else(Inflate::new, |context| *context)))
                }
            });
        }
        if let Some(message) = &mut partial.message {
            message.announce(header.len, self.max_message)?;
        }
        partial.stage = Stage::Data(payload);
        Ok(())
    }

    /// Takes the next part of the present frame's payload.
    fn resume(
        &mut self,
        input: &mut [u8],
        inflater: &mut Inflater,
        sink: &mut Sink<'_>,
    ) -> Result<(usize, ControlFlow<()>), PeerError> {
        let Some(partial) = self.partial.as_deref_mut() else { unreachable!("a frame has begun") };
        match &mut partial.stage {
            Stage::Header { .. } => unreachable!("a frame has begun"),
            Stage::Control { payload, opcode, bytes } => {
                let start = payload.received;
                let part = payload.take(input);
                bytes[start..payload.received].copy_from_slice(part);
                let used = part.len();
                if !payload.is_complete() {
                    return Ok((used, ControlFlow::Continue(())));
                }
                let (bytes, len, opcode) = (*bytes, payload.len, *opcode);
                self.leave_frame();
                Ok((used, self.control(opcode, &bytes[..len], sink)?))
            }
            Stage::Data(payload) => {
                let Some(message) = &mut partial.message else { unreachable!("a data frame has a message") };
                let part = payload.take(input);
                let used = part.len();
                message.append(part, self.max_message, inflater)?;
                if !payload.is_complete() {
                    return Ok((used, ControlFlow::Continue(())));
                }
                let message = if payload.fin { partial.message.take() } else { None };
                self.leave_frame();
                let Some(message) = message else { return Ok((used, ControlFlow::Continue(()))) };
                let keeps_context = self.keeps_context();
                let flow = message.finish(self.max_message, keeps_context, &mut self.context, inflater, sink)?;
                Ok((used, flow))
            }
        }
    }

    /// Frees the state of the present frame; that of a fragmented message stays.
    fn leave_frame(&mut self) {
        match &mut self.partial {
            Some(partial) if partial.message.is_some() => partial.stage = Stage::default(),
            partial => *partial = None,
        }
    }

    /// Hands out a complete control frame.
    fn control(&mut self, opcode: Opcode, payload: &[u8], sink: &mut Sink<'_>) -> Result<ControlFlow<()>, PeerError> {
        Ok(match opcode {
            Opcode::Ping => sink(Event::Ping(payload)),
            Opcode::Pong => sink(Event::Pong(payload)),
            _ => {
                let (code, reason) = decode_close(payload)?;
                self.end();
                sink(Event::Close(code, reason))
            }
        })
    }

    fn keeps_context(&self) -> bool {
        self.deflate.is_some_and(|deflate| deflate.peer_keeps_context(self.role))
    }
}

/// The code and reason of a close frame (section 5.5.1).
fn decode_close(payload: &[u8]) -> Result<(Option<CloseCode>, &str), PeerError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok((None, "")) } else { Err(PeerError::TruncatedCloseCode) };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(PeerError::ReservedCloseCode(code.0));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| PeerError::InvalidUtf8)?;
    Ok((Some(code), reason))
}
