//! Engine.IO's handshake, and bodies of polling requests.

use std::time::Duration;

use bytes::Bytes;
use starling_proto::OwnedPacket;
use starling_proto::socketio::engine::{Handshake, pack, unpack};

fn text(text: &'static str) -> OwnedPacket {
    OwnedPacket::Text(Bytes::from_static(text.as_bytes()))
}

fn binary(bytes: &'static [u8]) -> OwnedPacket {
    OwnedPacket::Binary(Bytes::from_static(bytes))
}

#[test]
fn the_handshake_tells_the_heartbeat_in_milliseconds() {
    let handshake = Handshake {
        sid: "s1".into(),
        upgrades: true,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: 65536,
    };
    let expected =
        r#"0{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}"#;
    assert_eq!(handshake.packet(), text(expected));
}

#[test]
fn bodies_hold_packets() {
    for (body, packets) in [
        ("4hello", vec![text("4hello")]),
        ("4test1\x1e4test2\x1e4test3", vec![text("4test1"), text("4test2"), text("4test3")]),
        ("4hello\x1ebAQIDBA==", vec![text("4hello"), binary(&[1, 2, 3, 4])]),
        ("b", vec![binary(&[])]),
        ("", vec![text("")]),
    ] {
        assert_eq!(unpack(body), Some(packets.clone()), "{body:?}");
        assert_eq!(pack(&packets), body);
    }
    assert_eq!(unpack("4a\x1eb!"), None);
}
