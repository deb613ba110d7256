//! Engine.IO protocol 4: the handshake, and packets in the body of a polling request.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::json_text::write_text;
use crate::session::OwnedPacket;

/// What stands between the packets of a body.
pub const SEPARATOR: char = '\u{1e}';

/// Ends a session.
pub const CLOSE: &str = "1";
/// Asks whether the other side is there.
pub const PING: &str = "2";
/// Says so.
pub const PONG: &str = "3";
/// Asks whether a new transport works.
pub const PROBE: &str = "2probe";
/// Says so.
pub const PROBED: &str = "3probe";
/// Has a new transport take over.
pub const UPGRADE: &str = "5";
/// Says nothing: ends a poll that has nothing to wait for any more.
pub const NOOP: &str = "6";

/// What a client is told when its session opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The session's id. Whoever knows it is the client.
    pub sid: Box<str>,
    /// Whether a WebSocket may take over.
    pub upgrades: bool,
    /// How often the server asks whether the client is there.
    pub ping_interval: Duration,
    /// How long the answer may take.
    pub ping_timeout: Duration,
    /// The largest body or message of the client, in bytes.
    pub max_payload: usize,
}

impl Handshake {
    /// The first packet of a session.
    pub fn packet(&self) -> OwnedPacket {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(br#"0{"sid":"#);
        write_text(&mut out, &self.sid);
        let upgrades = if self.upgrades { r#"["websocket"]"# } else { "[]" };
        let (interval, timeout) = (self.ping_interval.as_millis(), self.ping_timeout.as_millis());
        let rest = format!(
            r#","upgrades":{upgrades},"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{}}}"#,
            self.max_payload
        );
        out.extend_from_slice(rest.as_bytes());
        OwnedPacket::Text(out.into())
    }
}

/// A text packet that never changes.
pub fn text(packet: &'static str) -> OwnedPacket {
    OwnedPacket::Text(Bytes::from_static(packet.as_bytes()))
}

/// The packets of a body; none where one is no base64. Whether their text means something is the session's business.
pub fn unpack(body: &str) -> Option<Vec<OwnedPacket>> {
    body.split(SEPARATOR)
        .map(|packet| match packet.strip_prefix('b') {
            Some(encoded) => STANDARD.decode(encoded).ok().map(|bytes| OwnedPacket::Binary(bytes.into())),
            None => Some(OwnedPacket::Text(Bytes::copy_from_slice(packet.as_bytes()))),
        })
        .collect()
}

/// Packets as one body.
pub fn pack(packets: &[OwnedPacket]) -> String {
    let mut body = String::with_capacity(packets.iter().map(|packet| packet.bytes().len() + 1).sum());
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            body.push(SEPARATOR);
        }
        match packet {
            OwnedPacket::Text(text) => body.push_str(std::str::from_utf8(text).expect("text packets are UTF-8")),
            OwnedPacket::Binary(bytes) => {
                body.push('b');
                STANDARD.encode_string(bytes, &mut body);
            }
        }
    }
    body
}
