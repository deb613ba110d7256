//! The part of RFC 6455 that two well-behaved peers need: unfragmented frames, read and written.
//!
//! It is not a conforming codec, and must not become one: whatever is checked here is paid for in every measurement.

/// Opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping frame.
pub const PING: u8 = 0x9;
/// Opcode of a pong frame.
pub const PONG: u8 = 0xA;

/// The head of one frame at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The frame's opcode.
    pub opcode: u8,
    /// Bytes before the payload, the masking key included.
    pub len: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// The masking key, in frames from a client.
    pub mask: Option<[u8; 4]>,
}

impl Head {
    /// Reads the head at the front of `buf`; `None` while it or its payload is incomplete.
    pub fn of_whole_frame(buf: &[u8]) -> Option<Self> {
        let (&first, &second) = (buf.first()?, buf.get(1)?);
        let (payload, mut len) = match second & 0x7F {
            126 => (usize::from(u16::from_be_bytes(buf.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(buf.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        let mask = match second & 0x80 {
            0 => None,
            _ => {
                let key = buf.get(len..len + 4)?.try_into().ok()?;
                len += 4;
                Some(key)
            }
        };
        (buf.len() - len >= payload).then_some(Self { opcode: first & 0x0F, len, payload, mask })
    }

    /// Bytes of the whole frame.
    pub fn total(&self) -> usize {
        self.len + self.payload
    }
}

/// Appends a frame as a server sends it, unmasked.
pub fn push_server_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    push_head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Applies a masking key, which is its own inverse.
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

fn push_head(out: &mut Vec<u8>, opcode: u8, payload: usize) {
    out.push(0x80 | opcode);
    match payload {
        0..=125 => out.push(payload as u8),
        126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_proto::websocket::{Opcode, write_masked_frame};

    use super::*;

    #[test]
    fn frames_survive_the_round_trip_at_every_length_form() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (mut server, mut client) = (Vec::new(), Vec::new());
            push_server_frame(&mut server, TEXT, &payload);
            write_masked_frame(&mut client, Opcode::Text, &payload, [1, 2, 3, 4]);

            let head = Head::of_whole_frame(&server).unwrap();
            assert_eq!((head.opcode, head.mask, head.total()), (TEXT, None, server.len()));
            assert_eq!(server[head.len..], payload);

            let head = Head::of_whole_frame(&client).unwrap();
            unmask(&mut client[head.len..], head.mask.unwrap());
            assert_eq!(client[head.len..], payload);
        }
    }

    #[test]
    fn an_incomplete_frame_is_none() {
        let mut frame = Vec::new();
        write_masked_frame(&mut frame, Opcode::Text, &[7; 300], [1, 2, 3, 4]);
        for end in 0..frame.len() {
            assert_eq!(Head::of_whole_frame(&frame[..end]), None, "{end} bytes");
        }
    }
}
