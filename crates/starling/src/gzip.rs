//! Compressed responses, where a client asks for them: whole ones, and streams.
//!
//! A stream is one gzip member (RFC 1952) that never ends. What many streams have in common is compressed once: each
//! event is made of DEFLATE blocks (RFC 1951) that refer to nothing before them and end at a byte, so that the same bytes
//! may stand in any stream.

use std::cell::RefCell;
use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use http::header::{self, HeaderMap, HeaderValue};

/// Smaller bodies gain nothing.
const MIN_BYTES: usize = 1024;

/// What a compressed stream begins with: DEFLATE, no name, no time.
pub(crate) const STREAM_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Shorter events are stored as they are.
const MIN_EVENT: usize = 256;

/// The longest stored block, in bytes.
const MAX_STORED: usize = 65_535;

thread_local! {
    /// A compressor is large, and what is compressed is on few threads.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// A part of a compressed stream.
pub(crate) fn part(bytes: &[u8]) -> Bytes {
    let deflated = if bytes.len() < MIN_EVENT { None } else { deflated(bytes) };
    deflated.unwrap_or_else(|| stored(bytes))
}

fn stored(bytes: &[u8]) -> Bytes {
    let mut part = BytesMut::with_capacity(bytes.len() + 5 * bytes.len().div_ceil(MAX_STORED));
    for block in bytes.chunks(MAX_STORED) {
        let len = block.len() as u16;
        part.put_u8(0);
        part.put_u16_le(len);
        part.put_u16_le(!len);
        part.put_slice(block);
    }
    part.freeze()
}

/// `None`: it could not be compressed.
fn deflated(bytes: &[u8]) -> Option<Bytes> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut part = Vec::with_capacity(bytes.len() / 2 + 64);
        loop {
            let read = compressor.total_in() as usize;
            let status = compressor.compress_vec(&bytes[read..], &mut part, FlushCompress::Sync);
            let is_done = compressor.total_in() as usize == bytes.len() && part.len() < part.capacity();
            if is_done || !matches!(status, Ok(Status::Ok | Status::BufError)) {
                // One with output left cannot be reset: a new one is made.
                if is_done {
                    compressor.reset();
                } else {
                    *compressor = Compress::new(Compression::fast(), false);
                }
                return is_done.then(|| part.into());
            }
            part.reserve(part.capacity().max(1024));
        }
    })
}

/// The body compressed, if the client takes gzip and it is worth while; `None`: as it is.
pub(crate) fn gzip(request: &HeaderMap, body: &[u8]) -> Option<Bytes> {
    if body.len() < MIN_BYTES || !takes_gzip(request) {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Marks a response as compressed.
pub(crate) fn mark(headers: &mut HeaderMap, is_compressed: bool) {
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

/// RFC 9110 section 12.5.3, as far as gzip goes.
pub(crate) fn takes_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|entry| {
        let (coding, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_made_of_parts_that_know_nothing_of_each_other() {
        use std::io::Read;
        let long = b"data: {\"type\":\"message\",\"channel\":\"a\"}\n".repeat(100);
        let events: [&[u8]; 5] = [b":\n\n", &long, b"data: x\n\n", &long, &vec![7; 200_000]];
        let mut stream = STREAM_HEAD.to_vec();
        // The same part twice, as streams share it.
        let parts: Vec<Bytes> = events.iter().map(|event| part(event)).collect();
        assert!(parts[1].len() < long.len() / 4);
        assert_eq!(parts[1], parts[3]);
        parts.iter().for_each(|part| stream.extend_from_slice(part));
        let mut read = Vec::new();
        // It has no end, which only matters to who asks for it.
        let _ = flate2::read::GzDecoder::new(&stream[..]).read_to_end(&mut read);
        assert_eq!(read, events.concat());
    }

    #[test]
    fn gzip_is_used_where_it_is_taken_and_worth_while() {
        let body = vec![b'a'; 4096];
        for (accept, expected) in
            [("gzip, deflate, br", true), ("br", false), ("gzip;q=0", false), ("GZIP;q=0.5", true)]
        {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
            assert_eq!(gzip(&headers, &body).is_some(), expected, "{accept}");
            assert!(gzip(&headers, b"short").is_none());
        }
        assert!(gzip(&HeaderMap::new(), &body).is_none());
    }
}
