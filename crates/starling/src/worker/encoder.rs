//! Writes what members get alike, with the WebSocket header in front, deflated where that was agreed upon.

use bytes::Bytes;
use starling_core::{Form, Outgoing};
use starling_hub::Encoder;
use starling_proto::OwnedPacket;
use starling_proto::websocket::{self, Deflate, Deflater, Opcode};

/// Set in the form of connections that agreed upon permessage-deflate with a full window.
const DEFLATED: u8 = 0x20;

/// The form of a connection whose session speaks `form`. A client that asked for a smaller window gets its messages
/// uncompressed, which RFC 7692 section 6 always allows: a wire form for each window would be shared by hardly anybody.
pub(crate) fn deflated(form: Form, deflate: Option<Deflate>) -> Form {
    match deflate {
        Some(deflate) if deflate.server_max_window_bits == 15 => Form(form.0 | DEFLATED),
        _ => form,
    }
}

/// The forms in which connections of one session form are counted: plain and deflated.
pub(crate) fn forms_of(form: Form) -> [Form; 2] {
    [form, Form(form.0 | DEFLATED)]
}

/// A worker's encoder.
pub(crate) struct WireEncoder {
    deflater: Deflater,
}

impl WireEncoder {
    pub fn new() -> Self {
        Self { deflater: Deflater::new() }
    }
}

impl Encoder for WireEncoder {
    fn encode(&mut self, form: Form, outgoing: &Outgoing<'_>) -> Bytes {
        let packet = starling_proto::encode(Form(form.0 & !DEFLATED), outgoing);
        let (opcode, payload) = match &packet {
            OwnedPacket::Text(text) => (Opcode::Text, text),
            OwnedPacket::Binary(bytes) => (Opcode::Binary, bytes),
        };
        let compressed = if form.0 & DEFLATED == 0 {
            None
        } else {
            self.deflater.frame(opcode, payload, Deflate { server_max_window_bits: 15, ..Deflate::default() })
        };
        compressed.unwrap_or_else(|| websocket::frame(opcode, payload))
    }
}
