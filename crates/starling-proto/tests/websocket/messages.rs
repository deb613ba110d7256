//! Messages: fragmentation, UTF-8, limits, and what is kept between them.

use starling_proto::websocket::{Decoder, PeerError, Role};

use crate::peer::*;

#[test]
fn control_frames_come_between_fragments() {
    let bytes = [
        raw(TEXT, b"a"),
        raw(PING, b"1"),
        raw(MORE, b""),
        raw(PONG, b"2"),
        raw(MORE, b"b"),
        raw(LAST, b"c"),
        raw(FIN_BINARY, b"d"),
    ]
    .concat();
    let expected = [Got::Ping(b"1".to_vec()), Got::Pong(b"2".to_vec()), text("abc"), Got::Binary(b"d".to_vec())];
    assert_eq!(decode(&bytes).unwrap(), expected);
}

#[test]
fn fragments_out_of_order() {
    assert_eq!(decode(&raw(LAST, b"x")), Err(PeerError::UnexpectedContinuation));
    assert_eq!(decode(&[raw(FIN_TEXT, b"x"), raw(LAST, b"x")].concat()), Err(PeerError::UnexpectedContinuation));
    for first in [TEXT, BINARY, FIN_TEXT, FIN_BINARY] {
        assert_eq!(decode(&[raw(TEXT, b"x"), raw(first, b"x")].concat()), Err(PeerError::ExpectedContinuation));
    }
}

#[test]
fn close_ends_an_incomplete_message() {
    let mut peer = Peer::client();
    peer.feed(&[raw(TEXT, b"half"), raw(CLOSE, b"")].concat()).unwrap();
    assert_eq!(peer.got, [Got::Close(None, String::new())]);
    assert!(peer.decoder.is_idle());
}

/// Every way to cut a conversation in two, and single bytes, give the same events.
#[test]
fn split_at_every_position() {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let bytes = [
        masked(FIN_TEXT, "grüße, 世界 🐦".as_bytes(), mask),
        masked(BINARY, &[0; 9], mask),
        masked(PING, b"ping", mask),
        masked(MORE, &[], mask),
        masked(LAST, &[1; 130], mask),
        masked(TEXT, b"\xE4\xB8", mask),
        masked(PONG, b"", mask),
        masked(LAST, b"\x96", mask),
        masked(FIN_TEXT, b"", mask),
        masked(CLOSE, &[3, 233, b'b', b'y', b'e'], mask),
    ]
    .concat();
    let mut whole = Peer::new(Role::Server, 200, None);
    whole.feed(&bytes).unwrap();
    assert_eq!(whole.got.len(), 7);
    for at in 0..=bytes.len() {
        let mut cut = Peer::new(Role::Server, 200, None);
        cut.feed(&bytes[..at]).unwrap();
        cut.feed(&bytes[at..]).unwrap();
        assert_eq!(cut.got, whole.got, "cut at {at}");
        assert!(cut.decoder.is_idle());
    }
    let mut single = Peer::new(Role::Server, 200, None);
    single.trickle(&bytes).unwrap();
    assert_eq!(single.got, whole.got);
}

/// The byte with which a text stops being UTF-8 (Unicode 15, table 3-7).
const INVALID_TEXT: [(&[u8], usize); 14] = [
    (b"\x80", 0),
    (b"a\xBF", 1),
    (b"\xC0\x80", 0),
    (b"\xC1\xBF", 0),
    (b"\xC3\x28", 1),
    (b"\xE0\x9F\xBF", 1),
    (b"\xE2\x82\x28", 2),
    (b"\xED\xA0\x80", 1),
    (b"\xF0\x8F\xBF\xBF", 1),
    (b"\xF0\x9F\x90\x28", 3),
    (b"\xF4\x90\x80\x80", 1),
    (b"\xF5\x80\x80\x80", 0),
    (b"\xFE", 0),
    (b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xF4\x90\x80\x80edited", 12),
];

#[test]
fn invalid_text_is_refused_with_its_first_wrong_byte() {
    for (payload, wrong) in INVALID_TEXT {
        assert_eq!(decode(&raw(FIN_TEXT, payload)), Err(PeerError::InvalidUtf8), "{payload:02x?} whole");
        let longer = [payload, b"..."].concat();
        let expected = Err((2 + wrong, PeerError::InvalidUtf8));
        assert_eq!(Peer::client().trickle(&raw(FIN_TEXT, &longer)), expected, "{payload:02x?} in one frame");

        let mut peer = Peer::client();
        let mut refused = None;
        for (at, byte) in payload.iter().enumerate() {
            let first = if at == 0 { TEXT } else { MORE };
            if peer.feed(&raw(first, &[*byte])).is_err() {
                refused = Some(at);
                break;
            }
        }
        assert_eq!(refused, Some(wrong), "{payload:02x?} in fragments");
    }
}

#[test]
fn text_that_ends_inside_a_character_is_refused_at_its_end() {
    for cut in ["é", "世", "🐦"] {
        for len in 1..cut.len() {
            let payload = &cut.as_bytes()[..len];
            assert_eq!(decode(&raw(FIN_TEXT, payload)), Err(PeerError::InvalidUtf8));
            let mut peer = Peer::client();
            peer.feed(&raw(TEXT, payload)).unwrap();
            assert_eq!(peer.feed(&raw(LAST, b"")), Err(PeerError::InvalidUtf8));
        }
    }
}

#[test]
fn binary_is_any_bytes() {
    let payload: Vec<u8> = (0..=u8::MAX).collect();
    let mut peer = Peer::client();
    peer.trickle(&raw(FIN_BINARY, &payload)).unwrap();
    assert_eq!(peer.got, [Got::Binary(payload)]);
}

#[test]
fn the_limit_is_per_message() {
    let limited = || Peer::new(Role::Client, 200, None);
    let too_large = PeerError::MessageTooLarge { max: 200 };

    let mut peer = limited();
    peer.feed(&[raw(FIN_TEXT, &[b'a'; 200]), raw(FIN_TEXT, &[b'a'; 200])].concat()).unwrap();
    assert_eq!(peer.got.len(), 2);
    // The header alone is refused: nothing of the payload has come.
    assert_eq!(limited().feed(&raw(FIN_TEXT, &[b'a'; 201])[..4]), Err(too_large));
    assert_eq!(limited().feed(&[0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), Err(too_large));

    let mut peer = limited();
    peer.feed(&[raw(BINARY, &[0; 100]), raw(MORE, &[0; 99]), raw(LAST, &[0; 1])].concat()).unwrap();
    assert_eq!(peer.got.len(), 1);
    let mut peer = limited();
    peer.feed(&[raw(BINARY, &[0; 100]), raw(MORE, &[0; 100])].concat()).unwrap();
    assert_eq!(peer.feed(&raw(LAST, &[0; 1])[..2]), Err(too_large));
    let mut peer = limited();
    peer.feed(&raw(BINARY, &[0; 100])).unwrap();
    assert_eq!(peer.feed(&[0, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), Err(too_large));

    let mut nothing = Peer::new(Role::Client, 0, None);
    nothing.feed(&[raw(FIN_TEXT, b""), raw(PING, b"still")].concat()).unwrap();
    assert_eq!(nothing.feed(&raw(FIN_TEXT, b"a")), Err(PeerError::MessageTooLarge { max: 0 }));
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{} bytes", size_of::<Decoder>());
    assert_eq!(size_of::<Option<Decoder>>(), size_of::<Decoder>());
}

#[test]
fn idle_means_between_messages() {
    let mut peer = Peer::client();
    let bytes = [raw(PING, b"x"), raw(TEXT, b"y"), raw(PING, b"z"), raw(LAST, b""), raw(FIN_TEXT, b"a")].concat();
    let idle: Vec<bool> = bytes
        .iter()
        .map(|byte| {
            peer.feed(&[*byte]).unwrap();
            peer.decoder.is_idle()
        })
        .collect();
    let expected: Vec<bool> = b"..#.......#..#".iter().map(|&mark| mark == b'#').collect();
    // ping (3 bytes) | y, ping, last fragment (3 + 3 + 2 bytes) | a (3 bytes)
    assert_eq!(idle, expected);
}

/// Two megabytes one byte at a time: with anything quadratic in the message this would take minutes.
#[test]
fn single_bytes_of_a_large_message() {
    let payload = "ü".repeat(1 << 20);
    let mut peer = Peer::new(Role::Client, 4 << 20, None);
    peer.trickle(&raw(FIN_TEXT, payload.as_bytes())).unwrap();
    assert_eq!(peer.got, [Got::Text(payload)]);
}
