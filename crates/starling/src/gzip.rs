//! Compressed responses, where a client asks for them.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderValue};

/// Smaller bodies gain nothing.
const MIN_BYTES: usize = 1024;

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
fn takes_gzip(request: &HeaderMap) -> bool {
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
