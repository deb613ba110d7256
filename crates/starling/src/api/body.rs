//! Reading a request's body: up to its limit, and not forever.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::Body;
use starling_core::{ErrorCode, Refusal};
use tokio::time::timeout;

use super::answer::Failure;

/// Names, ids and braces around a payload, in bytes.
const ENVELOPE: usize = 64 << 10;
/// A whole batch, in bytes.
const BATCH: usize = 10 << 20;
/// What is read and thrown away after the limit, in bytes, so that a client that only reads once it has written learns
/// why it was refused instead of finding the connection reset. A client that sends more finds just that.
const DISCARDED: usize = 32 << 20;

/// How large the body of a call may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLimit {
    /// A few fields.
    Fields,
    /// One message.
    Message,
    /// Many messages.
    Batch,
}

impl BodyLimit {
    /// The limit in bytes, where one payload may have `max_payload`.
    pub fn bytes(self, max_payload: usize) -> usize {
        match self {
            Self::Fields => ENVELOPE,
            // As base64, bytes are a third longer.
            Self::Message => (max_payload / 3 + 1).saturating_mul(4).saturating_add(ENVELOPE),
            Self::Batch => BATCH,
        }
    }
}

/// Reads a body of at most `limit` bytes. `idle` bounds the wait for each part of it.
pub(crate) async fn read<B>(body: B, headers: &HeaderMap, limit: usize, idle: Duration) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
{
    let too_large = || Failure::too_large("the body", limit);
    let declared = body.size_hint().lower();
    let is_hopeless = declared > limit.saturating_add(DISCARDED) as u64;
    // A client that expects asked before it sends anything (RFC 9110 section 10.1.1).
    if declared > limit as u64 && (is_hopeless || headers.contains_key(EXPECT)) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut parts = Parts::default();
    let mut seen = 0_usize;
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(Failure::too_slow()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::new(ErrorCode::InvalidMessage, "the body broke off").into()),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            parts.push(data);
        } else if seen > limit.saturating_add(DISCARDED) {
            return Err(too_large());
        } else {
            parts = Parts::default();
        }
    }
    if seen > limit { Err(too_large()) } else { Ok(parts.join()) }
}

/// A body in one part is not copied.
#[derive(Default)]
struct Parts {
    first: Bytes,
    rest: Option<BytesMut>,
}

impl Parts {
    fn push(&mut self, data: Bytes) {
        match &mut self.rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if self.first.is_empty() => self.first = data,
            None => {
                let mut joined = BytesMut::from(&self.first[..]);
                joined.extend_from_slice(&data);
                self.rest = Some(joined);
            }
        }
    }

    fn join(self) -> Bytes {
        self.rest.map_or(self.first, BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http::{HeaderValue, StatusCode};
    use http_body_util::Full;
    use hyper::body::Frame;

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    /// Comes in these parts, and then never ends.
    struct Endless(VecDeque<Bytes>);

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.pop_front().map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part)))))
        }
    }

    async fn length(body: impl Body<Data = Bytes>, limit: usize, idle: Duration) -> Result<usize, StatusCode> {
        let read = read(body, &HeaderMap::new(), limit, idle).await;
        read.map(|bytes| bytes.len()).map_err(|failure| failure.status)
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_its_limit() {
        for (bytes, expected) in [(0, Ok(0)), (10, Ok(10)), (11, Err(StatusCode::PAYLOAD_TOO_LARGE))] {
            let body = Full::new(Bytes::from(vec![b' '; bytes]));
            assert_eq!(length(body, 10, IDLE).await, expected, "{bytes} bytes");
        }
    }

    #[tokio::test]
    async fn what_is_much_too_large_is_not_read_to_its_end() {
        let part = Bytes::from(vec![b' '; DISCARDED]);
        let body = Endless(VecDeque::from([part.clone(), part]));
        assert_eq!(length(body, 10, IDLE).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let body = Endless(VecDeque::from([Bytes::from_static(b"{")]));
        assert_eq!(length(body, 10, Duration::ZERO).await, Err(StatusCode::REQUEST_TIMEOUT));
    }

    #[tokio::test]
    async fn a_client_that_asks_first_is_told_before_it_sends() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let body = Full::new(Bytes::from(vec![b' '; 11]));
        let failure = read(body, &headers, 10, IDLE).await.unwrap_err();
        assert_eq!(failure.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn parts_are_joined_in_order() {
        let mut parts = Parts::default();
        for part in ["", "ab", "", "cd", "e"] {
            parts.push(Bytes::from_static(part.as_bytes()));
        }
        assert_eq!(parts.join(), "abcde");
    }
}
