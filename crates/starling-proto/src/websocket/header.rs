//! The header of a frame, both ways (section 5.2).
//!
//! ```text
//!  0               1               2 .. 2+0/2/8      .. +0/4
//! +-+-+-+-+-------+-+-------------+-----------------+-----------------+
//! |F|R|R|R| op    |M| length      | extended length | masking key     |
//! |I|S|S|S| code  |A| 0-125: it   | 126: 2 bytes    | if M            |
//! |N|V|V|V|       |S| 126: next 2 | 127: 8 bytes    |                 |
//! | |1|2|3|       |K| 127: next 8 |                 |                 |
//! +-+-+-+-+-------+-+-------------+-----------------+-----------------+
//! ```

use super::{Opcode, PeerError, Role};

/// The longest header: eight bytes of length and a masking key.
pub(super) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame.
pub(super) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// A decoded header. Valid on its own; whether it fits what came before is the decoder's to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// RSV1: the first frame of a compressed message.
    pub(super) compressed: bool,
    pub(super) mask: Option<[u8; 4]>,
    /// Length of the payload, in bytes.
    pub(super) len: u64,
}

impl Header {
    /// Decodes the header at the front of `bytes` and says how long it is; `None` while it is incomplete.
    ///
    /// A violation is reported with the first byte that proves it, not only when the header is complete.
    pub(super) fn decode(bytes: &[u8], role: Role, deflate: bool) -> Result<Option<(Self, usize)>, PeerError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (fin, compressed) = (first & FIN != 0, first & RSV1 != 0);
        let opcode = Opcode::from_bits(first & 0xF).ok_or(PeerError::ReservedOpcode(first & 0xF))?;
        let may_compress = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RSV != 0 && !(may_compress && first & RSV == RSV1) {
            return Err(PeerError::ReservedBits((first & RSV) >> 4));
        }
        if opcode.is_control() && !fin {
            return Err(PeerError::FragmentedControlFrame);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & MASKED != 0;
        match role {
            Role::Server if !masked => return Err(PeerError::Unmasked),
            Role::Client if masked => return Err(PeerError::Masked),
            _ => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            let len = decode_length(short, &bytes[2..]).map_or(u64::from(short), |(len, _)| len);
            return Err(PeerError::ControlFrameTooLong { len });
        }

        let Some((len, used)) = decode_length(short, &bytes[2..]) else { return Ok(None) };
        let shortest = match short {
            LENGTH_16 => len >= u64::from(LENGTH_16),
            LENGTH_64 => len > u64::from(u16::MAX) && len <= i64::MAX as u64,
            _ => true,
        };
        if !shortest {
            return Err(PeerError::LengthForm(len));
        }

        let mut end = 2 + used;
        let mut mask = None;
        if masked {
            let Some(key) = bytes[end..].first_chunk() else { return Ok(None) };
            mask = Some(*key);
            end += key.len();
        }
        Ok(Some((Self { fin, opcode, compressed, mask, len }, end)))
    }

    /// Writes the header into the end of a buffer and returns that part.
    pub(super) fn encode<'a>(&self, buffer: &'a mut [u8; MAX_HEADER]) -> &'a [u8] {
        let mut start = MAX_HEADER;
        let mut put = |bytes: &[u8]| {
            start -= bytes.len();
            buffer[start..start + bytes.len()].copy_from_slice(bytes);
        };
        if let Some(mask) = self.mask {
            put(&mask);
        }
        let short = match self.len {
            0..=125 => self.len as u8,
            126..=0xFFFF => {
                put(&(self.len as u16).to_be_bytes());
                LENGTH_16
            }
            _ => {
                put(&self.len.to_be_bytes());
                LENGTH_64
            }
        };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.compressed { RSV1 } else { 0 };
        put(&[fin | rsv1 | self.opcode as u8, masked | short]);
        &buffer[start..]
    }
}

/// The payload's length and how many bytes of `rest` it takes beyond the seven bits of `short`.
fn decode_length(short: u8, rest: &[u8]) -> Option<(u64, usize)> {
    Some(match short {
        LENGTH_16 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        LENGTH_64 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        _ => (u64::from(short), 0),
    })
}
