//! The part of HTTP/1.1 that clients need: the head of a response, and where its body ends (RFC 9112).

use anyhow::{Result, bail};

/// The most bytes of a head.
const MAX_HEAD: usize = 32 * 1024;

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The status code with its phrase, for people.
    pub line: String,
    /// Bytes of the head.
    pub len: usize,
    /// How the end of the body is known.
    pub body: Body,
    /// Whether the connection goes on after the body.
    pub keeps_alive: bool,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// `Sec-WebSocket-Accept`.
    pub accept: Option<String>,
}

/// What remains of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Until the connection ends.
    UntilClose,
    /// Chunks: bytes left of the present one; `None` between chunks, where a size is to be read.
    Chunked(Option<u64>),
    /// Nothing: it is complete.
    Ended,
}

impl Head {
    /// Reads the head at the front of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// When it is not a response of HTTP, or too long.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let len = match response.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => bail!("the head of the answer is longer than {MAX_HEAD} bytes"),
            Err(error) => bail!("the answer is not HTTP ({error})"),
        };
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let status = response.code.unwrap_or_default();
        let chunked = header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let body = match header("content-length").and_then(|length| length.parse().ok()) {
            _ if matches!(status, 100..=199 | 204 | 304) => Body::Ended,
            _ if chunked => Body::Chunked(None),
            Some(length) => Body::Length(length),
            None => Body::UntilClose,
        };
        let closes = header("connection").is_some_and(|options| options.eq_ignore_ascii_case("close"));
        Ok(Some(Self {
            status,
            line: format!("HTTP {status} {}", response.reason.unwrap_or_default()).trim_end().to_owned(),
            len,
            body,
            keeps_alive: !closes && body != Body::UntilClose,
            location: header("location").map(str::to_owned),
            accept: header("sec-websocket-accept").map(str::to_owned),
        }))
    }
}

impl Body {
    /// Takes the body's bytes from the front of `bytes` and gives them to `sink`, without the sizes of chunks; returns
    /// how many bytes belong to it. The size of a chunk is left alone until it is complete.
    ///
    /// # Errors
    /// When the size of a chunk is no number.
    pub fn take(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            match self {
                Self::Ended => break,
                Self::UntilClose => {
                    sink(rest);
                    used = bytes.len();
                }
                Self::Length(left) | Self::Chunked(Some(left)) => {
                    let len = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    sink(&rest[..len]);
                    used += len;
                    *left -= len as u64;
                    match (*left, &self) {
                        (0, Self::Length(_)) => *self = Self::Ended,
                        (0, _) => *self = Self::Chunked(None),
                        _ => {}
                    }
                }
                Self::Chunked(None) => {
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { break };
                    let line = rest[..end].trim_ascii();
                    // The line end of the chunk before it.
                    if line.is_empty() {
                        used += end + 1;
                        continue;
                    }
                    let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
                    let size = std::str::from_utf8(size.trim_ascii()).unwrap_or_default();
                    let Ok(size) = u64::from_str_radix(size, 16) else { bail!("a chunk of {size:?} bytes") };
                    if size == 0 {
                        // The empty line behind it; trailers are not expected.
                        let Some(last) = rest[end + 1..].iter().position(|&byte| byte == b'\n') else { break };
                        used += end + 1 + last + 1;
                        *self = Self::Ended;
                        break;
                    }
                    used += end + 1;
                    *self = Self::Chunked(Some(size));
                }
            }
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of `response`, and whether it is complete, when it arrives in pieces of `piece` bytes.
    fn body(response: &[u8], piece: usize) -> (String, bool) {
        let head = Head::read(response).unwrap().unwrap();
        let (mut body, mut kept, mut out) = (head.body, Vec::new(), Vec::new());
        for piece in response[head.len..].chunks(piece) {
            kept.extend_from_slice(piece);
            let used = body.take(&kept, |bytes| out.extend_from_slice(bytes)).unwrap();
            kept.drain(..used);
        }
        (String::from_utf8(out).unwrap(), body == Body::Ended)
    }

    #[test]
    fn bodies_end_where_they_should_however_they_arrive() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde";
        let endless = b"HTTP/1.1 200 OK\r\n\r\nabcde";
        for piece in [1, 2, 7, 100] {
            assert_eq!(body(chunked, piece), ("abcde".to_owned(), true), "pieces of {piece}");
            assert_eq!(body(length, piece), ("abcde".to_owned(), true), "pieces of {piece}");
            assert_eq!(body(endless, piece), ("abcde".to_owned(), false), "pieces of {piece}");
        }
    }

    #[test]
    fn heads_are_read_when_they_are_complete() {
        let bytes = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        assert!(Head::read(&bytes[..bytes.len() - 1]).unwrap().is_none());
        let head = Head::read(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.line.as_str(), head.body), (204, "HTTP 204 No Content", Body::Ended));
        assert!(!head.keeps_alive);
        assert!(Head::read(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }
}
