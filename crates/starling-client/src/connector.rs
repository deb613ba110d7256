//! Reaches the server: TCP, TLS, and what every request says of itself.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use starling_proto::native::Encoding;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::endpoint::Endpoint;
use crate::error::{Blame, ConnectError, Failure};

/// What every request says of who asks.
pub(crate) const USER_AGENT: &str = concat!("starling-client/", env!("CARGO_PKG_VERSION"));

/// A byte stream to the server, plain or encrypted.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Reaches one server.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) endpoint: Endpoint,
    /// Needed where the endpoint is secure.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// How messages to the server are written. On a WebSocket, its subprotocol is the only one that is offered.
    pub(crate) encoding: Encoding,
    /// Larger messages from the server, and answers to polls, end the connection, in bytes.
    pub(crate) max_message: usize,
}

impl Connector {
    /// Opens a byte stream. Cancel-safe: one that is half open is closed.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Stream>, Failure> {
        // No transport reaches a server that is not there, or that nobody vouches for.
        let unreachable = |error| Failure { error: self.io(error).into(), blame: Blame::Elsewhere };
        let stream =
            TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name =
            ServerName::try_from(self.endpoint.host.clone()).map_err(|error| unreachable(io::Error::other(error)))?;
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(unreachable)?))
    }

    /// The header `Authorization` for this token.
    ///
    /// # Errors
    ///
    /// When it is none: a line break would start a header of the token's choosing.
    pub(crate) fn bearer(token: Option<&str>) -> Result<Option<String>, Failure> {
        let Some(token) = token else { return Ok(None) };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let error = ConnectError::Protocol("the token is not a JSON Web Token".into()).into();
            return Err(Failure { error, blame: Blame::Elsewhere });
        }
        Ok(Some(format!("Bearer {token}")))
    }

    pub(crate) fn io(&self, error: io::Error) -> ConnectError {
        ConnectError::Io { address: self.endpoint.address(), error: Arc::new(error) }
    }
}
