//! The opening handshake: keys, and the negotiation of permessage-deflate.

use starling_proto::websocket::Deflate;
use starling_proto::websocket::handshake::{
    HandshakeError, Offer, accept_key, check_accept, is_valid_key, key, negotiate,
};

/// RFC 6455 section 1.3.
#[test]
fn the_key_of_the_rfc() {
    let sample = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(key(*b"the sample nonce"), sample);
    assert_eq!(accept_key(sample), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(check_accept(sample, " s3pPLMBiTxaQ9kYGzzhZRbK+xOo= "), Ok(()));
    assert_eq!(check_accept(sample, "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="), Err(HandshakeError::WrongAccept));
}

#[test]
fn keys_are_16_bytes_in_base64() {
    for (key, valid) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", true),
        ("", false),
        ("dGhlIHNhbXBsZSBub25jZQ", false),
        ("dGhlIHNhbXBsZSBub25jZWU=", false),
        ("dGhlIHNhbXBsZSBub25j ZQ=", false),
        ("!!!!!!!!!!!!!!!!!!!!!!==", false),
    ] {
        assert_eq!(is_valid_key(key), valid, "{key}");
    }
}

/// What a server answers, after the part that every answer has.
#[test]
fn offers() {
    const DEMANDS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offers, expected) in [
        ("permessage-deflate", Some((15, 15, ""))),
        ("PERMESSAGE-Deflate", Some((15, 15, ""))),
        // Chromium and Firefox.
        ("permessage-deflate; client_max_window_bits", Some((15, 15, ""))),
        ("permessage-deflate;client_max_window_bits=\"10\"", Some((15, 10, "; client_max_window_bits=10"))),
        ("permessage-deflate; client_max_window_bits=8", Some((15, 8, "; client_max_window_bits=8"))),
        ("permessage-deflate; server_max_window_bits=9", Some((9, 15, "; server_max_window_bits=9"))),
        ("permessage-deflate; server_max_window_bits=15", Some((15, 15, "; server_max_window_bits=15"))),
        (
            "permessage-deflate; client_max_window_bits = 9; server_max_window_bits = 12; server_no_context_takeover",
            Some((12, 9, "; server_max_window_bits=12; client_max_window_bits=9")),
        ),
        // The first that can be met is taken.
        ("x-webkit-deflate-frame, permessage-deflate", Some((15, 15, ""))),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some((15, 15, ""))),
        (
            "foo; bar=\"a, permessage-deflate; b\", permessage-deflate; server_max_window_bits=10",
            Some((10, 15, "; server_max_window_bits=10")),
        ),
        (
            "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=11",
            Some((11, 15, "; server_max_window_bits=11")),
        ),
        // None can.
        ("", None),
        ("foo", None),
        ("permessage-deflate2", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=09", None),
        ("permessage-deflate; server_max_window_bits=", None),
        ("permessage-deflate; server_max_window_bits=\"10", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=1000", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=10", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; ", None),
    ] {
        let expected = expected.map(|(server_max_window_bits, client_max_window_bits, rest)| {
            let deflate = Deflate {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                server_max_window_bits,
                client_max_window_bits,
            };
            (deflate, format!("{DEMANDS}{rest}"))
        });
        assert_eq!(negotiate(offers), expected, "{offers}");
    }
}

#[test]
fn offers_as_text() {
    let all =
        Offer { server_no_context_takeover: true, client_no_context_takeover: true, server_max_window_bits: Some(10) };
    assert_eq!(Offer::default().to_string(), "permessage-deflate; client_max_window_bits");
    assert_eq!(
        all.to_string(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; \
         client_max_window_bits"
    );
}

#[test]
fn answers() {
    use HandshakeError::{InvalidParameters, UnexpectedExtension};
    let plain = Offer::default();
    let window = Offer { server_max_window_bits: Some(10), ..plain };
    let fresh = Offer { server_no_context_takeover: true, ..plain };
    let full = Deflate::default();
    for (offer, answer, expected) in [
        (plain, "", Ok(None)),
        (plain, "permessage-deflate", Ok(Some(full))),
        (
            plain,
            "permessage-deflate; client_max_window_bits=8; server_max_window_bits=9",
            Ok(Some(Deflate { client_max_window_bits: 8, server_max_window_bits: 9, ..full })),
        ),
        (
            plain,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Ok(Some(Deflate { server_no_context_takeover: true, client_no_context_takeover: true, ..full })),
        ),
        (
            window,
            "permessage-deflate; server_max_window_bits=10",
            Ok(Some(Deflate { server_max_window_bits: 10, ..full })),
        ),
        (window, "permessage-deflate; server_max_window_bits=11", Err(InvalidParameters)),
        (window, "permessage-deflate", Err(InvalidParameters)),
        (fresh, "permessage-deflate", Err(InvalidParameters)),
        (plain, "permessage-deflate; client_max_window_bits", Err(InvalidParameters)),
        (plain, "permessage-deflate; client_max_window_bits=16", Err(InvalidParameters)),
        (plain, "permessage-deflate; surprise", Err(InvalidParameters)),
        (plain, "permessage-deflate, permessage-deflate", Err(UnexpectedExtension)),
        (plain, "x-other", Err(UnexpectedExtension)),
    ] {
        assert_eq!(offer.answered(answer), expected, "{answer}");
    }
}

/// Whatever a client of ours offers, a server of ours answers so that the client accepts.
#[test]
fn both_ends_agree() {
    for bits in [None, Some(8), Some(9), Some(15)] {
        for takeover in [false, true] {
            let offer = Offer {
                server_no_context_takeover: takeover,
                client_no_context_takeover: !takeover,
                server_max_window_bits: bits,
            };
            let server = negotiate(&offer.to_string());
            let client = offer.answered(server.as_ref().map_or("", |(_, answer)| answer)).unwrap();
            assert_eq!(client, server.map(|(deflate, _)| deflate));
            assert_eq!(client.is_none(), bits == Some(8));
        }
    }
}
