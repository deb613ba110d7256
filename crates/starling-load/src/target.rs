//! Where the server is, and who the clients are there.

use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stays as it is in a query: the unreserved characters of RFC 3986.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The server under load.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// For the header `Host`.
    pub authority: String,
    /// What stands before every path, without a slash at its end.
    pub prefix: String,
    /// Set, it is spoken to over TLS.
    pub tls: Option<Tls>,
}

/// How the server is known under TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Which certificates are trusted.
    pub config: Arc<ClientConfig>,
    /// The name in the server's certificate.
    pub name: ServerName<'static>,
}

impl Target {
    /// The address of `host` and `port` that takes a connection.
    ///
    /// # Errors
    /// When the name is unknown, or none of its addresses takes one within five seconds.
    pub fn resolve(host: &str, port: u16) -> Result<SocketAddr> {
        let host = host.trim_matches(['[', ']']);
        let addresses: Vec<_> =
            (host, port).to_socket_addrs().with_context(|| format!("cannot find {host}"))?.collect();
        let mut refused = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(address),
                Err(error) => refused = Some((address, error)),
            }
        }
        let (address, error) = refused.with_context(|| format!("{host} has no address"))?;
        Err(error).with_context(|| format!("cannot connect to {address}"))
    }

    /// A plain server at `address`.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, authority: address.to_string(), prefix: String::new(), tls: None }
    }
}

/// Where systems keep the certificates of the authorities that they trust, in one file.
const SYSTEM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A client configuration that trusts the certificates in `file` (PEM), or those of the system, and resumes no sessions:
/// every connection costs the server a whole handshake.
///
/// # Errors
/// Fails when there is no certificate to trust.
pub fn trust(file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let system = || {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        named.or_else(|| SYSTEM_FILES.map(PathBuf::from).into_iter().find(|path| path.exists()))
    };
    let path = file.map(Path::to_owned).or_else(system).context("the system has no certificates to trust")?;
    let certificates =
        CertificateDer::pem_file_iter(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // System stores hold certificates that no parser likes; they are no reason to trust none.
    let (added, _) = roots.add_parsable_certificates(certificates.flatten());
    ensure!(added > 0, "no certificate in {}", path.display());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Starling's own over WebSocket, at `/ws`.
    Native,
    /// Socket.IO 5 over Engine.IO 4 and WebSocket, at `/socket.io/`.
    SocketIo,
    /// Phoenix Channels, serializer 2.0.0, at `/socket/websocket`.
    Phoenix,
    /// Pusher Channels, protocol 7, at `/app/{key}`.
    Pusher,
    /// An event stream, at `/sse`.
    Sse,
}

impl Protocol {
    /// Whether a client does not get what it published itself.
    pub(crate) fn omits_the_sender(self) -> bool {
        self == Self::Pusher
    }
}

/// Who the clients are, and what they say.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What they speak.
    pub protocol: Protocol,
    /// Path and query to connect to, instead of the protocol's own; `{channel}` stands for the channel.
    pub path: Option<String>,
    /// The token they show, if any.
    pub token: Option<String>,
    /// The app they belong to, where it has to be named or signed for.
    pub app: Option<App>,
    /// What happened, in each message they publish.
    pub event: String,
}

impl Identity {
    /// Anonymous clients that publish the event `message`.
    pub fn anonymous(protocol: Protocol) -> Self {
        Self { protocol, path: None, token: None, app: None, event: "message".to_owned() }
    }
}

/// An app of the server.
#[derive(Clone)]
pub struct App {
    /// Its number, as the Pusher HTTP API has it in the path.
    pub id: String,
    /// The public half of its credentials.
    pub key: String,
    /// The other half.
    pub secret: String,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

/// `text` as the value of a query parameter.
pub(crate) fn in_query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}
