//! What a peer can do wrong, and the close code that tells it so.

use thiserror::Error;

use super::CloseCode;

/// The peer violated RFC 6455 or RFC 7692, or a limit; the connection cannot continue.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// A reserved bit without an extension that gives it a meaning, or RSV1 elsewhere than on the first frame of a
    /// message (section 5.2; RFC 7692 section 6).
    #[error("reserved bits {0:#05b} set")]
    ReservedBits(u8),
    /// An opcode of 3-7 or 11-15 (section 5.2).
    #[error("reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// A client's frame must be masked (section 5.1).
    #[error("unmasked frame from a client")]
    Unmasked,
    /// A server's frame must not be masked (section 5.1).
    #[error("masked frame from a server")]
    Masked,
    /// The payload length must take the shortest form and leave its highest bit clear (section 5.2).
    #[error("payload length {0} in a form that is not the shortest")]
    LengthForm(u64),
    /// A control frame must not be fragmented (section 5.5).
    #[error("fragmented control frame")]
    FragmentedControlFrame,
    /// A control frame must fit in 125 bytes (section 5.5).
    #[error("control frame of {len} bytes")]
    ControlFrameTooLong {
        /// Announced payload, in bytes.
        len: u64,
    },
    /// A continuation frame with nothing to continue (section 5.4).
    #[error("continuation frame outside a message")]
    UnexpectedContinuation,
    /// A new message while another is incomplete (section 5.4).
    #[error("new message inside a fragmented one")]
    ExpectedContinuation,
    /// A close frame has no payload, or a code of two bytes (section 5.5.1).
    #[error("close frame with half a code")]
    TruncatedCloseCode,
    /// A close code that must not be sent in a frame (section 7.4).
    #[error("close code {0} is reserved")]
    ReservedCloseCode(u16),
    /// A text message or a close reason that is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A compressed message that does not decompress (RFC 7692 section 7.2.2).
    #[error("compressed message is corrupt")]
    InvalidDeflate,
    /// A message, decompressed, of more than the connection's limit.
    #[error("message of more than {max} bytes")]
    MessageTooLarge {
        /// The limit, in bytes.
        max: usize,
    },
}

impl PeerError {
    /// The code to close the connection with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::Unmasked
            | Self::Masked
            | Self::LengthForm(_)
            | Self::FragmentedControlFrame
            | Self::ControlFrameTooLong { .. }
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::TruncatedCloseCode
            | Self::ReservedCloseCode(_) => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooLarge { .. } => CloseCode::TOO_LARGE,
        }
    }
}
