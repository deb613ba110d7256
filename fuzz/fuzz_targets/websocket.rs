//! Any bytes into the WebSocket decoder: no panic, no message beyond the limit, and the same events however the
//! bytes are cut.
//!
//! The first byte of the input chooses the role and the extension, the second the size of the pieces.

#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use starling_proto::websocket::{Decoder, Deflate, Event, Inflater, PeerError, Role};

const MAX_MESSAGE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let [choice, piece, bytes @ ..] = data else { return };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let deflate = match choice >> 1 & 3 {
        0 => None,
        1 => Some(Deflate::default()),
        _ => Some(Deflate { server_no_context_takeover: true, client_no_context_takeover: true, ..Deflate::default() }),
    };
    // One for both runs, as a worker has one for all its connections.
    let mut inflater = Inflater::new();
    let (whole, verdict) = decode(role, deflate, bytes, bytes.len().max(1), &mut inflater);
    let (pieces, verdict_of_pieces) = decode(role, deflate, bytes, usize::from(*piece).max(1), &mut inflater);
    assert_eq!(whole, pieces);
    assert_eq!(verdict.is_ok(), verdict_of_pieces.is_ok());
});

fn decode(
    role: Role,
    deflate: Option<Deflate>,
    bytes: &[u8],
    piece: usize,
    inflater: &mut Inflater,
) -> (Vec<String>, Result<(), PeerError>) {
    let mut decoder = Decoder::new(role, MAX_MESSAGE, deflate);
    let mut events = Vec::new();
    let mut verdict = Ok(());
    for piece in bytes.to_vec().chunks_mut(piece) {
        let fed = decoder.feed(piece, inflater, &mut |event| {
            if let Event::Binary(bytes) = event {
                assert!(bytes.len() <= MAX_MESSAGE);
            }
            events.push(format!("{event:?}"));
            ControlFlow::Continue(())
        });
        match fed {
            Ok(consumed) => assert_eq!(consumed, piece.len()),
            Err(error) => {
                verdict = Err(error);
                break;
            }
        }
    }
    (events, verdict)
}
