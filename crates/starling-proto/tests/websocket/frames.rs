//! Single frames: RFC 6455 section 5, byte by byte.

use std::ops::ControlFlow;

use starling_proto::websocket::{
    CloseCode, Decoder, Event, Inflater, Opcode, PeerError, Role, close_frame, frame, masked_frame, write_frame,
    write_masked_frame,
};

use crate::peer::*;

/// Section 5.7.
#[test]
fn examples_of_the_rfc() {
    let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let fragmented = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let masked_pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for (role, bytes, got) in [
        (Role::Client, &unmasked[..], text("Hello")),
        (Role::Server, &masked, text("Hello")),
        (Role::Client, &fragmented, text("Hello")),
        (Role::Client, &ping, Got::Ping(b"Hello".to_vec())),
        (Role::Server, &masked_pong, Got::Pong(b"Hello".to_vec())),
    ] {
        let mut peer = Peer::new(role, 5, None);
        peer.feed(bytes).unwrap();
        assert_eq!(peer.got, [got]);
    }
    assert_eq!(frame(Opcode::Text, b"Hello")[..], unmasked);
    assert_eq!(masked_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d])[..], masked);
    assert_eq!(frame(Opcode::Ping, b"Hello")[..], ping);
    assert_eq!(frame(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7E, 0x01, 0x00]);
    assert_eq!(frame(Opcode::Binary, &[0; 65536])[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn payload_length_takes_the_shortest_form() {
    for (payload, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let bytes = frame(Opcode::Binary, &vec![7; payload]);
        assert_eq!(bytes.len() - payload, header, "payload of {payload} bytes");
        let masked = masked_frame(Opcode::Binary, &vec![7; payload], [1, 2, 3, 4]);
        assert_eq!(masked.len() - payload, header + 4, "masked payload of {payload} bytes");
        assert_eq!(decode(&bytes).unwrap(), [Got::Binary(vec![7; payload])]);
    }
}

#[test]
fn a_longer_form_is_refused() {
    for (header, len) in [
        (&[0x82, 126, 0, 125][..], 125),
        (&[0x82, 126, 0, 0], 0),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1], 1),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 65_535),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1 << 63),
    ] {
        assert_eq!(decode(header), Err(PeerError::LengthForm(len)), "{header:02x?}");
        assert_eq!(Peer::client().trickle(header), Err((header.len() - 1, PeerError::LengthForm(len))));
    }
}

#[test]
fn every_first_byte() {
    for first in 0..=u8::MAX {
        let (rsv, opcode, fin) = ((first >> 4) & 7, first & 0xF, first & 0x80 != 0);
        let expected = match (opcode, rsv) {
            (3..=7 | 11..=15, _) => Some(PeerError::ReservedOpcode(opcode)),
            (_, 1..) => Some(PeerError::ReservedBits(rsv)),
            (8..=10, _) if !fin => Some(PeerError::FragmentedControlFrame),
            (0, _) => Some(PeerError::UnexpectedContinuation),
            _ => None,
        };
        assert_eq!(decode(&[first, 0]).err(), expected, "{first:#04x}");
        if first & 0xF != 0 {
            // The first byte alone is proof enough.
            assert_eq!(decode(&[first]).err(), expected, "{first:#04x}");
        }
    }
}

#[test]
fn masking_is_for_clients_and_only_for_them() {
    let mut server = Peer::new(Role::Server, 100, None);
    assert_eq!(server.trickle(&raw(FIN_TEXT, b"x")), Err((1, PeerError::Unmasked)));
    let mut client = Peer::new(Role::Client, 100, None);
    assert_eq!(client.trickle(&masked(FIN_TEXT, b"x", [0; 4])), Err((1, PeerError::Masked)));
}

#[test]
fn control_frames_fit_in_125_bytes() {
    for first in [CLOSE, PING, PONG] {
        let mut payload = vec![b'a'; 125];
        payload[..2].copy_from_slice(&1000u16.to_be_bytes());
        assert_eq!(decode(&raw(first, &payload)).unwrap().len(), 1);
        payload.push(b'a');
        assert_eq!(decode(&raw(first, &payload)), Err(PeerError::ControlFrameTooLong { len: 126 }));
        assert_eq!(
            Peer::client().trickle(&raw(first, &payload)),
            Err((1, PeerError::ControlFrameTooLong { len: 126 })),
            "refused before its length is known"
        );
    }
}

#[test]
fn close_codes() {
    for (code, sendable) in [
        (0, false),
        (999, false),
        (1000, true),
        (1003, true),
        (1004, false),
        (1005, false),
        (1006, false),
        (1007, true),
        (1014, true),
        (1015, false),
        (1016, false),
        (2999, false),
        (3000, true),
        (4999, true),
        (5000, false),
        (65_535, false),
    ] {
        let expected = match sendable {
            true => Ok(vec![Got::Close(Some(code), "why".to_owned())]),
            false => Err(PeerError::ReservedCloseCode(code)),
        };
        let payload = [&code.to_be_bytes()[..], b"why"].concat();
        assert_eq!(decode(&raw(CLOSE, &payload)), expected);
        assert_eq!(CloseCode(code).may_be_sent(), sendable);
    }
}

#[test]
fn close_payloads() {
    assert_eq!(decode(&raw(CLOSE, b"")).unwrap(), [Got::Close(None, String::new())]);
    assert_eq!(decode(&raw(CLOSE, &[3])), Err(PeerError::TruncatedCloseCode));
    assert_eq!(decode(&raw(CLOSE, &[3, 232])).unwrap(), [Got::Close(Some(1000), String::new())]);
    assert_eq!(decode(&raw(CLOSE, &[3, 232, 0xC3])), Err(PeerError::InvalidUtf8));
    assert_eq!(decode(&raw(CLOSE, &[3, 232, 0xC3, 0xA4])).unwrap(), [Got::Close(Some(1000), "ä".to_owned())]);
}

#[test]
fn nothing_follows_a_close_frame_or_an_error() {
    let close = raw(CLOSE, &[3, 232]);
    let mut peer = Peer::client();
    peer.feed(&[close.clone(), raw(FIN_TEXT, b"late"), vec![0xFF; 9]].concat()).unwrap();
    peer.feed(&raw(FIN_TEXT, b"later")).unwrap();
    assert_eq!(peer.got, [Got::Close(Some(1000), String::new())]);

    let mut peer = Peer::client();
    peer.feed(&[raw(FIN_TEXT, b"first"), vec![0xFF]].concat()).unwrap_err();
    peer.feed(&raw(FIN_TEXT, b"late")).unwrap();
    assert_eq!(peer.got, [text("first")]);
    assert!(peer.decoder.is_idle());
}

#[test]
fn a_break_leaves_the_rest_untouched() {
    let frames = [masked(FIN_TEXT, b"one", [9; 4]), masked(FIN_TEXT, b"two", [8; 4])].concat();
    let mut decoder = Decoder::new(Role::Server, 100, None);
    let mut inflater = Inflater::new();
    let mut input = frames.clone();
    let mut got = Vec::new();
    let mut at = 0;
    let mut turns = 0;
    while at < input.len() {
        at += decoder
            .feed(&mut input[at..], &mut inflater, &mut |event| {
                got.push(Got::from(event));
                ControlFlow::Break(())
            })
            .unwrap();
        turns += 1;
        assert_eq!(input[at..], frames[at..]);
    }
    assert_eq!((got, turns), (vec![text("one"), text("two")], 2));
}

#[test]
fn a_break_inside_pieces_of_a_frame() {
    let frames = [raw(PING, b"p"), raw(FIN_TEXT, b"t")].concat();
    let mut decoder = Decoder::new(Role::Client, 100, None);
    let mut inflater = Inflater::new();
    let mut pause = |_: Event<'_>| ControlFlow::Break(());
    assert_eq!(decoder.feed(&mut frames[..2].to_vec(), &mut inflater, &mut pause), Ok(2));
    assert_eq!(decoder.feed(&mut frames[2..].to_vec(), &mut inflater, &mut pause), Ok(1));
    assert_eq!(decoder.feed(&mut frames[3..].to_vec(), &mut inflater, &mut pause), Ok(3));
}

#[test]
fn an_unfragmented_payload_is_borrowed_from_the_input() {
    let mut input = masked(FIN_BINARY, &[1, 2, 3], [4, 5, 6, 7]);
    let range = input.as_ptr_range();
    let mut borrowed = false;
    Decoder::new(Role::Server, 100, None)
        .feed(&mut input, &mut Inflater::new(), &mut |event| {
            borrowed = matches!(event, Event::Binary(bytes) if range.contains(&bytes.as_ptr()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(borrowed);
}

#[test]
fn a_close_reason_is_cut_at_a_character() {
    assert_eq!(close_frame(CloseCode::RESTART, "drain")[..], [0x88, 7, 3, 0xF4, b'd', b'r', b'a', b'i', b'n']);
    for (reason, kept) in [("a".repeat(123), 123), ("a".repeat(124), 123), ("ä".repeat(62), 122), ("€".repeat(50), 123)]
    {
        let got = decode(&close_frame(CloseCode::NORMAL, &reason)).unwrap();
        assert_eq!(got, [Got::Close(Some(1000), reason[..kept].to_owned())]);
    }
}

#[test]
fn frames_are_appended() {
    let mut out = b"before".to_vec();
    write_frame(&mut out, Opcode::Text, b"a");
    write_frame(&mut out, Opcode::Pong, b"");
    assert_eq!(out, b"before\x81\x01a\x8A\x00");
    let mut out = b"before".to_vec();
    write_masked_frame(&mut out, Opcode::Text, b"\x01\x01", [1, 2, 3, 4]);
    assert_eq!(out, b"before\x81\x82\x01\x02\x03\x04\x00\x03");
}

#[test]
#[should_panic(expected = "a control frame of 126 bytes")]
fn an_oversized_control_frame_is_a_bug_of_the_caller() {
    frame(Opcode::Ping, &[0; 126]);
}

#[test]
fn errors_have_close_codes() {
    for (error, code) in [
        (PeerError::ReservedOpcode(3), 1002),
        (PeerError::InvalidUtf8, 1007),
        (PeerError::InvalidDeflate, 1007),
        (PeerError::MessageTooLarge { max: 1 }, 1009),
    ] {
        assert_eq!(error.close_code(), CloseCode(code));
    }
}
