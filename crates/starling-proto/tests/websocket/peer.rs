//! A decoder with its events collected, and frames written by hand.

use std::ops::ControlFlow;

use starling_proto::websocket::{CloseCode, Decoder, Deflate, Event, Inflater, PeerError, Role};

/// An event that owns what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Event::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Event::Close(code, reason) => Self::Close(code.map(|CloseCode(code)| code), reason.to_owned()),
        }
    }
}

pub fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

/// One end of a connection.
pub struct Peer {
    pub decoder: Decoder,
    pub inflater: Inflater,
    pub got: Vec<Got>,
}

impl Peer {
    pub fn new(role: Role, max_message: usize, deflate: Option<Deflate>) -> Self {
        Self { decoder: Decoder::new(role, max_message, deflate), inflater: Inflater::new(), got: Vec::new() }
    }

    /// A client, to whom frames need no mask.
    pub fn client() -> Self {
        Self::new(Role::Client, 1 << 20, None)
    }

    pub fn deflating(deflate: Deflate) -> Self {
        Self::new(Role::Client, 1 << 20, Some(deflate))
    }

    /// Feeds `bytes` at once.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        let mut input = bytes.to_vec();
        let got = &mut self.got;
        let consumed = self.decoder.feed(&mut input, &mut self.inflater, &mut |event| {
            got.push(event.into());
            ControlFlow::Continue(())
        })?;
        assert_eq!(consumed, bytes.len(), "everything is consumed without a break");
        Ok(())
    }

    /// Feeds `bytes` one at a time; on an error also says how many were taken before it.
    pub fn trickle(&mut self, bytes: &[u8]) -> Result<(), (usize, PeerError)> {
        bytes.iter().enumerate().try_for_each(|(at, &byte)| self.feed(&[byte]).map_err(|error| (at, error)))
    }
}

/// What a fresh client makes of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Vec<Got>, PeerError> {
    let mut peer = Peer::client();
    peer.feed(bytes)?;
    Ok(peer.got)
}

/// An unmasked frame with the first byte given whole: FIN, reserved bits and opcode.
pub fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(len as u8),
        len @ 126..=0xFFFF => {
            out.push(126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

/// The same frame as a client would send it.
pub fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = raw(first, payload);
    let header = out.len() - payload.len();
    out[1] |= 0x80;
    for (at, byte) in out[header..].iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    out.splice(header..header, mask);
    out
}

pub const FIN_TEXT: u8 = 0x81;
pub const FIN_BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;
pub const TEXT: u8 = 0x01;
pub const BINARY: u8 = 0x02;
pub const MORE: u8 = 0x00;
pub const LAST: u8 = 0x80;
/// First frame of a compressed message.
pub const RSV1: u8 = 0x40;
