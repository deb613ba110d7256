//! The opening handshake's own values (section 4): key and accept, and the negotiation of permessage-deflate.
//!
//! The HTTP around them, and the choice of a subprotocol, is the driver's.

mod extensions;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

pub use extensions::{Offer, negotiate};

/// The only value of `Sec-WebSocket-Version` there is.
pub const VERSION: &str = "13";

/// What is appended to a key before hashing (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The server's answer to the handshake is not one that the client can go on with.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// `Sec-WebSocket-Accept` does not belong to the key (section 4.1).
    #[error("accept value does not match the key")]
    WrongAccept,
    /// An extension that was not offered, or one twice (section 9.1).
    #[error("extension that was not offered")]
    UnexpectedExtension,
    /// Parameters of permessage-deflate that are invalid or were not offered (RFC 7692 section 7.1).
    #[error("invalid parameters of permessage-deflate")]
    InvalidParameters,
}

/// The client's `Sec-WebSocket-Key` from 16 random bytes.
pub fn key(nonce: [u8; 16]) -> String {
    BASE64.encode(nonce)
}

/// Whether a client's `Sec-WebSocket-Key` is 16 bytes in base64. A server answers another with 400 (section 4.2.1).
pub fn is_valid_key(key: &str) -> bool {
    // The length is checked first, because the key is as long as its sender likes.
    key.len() == 24 && BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// The server's `Sec-WebSocket-Accept` for a client's key (section 4.2.2).
pub fn accept_key(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    BASE64.encode(hash.digest().bytes())
}

/// Checks the server's `Sec-WebSocket-Accept` against the key that the client sent.
///
/// # Errors
///
/// When it is not the one that belongs to the key.
pub fn check_accept(key: &str, accept: &str) -> Result<(), HandshakeError> {
    if accept.trim() == accept_key(key) { Ok(()) } else { Err(HandshakeError::WrongAccept) }
}
