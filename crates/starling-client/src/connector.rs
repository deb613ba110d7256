//! Opens a connection: TCP, TLS, the WebSocket upgrade.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use starling_proto::native::Encoding;
use starling_proto::websocket::handshake;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::socket::Socket;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The most headers in an answer.
const MAX_HEADERS: usize = 64;
/// How much of the body of a refusal is kept, in bytes.
const MAX_REFUSAL: usize = 4 << 10;

/// A byte stream to the server, plain or encrypted.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to one server.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) endpoint: Endpoint,
    /// Needed where the endpoint is secure.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// What is spoken: its subprotocol is the only one that is offered.
    pub(crate) encoding: Encoding,
    /// Larger messages from the server end the connection, in bytes.
    pub(crate) max_message: usize,
}

impl Connector {
    /// Opens one connection. `token` goes into `Authorization`.
    ///
    /// Cancel-safe: a connection that is half open is closed.
    pub(crate) async fn open(&self, token: Option<&str>) -> Result<Socket, ConnectError> {
        let mut stream = self.dial().await.map_err(|error| self.io(error))?;
        let key = handshake::key(nonce().map_err(|error| self.io(error))?);
        let request = self.request(&key, token)?;
        let sent = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| self.io(error))?;
        let rest = self.read_answer(&mut stream, &key).await?;
        Ok(Socket::new(stream, rest, self.max_message))
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.endpoint.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?))
    }

    fn request(&self, key: &str, token: Option<&str>) -> Result<String, ConnectError> {
        let Endpoint { authority, target, .. } = &self.endpoint;
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: {}\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {}\r\n\
             User-Agent: starling-client/{}\r\n",
            handshake::VERSION,
            self.encoding.subprotocol(),
            env!("CARGO_PKG_VERSION"),
        );
        if let Some(token) = token {
            // A line break would start a header of the token's choosing.
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConnectError::Protocol("the token is not a JSON Web Token".into()));
            }
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        request.push_str("\r\n");
        Ok(request)
    }

    /// Reads the answer to the upgrade, and returns what came behind it.
    async fn read_answer(&self, stream: &mut Box<dyn Stream>, key: &str) -> Result<Vec<u8>, ConnectError> {
        let mut buffer = Vec::with_capacity(1024);
        loop {
            let read = stream.read_buf(&mut buffer).await.map_err(|error| self.io(error))?;
            if let Some((answer, length)) = Answer::parse(&buffer)? {
                if answer.status != 101 {
                    let body = read_refusal(stream, buffer.split_off(length)).await;
                    return Err(answer.refusal(&body));
                }
                answer.check(key, self.encoding)?;
                return Ok(buffer.split_off(length));
            }
            if read == 0 {
                return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
            }
            if buffer.len() > MAX_HEAD {
                return Err(ConnectError::Protocol("the head of its answer does not end".into()));
            }
        }
    }

    fn io(&self, error: io::Error) -> ConnectError {
        ConnectError::Io { address: self.endpoint.address(), error: Arc::new(error) }
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

    fn refusal(self, body: &[u8]) -> ConnectError {
        ConnectError::Status { status: self.status, retry_after: self.retry_after, message: message(body) }
    }
}

/// The message of an error object, or the text of a short body.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let parsed = serde_json::from_str::<serde_json::Value>(&text).ok();
    let error = parsed.as_ref().and_then(|value| value.get("error"));
    let field = |name| error.and_then(|error| error.get(name)).and_then(serde_json::Value::as_str);
    match (field("code"), field("message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.into(),
        (None, None) => text.lines().next().unwrap_or_default().chars().take(200).collect(),
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
