//! permessage-deflate: RFC 7692.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use starling_proto::websocket::{Deflate, Deflater, HELD_COMPRESSED, MIN_COMPRESSED, Opcode, PeerError, Role};

use crate::peer::*;

/// What the server of this project always answers.
const FRESH: Deflate = Deflate {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};
/// What other servers answer.
const KEPT: Deflate = Deflate { server_no_context_takeover: false, client_no_context_takeover: false, ..FRESH };

const COMPRESSED_TEXT: u8 = FIN_TEXT | RSV1;
const COMPRESSED_BINARY: u8 = FIN_BINARY | RSV1;

/// Compresses messages as a peer does that keeps its context.
struct Sender(Compress);

impl Sender {
    fn new() -> Self {
        Self(Compress::new(Compression::best(), false))
    }

    fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + 64);
        self.0.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.len() < out.capacity());
        out.truncate(out.len() - 4);
        out
    }
}

fn compress(payload: &[u8]) -> Vec<u8> {
    Sender::new().message(payload)
}

/// Bytes that deflate cannot make smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect()
}

fn limited(max: usize) -> Peer {
    Peer::new(Role::Client, max, Some(FRESH))
}

/// Sections 7.2.3.1 to 7.2.3.6.
#[test]
fn examples_of_the_rfc() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for (name, bytes) in [
        ("one block", raw(COMPRESSED_TEXT, &hello)),
        ("two fragments", [raw(TEXT | RSV1, &hello[..3]), raw(LAST, &hello[3..])].concat()),
        ("no compression", raw(COMPRESSED_TEXT, b"\x00\x05\x00\xfa\xffHello\x00")),
        ("final block", raw(COMPRESSED_TEXT, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00])),
        (
            "two blocks",
            raw(COMPRESSED_TEXT, &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
        ),
    ] {
        for deflate in [FRESH, KEPT] {
            let mut peer = Peer::deflating(deflate);
            peer.feed(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            peer.trickle(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(peer.got, [text("Hello"), text("Hello")], "{name}");
        }
    }
    // The second message refers to the first.
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut peer = Peer::deflating(KEPT);
    peer.feed(&[raw(COMPRESSED_TEXT, &hello), raw(COMPRESSED_TEXT, &again)].concat()).unwrap();
    peer.trickle(&raw(COMPRESSED_TEXT, &again)).unwrap();
    assert_eq!(peer.got, [text("Hello"), text("Hello"), text("Hello")]);
    let mut peer = Peer::deflating(FRESH);
    peer.feed(&raw(COMPRESSED_TEXT, &hello)).unwrap();
    assert_eq!(peer.feed(&raw(COMPRESSED_TEXT, &again)), Err(PeerError::InvalidDeflate));
}

#[test]
fn empty_messages() {
    for deflate in [FRESH, KEPT] {
        let mut peer = Peer::deflating(deflate);
        for bytes in [
            raw(COMPRESSED_TEXT, &[0]),
            raw(COMPRESSED_TEXT, &[]),
            [raw(TEXT | RSV1, &[]), raw(LAST, &[])].concat(),
            [raw(TEXT | RSV1, &[]), raw(LAST, &[0])].concat(),
        ] {
            peer.feed(&bytes).unwrap();
            peer.trickle(&bytes).unwrap();
        }
        assert_eq!(peer.got, vec![text(""); 8]);
        peer.feed(&raw(COMPRESSED_TEXT, &compress(b"still in step"))).unwrap();
        assert_eq!(peer.got[8], text("still in step"));
    }
}

#[test]
fn rsv1_marks_the_first_frame_of_a_message_and_nothing_else() {
    for bytes in [
        raw(PING | RSV1, b""),
        raw(CLOSE | RSV1, b""),
        [raw(TEXT | RSV1, b""), raw(LAST | RSV1, b"")].concat(),
        [raw(TEXT, b""), raw(LAST | RSV1, b"")].concat(),
    ] {
        assert_eq!(Peer::deflating(FRESH).feed(&bytes), Err(PeerError::ReservedBits(4)));
    }
    for rsv in [0x10, 0x20, 0x30, 0x50, 0x70] {
        assert_eq!(Peer::deflating(FRESH).feed(&[FIN_TEXT | rsv]), Err(PeerError::ReservedBits(rsv >> 4)));
    }
    assert_eq!(decode(&[COMPRESSED_TEXT]), Err(PeerError::ReservedBits(4)));
}

#[test]
fn compressed_and_plain_messages_mix() {
    let mut sender = Sender::new();
    let mut peer = Peer::deflating(KEPT);
    for round in 0..3 {
        peer.feed(&raw(COMPRESSED_TEXT, &sender.message(b"one and the same"))).unwrap();
        peer.feed(&raw(FIN_TEXT, b"plain")).unwrap();
        let payload = sender.message(b"one and the same");
        let fragments = [raw(BINARY | RSV1, &payload[..2]), raw(PING, b""), raw(LAST, &payload[2..])].concat();
        peer.trickle(&fragments).unwrap();
        assert_eq!(peer.got.len(), 4 * (round + 1));
    }
    assert_eq!(peer.got[10..], [Got::Ping(vec![]), Got::Binary(b"one and the same".to_vec())]);
}

#[test]
fn the_limit_counts_what_comes_out() {
    for payload in [vec![b'a'; 1000], noise(1000)] {
        let bytes = compress(&payload);
        let whole = raw(COMPRESSED_BINARY, &bytes);
        let (first, last) = bytes.split_at(bytes.len() / 2);
        let fragments = [raw(BINARY | RSV1, first), raw(LAST, last)].concat();
        for bytes in [whole, fragments] {
            let mut enough = limited(1000);
            enough.feed(&bytes).unwrap();
            enough.trickle(&bytes).unwrap();
            assert_eq!(enough.got, vec![Got::Binary(payload.clone()); 2]);

            let refused = PeerError::MessageTooLarge { max: 999 };
            assert_eq!(limited(999).feed(&bytes), Err(refused));
            assert_eq!(limited(999).trickle(&bytes).unwrap_err().1, refused);
        }
    }
}

#[test]
fn a_bomb_is_defused() {
    // 64 MiB of zeros in 64 KiB.
    let bomb = compress(&vec![0; 64 << 20]);
    let refused = PeerError::MessageTooLarge { max: 100_000 };
    assert!(bomb.len() < 80_000);
    for deflate in [FRESH, KEPT] {
        let fresh = || Peer::new(Role::Client, 100_000, Some(deflate));
        assert_eq!(fresh().feed(&raw(COMPRESSED_BINARY, &bomb)), Err(refused));
        let (at, error) = fresh().trickle(&raw(COMPRESSED_BINARY, &bomb)).unwrap_err();
        assert_eq!(error, refused);
        assert!(at < HELD_COMPRESSED + 200, "refused after {at} bytes");
    }
    // Empty blocks without end yield nothing, but are counted.
    let blocks: Vec<u8> = [0x00, 0x00, 0x00, 0xFF, 0xFF].repeat(400);
    let frame = raw(MORE, &blocks);
    let mut peer = limited(1000);
    peer.feed(&raw(BINARY | RSV1, &[])).unwrap();
    assert_eq!(peer.feed(&frame), Ok(()));
    assert_eq!(peer.feed(&frame), Err(PeerError::MessageTooLarge { max: 1000 }));
}

#[test]
fn an_announced_length_is_refused_before_its_payload() {
    let header = [COMPRESSED_BINARY, 127, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(limited(1000).feed(&header), Err(PeerError::MessageTooLarge { max: 1000 }));
}

#[test]
fn corrupt_and_truncated_streams_are_refused() {
    let good = compress(&noise(400));
    for bytes in [&[0x07][..], &[0xFF; 8], &good[..good.len() - 1], &good[..200], &[good.as_slice(), &[6]].concat()] {
        assert_eq!(Peer::deflating(FRESH).feed(&raw(COMPRESSED_BINARY, bytes)), Err(PeerError::InvalidDeflate));
        let mut peer = Peer::deflating(FRESH);
        assert_eq!(peer.trickle(&raw(COMPRESSED_BINARY, bytes)).unwrap_err().1, PeerError::InvalidDeflate);
    }
    // The decompressor, which is shared, is as good as new afterwards.
    let mut peer = Peer::deflating(FRESH);
    peer.feed(&raw(COMPRESSED_BINARY, &[0xFF; 8])).unwrap_err();
    let mut next = Peer { inflater: peer.inflater, ..Peer::deflating(FRESH) };
    next.feed(&raw(COMPRESSED_TEXT, &compress(b"good"))).unwrap();
    assert_eq!(next.got, [text("good")]);
}

#[test]
fn data_after_a_final_block_may_refer_to_what_came_before_it() {
    let mut first = Compress::new(Compression::best(), false);
    let sentence = b"the same words again; ";
    let mut bytes = Vec::with_capacity(200);
    first.compress_vec(sentence, &mut bytes, FlushCompress::Finish).unwrap();
    let mut second = Compress::new(Compression::best(), false);
    second.set_dictionary(sentence).unwrap();
    second.compress_vec(sentence, &mut bytes, FlushCompress::Sync).unwrap();
    bytes.truncate(bytes.len() - 4);
    let expected = Got::Binary(sentence.repeat(2));
    let mut peer = Peer::deflating(FRESH);
    peer.feed(&raw(COMPRESSED_BINARY, &bytes)).unwrap();
    peer.trickle(&raw(COMPRESSED_BINARY, &bytes)).unwrap();
    assert_eq!(peer.got, [expected.clone(), expected]);
}

#[test]
fn compressed_text_is_utf8() {
    for bad in [&b"caf\xC3"[..], b"\xED\xA0\x80", b"caf\xC3("] {
        let bytes = raw(COMPRESSED_TEXT, &compress(bad));
        for deflate in [FRESH, KEPT] {
            assert_eq!(Peer::deflating(deflate).feed(&bytes), Err(PeerError::InvalidUtf8));
            assert_eq!(Peer::deflating(deflate).trickle(&bytes).unwrap_err().1, PeerError::InvalidUtf8);
        }
    }
}

#[test]
fn invalid_compressed_text_is_refused_inside_an_unfinished_frame() {
    // Incompressible ASCII, then a wrong byte, then more than is held back.
    let letters: Vec<u8> = noise(100_000).iter().map(|byte| b'0' + byte % 64).collect();
    let payload = [&letters[..1000], b"\xFF", &letters[1000..]].concat();
    let bytes = raw(COMPRESSED_TEXT, &compress(&payload));
    for (deflate, most) in [(FRESH, HELD_COMPRESSED + 100), (KEPT, HELD_COMPRESSED * 4)] {
        let (at, error) = Peer::deflating(deflate).trickle(&bytes).unwrap_err();
        assert_eq!(error, PeerError::InvalidUtf8);
        assert!(at < most && at < bytes.len() - 1000, "refused after {at} of {} bytes", bytes.len());
    }
}

#[test]
fn large_messages_in_every_manner() {
    for payload in [noise(200_000), b"abcdefgh".repeat(100_000)] {
        let mut sender = Sender::new();
        for deflate in [FRESH, KEPT] {
            let mut peer = Peer::deflating(deflate);
            for chunk in [100, 4096, 70_000, usize::MAX] {
                let bytes = match deflate.server_no_context_takeover {
                    true => compress(&payload),
                    false => sender.message(&payload),
                };
                raw(COMPRESSED_BINARY, &bytes).chunks(chunk).for_each(|part| peer.feed(part).unwrap());
                assert!(peer.decoder.is_idle());
            }
            assert_eq!(peer.got, vec![Got::Binary(payload.clone()); 4]);
        }
    }
}

#[test]
fn frames_are_compressed_within_the_window() {
    // A phrase that comes back at growing distances.
    let mut payload = Vec::new();
    for gap in [100, 300, 700, 2000, 5000, 10_000, 20_000, 40_000] {
        payload.extend_from_slice(b"a phrase that comes back, and long enough to be worth it");
        payload.extend(noise(gap).iter().map(|byte| byte % 16));
    }
    let mut deflater = Deflater::new();
    let mut sizes = Vec::new();
    for bits in 9..=15 {
        let params = Deflate { server_max_window_bits: bits, ..FRESH };
        let frame = deflater.frame(Opcode::Binary, &payload, params).unwrap();
        assert_eq!(deflater.frame(Opcode::Binary, &payload, params).unwrap(), frame, "no memory of the first");
        let mut peer = Peer::deflating(FRESH);
        peer.feed(&frame).unwrap();
        assert_eq!(peer.got, [Got::Binary(payload.clone())]);

        // A decompressor with just this window, given no more output at a time than it can look back into.
        let header = if frame[1] == 126 { 4 } else { 10 };
        let mut inflate = Decompress::new_with_window_bits(false, bits);
        let mut out = Vec::new();
        while out.len() < payload.len() {
            let mut piece = Vec::with_capacity(64);
            let at = header + inflate.total_in() as usize;
            inflate.decompress_vec(&frame[at..], &mut piece, FlushDecompress::Sync).unwrap();
            assert!(!piece.is_empty(), "window of {bits} bits");
            out.extend(piece);
        }
        assert_eq!(out, payload);
        sizes.push(frame.len());
    }
    assert!(sizes[0] > sizes[6], "a larger window finds more: {sizes:?}");
}

#[test]
fn what_is_not_worth_it_is_not_compressed() {
    let mut deflater = Deflater::new();
    let zeros = [0; MIN_COMPRESSED];
    assert!(deflater.frame(Opcode::Binary, &zeros, FRESH).is_some());
    assert_eq!(deflater.frame(Opcode::Binary, &zeros[1..], FRESH), None, "too short");
    assert_eq!(deflater.frame(Opcode::Binary, &noise(1000), FRESH), None, "would grow");
    assert_eq!(deflater.frame(Opcode::Binary, &noise(200_000), FRESH), None, "would grow");
    assert_eq!(deflater.frame(Opcode::Ping, &zeros, FRESH), None, "control frame");
    let tiny = Deflate { server_max_window_bits: 8, ..FRESH };
    assert_eq!(deflater.frame(Opcode::Binary, &zeros, tiny), None, "no such compressor");
}

#[test]
fn a_deflater_can_be_made_to_compress_always() {
    let mut deflater = Deflater::always();
    for payload in [vec![], b"x".to_vec(), noise(200_000)] {
        let frame = deflater.frame(Opcode::Binary, &payload, FRESH).unwrap();
        assert_eq!(frame[0], COMPRESSED_BINARY);
        let mut peer = Peer::deflating(FRESH);
        peer.feed(&frame).unwrap();
        assert_eq!(peer.got, [Got::Binary(payload)]);
    }
}

#[test]
fn a_client_masks_what_it_compresses() {
    let payload = "compressible ".repeat(20);
    let frame = Deflater::new().masked_frame(Opcode::Text, payload.as_bytes(), FRESH, [1, 2, 3, 4]).unwrap();
    assert_eq!(frame[0], COMPRESSED_TEXT);
    assert_eq!(frame[2..6], [1, 2, 3, 4]);
    let mut server = Peer::new(Role::Server, 1000, Some(FRESH));
    server.feed(&frame).unwrap();
    assert_eq!(server.got, [Got::Text(payload)]);
}
