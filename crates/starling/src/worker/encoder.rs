//! Writes packets as their transport carries them: what members get alike, and what one connection is told.

use bytes::{BufMut, Bytes, BytesMut};
use starling_core::{Form, Outgoing};
use starling_hub::Encoder;
use starling_proto::OwnedPacket;
use starling_proto::websocket::{self, Deflate, Deflater, Opcode};

use crate::gzip;

/// How packets of one connection are put behind each other. Part of its form, so that what is written once for several
/// members is written for their transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// WebSocket messages.
    WebSocket,
    /// For [`open_envelopes`]: packets that wait for a request to fetch them.
    Mailbox,
    /// WebSocket messages, deflated with a full window.
    Deflated,
    /// As they are.
    Stream,
    /// As parts of a compressed stream.
    Zipped,
}

impl Framing {
    const ALL: [Self; 5] = [Self::WebSocket, Self::Mailbox, Self::Deflated, Self::Stream, Self::Zipped];

    const MASK: u8 = 0x70;

    /// The framing of a form.
    pub fn of(form: Form) -> Self {
        match form.0 & Self::MASK {
            0x00 => Self::WebSocket,
            0x10 => Self::Mailbox,
            0x20 => Self::Deflated,
            0x30 => Self::Stream,
            _ => Self::Zipped,
        }
    }

    /// What a session speaks in this framing.
    pub fn form(self, voice: Form) -> Form {
        let bits = match self {
            Self::WebSocket => 0x00,
            Self::Mailbox => 0x10,
            Self::Deflated => 0x20,
            Self::Stream => 0x30,
            Self::Zipped => 0x40,
        };
        Form(voice_in(voice).0 | bits)
    }

    /// Whether packets lie behind each other in a stream that only goes one way.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::Zipped)
    }

    /// The framing of a WebSocket. A client that asked for a smaller window gets its messages uncompressed, which RFC
    /// 7692 section 6 always allows: a wire form for each window would be shared by hardly anybody.
    pub fn of_websocket(deflate: Option<Deflate>) -> Self {
        match deflate {
            Some(deflate) if deflate.server_max_window_bits == 15 => Self::Deflated,
            _ => Self::WebSocket,
        }
    }
}

/// What the session of a connection with this form speaks.
pub(crate) fn voice_in(form: Form) -> Form {
    Form(form.0 & !Framing::MASK)
}

/// The forms in which connections that speak `voice` are counted.
pub(crate) fn forms_of(voice: Form) -> [Form; 5] {
    Framing::ALL.map(|framing| framing.form(voice))
}

/// One packet, uncompressed, as its transport carries it.
pub(crate) fn frame(framing: Framing, packet: &OwnedPacket) -> Bytes {
    match (framing, packet) {
        (Framing::WebSocket | Framing::Deflated, OwnedPacket::Text(text)) => websocket::frame(Opcode::Text, text),
        (Framing::WebSocket | Framing::Deflated, OwnedPacket::Binary(bytes)) => websocket::frame(Opcode::Binary, bytes),
        (Framing::Mailbox, packet) => envelope(packet),
        (Framing::Stream, packet) => packet.bytes().clone(),
        (Framing::Zipped, packet) => gzip::part(packet.bytes()),
    }
}

/// A packet with its kind and length in front, so that many can lie behind each other.
fn envelope(packet: &OwnedPacket) -> Bytes {
    let bytes = packet.bytes();
    let mut envelope = BytesMut::with_capacity(5 + bytes.len());
    envelope.put_u8(u8::from(matches!(packet, OwnedPacket::Binary(_))));
    envelope.put_u32(bytes.len() as u32);
    envelope.put_slice(bytes);
    envelope.freeze()
}

/// The packets that were put behind each other in [`Framing::Mailbox`].
///
/// # Panics
/// When `bytes` are not whole envelopes.
pub(crate) fn open_envelopes(mut bytes: Bytes, out: &mut Vec<OwnedPacket>) {
    use bytes::Buf;
    while bytes.has_remaining() {
        let is_binary = bytes.get_u8() == 1;
        let len = bytes.get_u32() as usize;
        let content = bytes.split_to(len);
        out.push(if is_binary { OwnedPacket::Binary(content) } else { OwnedPacket::Text(content) });
    }
}

/// A worker's encoder.
pub(crate) struct WireEncoder {
    deflater: Deflater,
    /// Kept for its memory.
    packets: Vec<OwnedPacket>,
}

impl WireEncoder {
    pub fn new() -> Self {
        Self { deflater: Deflater::new(), packets: Vec::new() }
    }

    fn frame(&mut self, framing: Framing, packet: &OwnedPacket) -> Bytes {
        let compressed = match (framing, packet) {
            (Framing::Deflated, OwnedPacket::Text(text)) => self.deflate(Opcode::Text, text),
            (Framing::Deflated, OwnedPacket::Binary(bytes)) => self.deflate(Opcode::Binary, bytes),
            _ => None,
        };
        compressed.unwrap_or_else(|| frame(framing, packet))
    }

    fn deflate(&mut self, opcode: Opcode, payload: &Bytes) -> Option<Bytes> {
        self.deflater.frame(opcode, payload, Deflate { server_max_window_bits: 15, ..Deflate::default() })
    }
}

impl Encoder for WireEncoder {
    fn encode(&mut self, form: Form, outgoing: &Outgoing<'_>) -> Bytes {
        let framing = Framing::of(form);
        let mut packets = std::mem::take(&mut self.packets);
        packets.clear();
        starling_proto::encode(voice_in(form), outgoing, &mut packets);
        let bytes = match packets.as_slice() {
            [] => Bytes::new(),
            [only] => self.frame(framing, only),
            several => {
                let mut together = BytesMut::new();
                several.iter().for_each(|packet| together.extend_from_slice(&self.frame(framing, packet)));
                together.freeze()
            }
        };
        self.packets = packets;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_hold_what_was_put_into_them() {
        let packets = [
            OwnedPacket::Text(Bytes::from_static(b"text")),
            OwnedPacket::Binary(Bytes::new()),
            OwnedPacket::Text(Bytes::from_static(b"\x01\x00")),
        ];
        let mut together = BytesMut::new();
        packets.iter().for_each(|packet| together.extend_from_slice(&frame(Framing::Mailbox, packet)));
        let mut opened = Vec::new();
        open_envelopes(together.freeze(), &mut opened);
        assert_eq!(opened, packets);
    }

    #[test]
    fn a_form_tells_voice_and_framing_apart() {
        for framing in Framing::ALL {
            let form = framing.form(Form(5));
            assert_eq!((Framing::of(form), voice_in(form)), (framing, Form(5)));
        }
    }
}
