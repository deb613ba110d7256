//! Messages and control frames to bytes.

use bytes::{BufMut, Bytes};

use super::header::{Header, MAX_CONTROL, MAX_HEADER};
use super::{CloseCode, Opcode, mask};

/// The longest reason of a close frame, in bytes: what a control frame leaves after the code.
const MAX_REASON: usize = MAX_CONTROL - 2;

/// Encodes one whole message or control frame of a server: header and payload in one allocation of exactly their
/// size.
///
/// # Panics
///
/// When a control frame's payload exceeds 125 bytes.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    encode(opcode, payload, false, None)
}

/// Appends one whole message or control frame of a server to `out`, for several in one write.
///
/// # Panics
///
/// When a control frame's payload exceeds 125 bytes.
pub fn write_frame(out: &mut impl BufMut, opcode: Opcode, payload: &[u8]) {
    let mut buffer = [0; MAX_HEADER];
    out.put_slice(header(opcode, payload, false, None).encode(&mut buffer));
    out.put_slice(payload);
}

/// Encodes one whole message or control frame of a client. `mask` must be fresh and unpredictable for each frame
/// (section 5.3).
///
/// # Panics
///
/// When a control frame's payload exceeds 125 bytes.
pub fn masked_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Bytes {
    encode(opcode, payload, false, Some(mask))
}

/// Appends one whole message or control frame of a client to `out`; see [`masked_frame`].
///
/// # Panics
///
/// When a control frame's payload exceeds 125 bytes.
pub fn write_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    append(out, opcode, payload, false, Some(mask));
}

/// Encodes a server's close frame. A reason of more than 123 bytes is cut at the last character that fits.
pub fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.put_u16(code.0);
    payload.put_slice(reason.as_bytes());
    frame(Opcode::Close, &payload)
}

/// Encodes one frame into an allocation of exactly its size.
pub(super) fn encode(opcode: Opcode, payload: &[u8], compressed: bool, mask: Option<[u8; 4]>) -> Bytes {
    let mut buffer = [0; MAX_HEADER];
    let header = header(opcode, payload, compressed, mask).encode(&mut buffer).len();
    let mut out = Vec::with_capacity(header + payload.len());
    append(&mut out, opcode, payload, compressed, mask);
    Bytes::from(out)
}

fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], compressed: bool, mask: Option<[u8; 4]>) {
    let mut buffer = [0; MAX_HEADER];
    out.extend_from_slice(header(opcode, payload, compressed, mask).encode(&mut buffer));
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(&mut out[start..], mask, 0);
    }
}

fn header(opcode: Opcode, payload: &[u8], compressed: bool, mask: Option<[u8; 4]>) -> Header {
    assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL, "a control frame of {} bytes", payload.len());
    Header { fin: true, opcode, compressed, mask, len: payload.len() as u64 }
}
