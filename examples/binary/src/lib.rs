//! A shared canvas. Clients send and get binary frames; the first byte of each is its kind.
//!
//! ```text
//! 1 draw    x: u16, y: u16, colour: u8     big-endian
//! 2 clear
//! 3 ping    anything                       answered by a frame of kind 4 with the same
//! 4 pong    anything
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use starling::core::{Access, ErrorCode, Payload, Refusal};
use starling::handlers::{Answer, Binary, Channel, FromPayload, Handlers, Member};

/// The channel of the canvas.
pub const CHANNEL: &str = "canvas";

/// A frame that a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A dot.
    Draw {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
        /// Of a palette.
        colour: u8,
    },
    /// Nothing is left.
    Clear,
    /// Is answered with a pong of the same bytes.
    Ping(Bytes),
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is none: it is empty, of another kind, or of the wrong length for its kind.
    pub fn decode(frame: &Bytes) -> Result<Self, Refusal> {
        match **frame {
            [1, x0, x1, y0, y1, colour] => {
                Ok(Self::Draw { x: u16::from_be_bytes([x0, x1]), y: u16::from_be_bytes([y0, y1]), colour })
            }
            [2] => Ok(Self::Clear),
            [3, ..] => Ok(Self::Ping(frame.slice(1..))),
            [kind, ..] => Err(invalid(format!("no frame of kind {kind} and {} bytes", frame.len()))),
            [] => Err(invalid("a frame has a kind".to_owned())),
        }
    }

    /// Writes a frame.
    pub fn encode(&self) -> Bytes {
        let mut frame = BytesMut::new();
        match self {
            Self::Draw { x, y, colour } => {
                frame.put_u8(1);
                frame.put_u16(*x);
                frame.put_u16(*y);
                frame.put_u8(*colour);
            }
            Self::Clear => frame.put_u8(2),
            Self::Ping(bytes) => {
                frame.put_u8(3);
                frame.put_slice(bytes);
            }
        }
        frame.freeze()
    }
}

impl FromPayload for Frame {
    fn from_payload(payload: &Payload) -> Result<Self, Refusal> {
        match payload {
            Payload::Binary(frame) => Self::decode(frame),
            Payload::Json(_) => Err(invalid("a frame is bytes".to_owned())),
        }
    }
}

/// The handlers of the canvas.
pub fn handlers() -> Handlers {
    let canvas: Channel = Channel::new(CHANNEL).subscribe(Access::Anyone).on("frame", receive);
    Handlers::new().channel(canvas)
}

/// Every frame is answered by a frame: a ping by its pong, another by an empty one.
async fn receive(member: Member, frame: Frame) -> Answer<Binary> {
    if let Frame::Ping(bytes) = frame {
        let mut pong = BytesMut::from(&[4][..]);
        pong.put_slice(&bytes);
        return Ok(Binary(pong.freeze()));
    }
    // Written anew: what others get is what was understood.
    member.broadcast_others("frame", Binary(frame.encode())).await?;
    Ok(Binary(Bytes::new()))
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, message)
}
