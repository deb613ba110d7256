//! The upgrade to a WebSocket (RFC 6455 section 4).

use std::io;
use std::time::Duration;

use starling_proto::native::Encoding;
use starling_proto::websocket::handshake;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::websocket::{self, Reader, Writer};
use crate::connector::{Connector, Stream, USER_AGENT};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, Failure};
use crate::refusal::refusal;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The most headers in an answer.
const MAX_HEADERS: usize = 64;
/// How much of the body of a refusal is kept, in bytes.
const MAX_REFUSAL: usize = 4 << 10;

/// Opens a WebSocket. `token` goes into `Authorization`.
pub(super) async fn open(connector: &Connector, token: Option<&str>) -> Result<(Reader, Writer), Failure> {
    let mut stream = connector.dial().await?;
    let key = handshake::key(nonce().map_err(|error| connector.io(error))?);
    let request = request(connector, &key, token)?;
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| connector.io(error))?;
    let rest = read_answer(connector, &mut stream, &key).await?;
    Ok(websocket::split(stream, rest, connector.max_message, connector.encoding))
}

fn request(connector: &Connector, key: &str, token: Option<&str>) -> Result<String, Failure> {
    let Endpoint { authority, target, .. } = &connector.endpoint;
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: {}\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {}\r\n\
         User-Agent: {USER_AGENT}\r\n",
        handshake::VERSION,
        connector.encoding.subprotocol(),
    );
    if let Some(bearer) = Connector::bearer(token)? {
        request.push_str(&format!("Authorization: {bearer}\r\n"));
    }
    request.push_str("\r\n");
    Ok(request)
}

/// Reads the answer to the upgrade, and returns what came behind it.
async fn read_answer(connector: &Connector, stream: &mut Box<dyn Stream>, key: &str) -> Result<Vec<u8>, Failure> {
    let mut buffer = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut buffer).await.map_err(|error| connector.io(error))?;
        if let Some((answer, length)) = Answer::parse(&buffer)? {
            if answer.status != 101 {
                let body = read_refusal(stream, buffer.split_off(length)).await;
                return Err(refusal(answer.status, answer.retry_after, &body));
            }
            answer.check(key, connector.encoding)?;
            return Ok(buffer.split_off(length));
        }
        if read == 0 {
            return Err(connector.io(io::ErrorKind::UnexpectedEof.into()).into());
        }
        if buffer.len() > MAX_HEAD {
            return Err(ConnectError::Protocol("the head of its answer does not end".into()).into());
        }
    }
}

/// The head of the answer to the upgrade (RFC 6455 section 4.2.2).
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    upgrade: bool,
    accept: Option<String>,
    protocol: Option<String>,
    extensions: bool,
    retry_after: Option<Duration>,
}

impl Answer {
    /// The head and its length, or `None` while it is incomplete.
    fn parse(buffer: &[u8]) -> Result<Option<(Self, usize)>, ConnectError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(buffer);
        let length = match parsed.map_err(|error| ConnectError::Protocol(format!("no HTTP: {error}")))? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let mut answer = Self { status: head.code.unwrap_or_default(), ..Self::default() };
        for header in head.headers.iter() {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            match header.name.to_ascii_lowercase().as_str() {
                "upgrade" => answer.upgrade = value.eq_ignore_ascii_case("websocket"),
                "sec-websocket-accept" => answer.accept = Some(value),
                "sec-websocket-protocol" => answer.protocol = Some(value),
                "sec-websocket-extensions" => answer.extensions = true,
                "retry-after" => answer.retry_after = value.parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        Ok(Some((answer, length)))
    }

    fn check(&self, key: &str, encoding: Encoding) -> Result<(), ConnectError> {
        let refuse = |reason: &str| Err(ConnectError::Protocol(reason.into()));
        if !self.upgrade {
            return refuse("it switches to another protocol");
        }
        let accept = self.accept.as_deref().unwrap_or_default();
        if let Err(error) = handshake::check_accept(key, accept) {
            return refuse(&error.to_string());
        }
        match self.protocol.as_deref() {
            _ if self.extensions => refuse("it wants an extension that was not offered"),
            Some(subprotocol) if subprotocol == encoding.subprotocol() => Ok(()),
            Some(other) => refuse(&format!("it speaks {other:?}")),
            None => refuse("it speaks no subprotocol"),
        }
    }
}

/// Reads the body of a refusal as far as it comes at once: it only makes the message better.
async fn read_refusal(stream: &mut Box<dyn Stream>, mut body: Vec<u8>) -> Vec<u8> {
    let whole = async {
        while body.len() < MAX_REFUSAL && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
            if !matches!(stream.read_buf(&mut body).await, Ok(1..)) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), whole).await;
    body
}

fn nonce() -> io::Result<[u8; 16]> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}
