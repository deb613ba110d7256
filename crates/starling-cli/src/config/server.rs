//! `[server]`, `[tls]` and `[origins]`: where Starling listens, and whom it lets in by address.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::document::Node;
use super::quantity::Cidr;
use super::section::Section;

/// What an address to listen on looks like, in words.
const ADDRESS: &str = r#"an address and port, such as "0.0.0.0:8080" or "[::]:8080""#;

/// `[server]`: listeners and process-wide limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Addresses of the main listener, at least one. Default `0.0.0.0:8080`.
    pub listen: Vec<SocketAddr>,
    /// Address of metrics and dashboard. Default none: they are served on `listen`, authenticated.
    pub admin_listen: Option<SocketAddr>,
    /// Bytes of one client message. Default 64 KiB. Larger: close 1009, HTTP 413.
    pub max_payload: usize,
    /// Connections of the whole process. Default 1,000,000. Beyond: HTTP 503 with `Retry-After`.
    pub max_connections: usize,
    /// Connections of one client address, 0 for no limit. Default 0. Beyond: HTTP 429.
    pub max_connections_per_ip: usize,
    /// Time for TLS and the request head. Default 10 s. Later: the connection is closed.
    pub handshake_timeout: Duration,
    /// Time that a drain may take before connections are cut. Default 30 s.
    pub shutdown_grace: Duration,
    /// Networks whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether permessage-deflate is accepted. Default true.
    pub compression: bool,
    /// Worker threads, 0 for one per core. Default 0.
    pub workers: usize,
}

/// `[tls]`: PEM files of the certificate chain and its private key. Left out: plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// `[origins]`: which browser origins may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// The allowed origins. Default an empty list: no browser of another origin connects.
    pub allow: AllowedOrigins,
    /// Also refuse requests that carry no `Origin`. Default false.
    pub require: bool,
}

/// The origins of `[origins] allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// `"*"` is in the list.
    Any,
    /// Exactly these, as browsers send them: lower case, no path, no default port.
    List(Vec<String>),
}

/// Parses an address to listen on.
///
/// # Errors
///
/// The text in words of what is expected.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("expected {ADDRESS}"))
}

impl Server {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let second = Duration::from_secs(1);
        let minute = 60 * second;
        let server = Self {
            listen: section.list("listen", ADDRESS, as_address).unwrap_or_else(|| vec![([0, 0, 0, 0], 8080).into()]),
            admin_listen: section.read("admin_listen", ADDRESS, as_address),
            max_payload: section.size("max_payload", 1..=256 << 20, 64 << 10),
            max_connections: section.number("max_connections", "connections", 1..=100_000_000, 1_000_000),
            max_connections_per_ip: section.number(
                "max_connections_per_ip",
                "connections (0: no limit)",
                0..=100_000_000,
                0,
            ),
            handshake_timeout: section.duration("handshake_timeout", second / 10..=10 * minute, 10 * second),
            shutdown_grace: section.duration("shutdown_grace", Duration::ZERO..=60 * minute, 30 * second),
            trusted_proxies: section
                .list("trusted_proxies", r#"a network, such as "10.0.0.0/8" or "::1/128""#, |node| {
                    Cidr::parse(&node.as_string()?)
                })
                .unwrap_or_default(),
            compression: section.boolean("compression", true),
            workers: section.number("workers", "threads (0: one per core)", 0..=1024, 0),
        };
        server.check_addresses(&section);
        section.finish();
        server
    }

    fn check_addresses(&self, section: &Section<'_, '_>) {
        if self.listen.is_empty() {
            section.complain("listen", format_args!("expected at least one address, each {ADDRESS}"));
        }
        // Port 0 is a free port, a different one each time.
        let mut seen = HashSet::new();
        if let Some(twice) = self.listen.iter().find(|address| address.port() != 0 && !seen.insert(**address)) {
            section.complain("listen", format_args!("{twice} is listed twice"));
        }
        if let Some(admin) = self.admin_listen.filter(|admin| seen.contains(admin)) {
            section.complain(
                "admin_listen",
                format_args!("{admin} is already in server.listen; leave admin_listen out to serve both there"),
            );
        }
    }
}

impl Tls {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let mut file = |key| {
            let missing = section.is_missing(key, "the name of a PEM file");
            if missing { None } else { section.file(key) }
        };
        let (cert, key) = (file("cert"), file("key"));
        let tls = cert.zip(key).map(|(cert, key)| Self { cert, key });
        if let Some((key, reason)) = tls.as_ref().and_then(|tls| tls.verify().err()) {
            section.complain(key, reason);
        }
        section.finish();
        tls
    }

    /// Reads both files and sees that they belong together; otherwise the wrong key of the section, and why.
    fn verify(&self) -> Result<(), (&'static str, String)> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.cert).into_iter().flatten().flatten().collect();
        if chain.is_empty() {
            return Err(("cert", format!("no certificate in {cert}")));
        }
        let der = PrivateKeyDer::from_pem_file(&self.key).map_err(|_| ("key", format!("no private key in {key}")))?;
        match CertifiedKey::from_der(chain, der, &rustls::crypto::aws_lc_rs::default_provider()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(("key", format!("{key} is not the key of the certificate {cert}")))
            }
            Err(error) => Err(("cert", format!("{cert} with {key}: {error}"))),
        }
    }
}

impl Origins {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let expected = r#"an origin without a path, such as "https://app.example.com", or "*""#;
        let listed = section.list("allow", expected, |node| parse_origin(&node.as_string()?)).unwrap_or_default();
        let allow =
            if listed.iter().any(|origin| origin == "*") { AllowedOrigins::Any } else { AllowedOrigins::List(listed) };
        let require = section.boolean("require", false);
        if require && allow == AllowedOrigins::List(Vec::new()) {
            section.complain("require", "nobody could connect, because origins.allow is empty");
        }
        section.finish();
        Self { allow, require }
    }
}

fn as_address(node: &Node) -> Option<SocketAddr> {
    parse_listen(&node.as_string()?).ok()
}

/// An origin as a browser sends it (RFC 6454 section 6.2), or `*`.
fn parse_origin(text: &str) -> Option<String> {
    if text == "*" || text == "null" {
        return Some(text.into());
    }
    let (scheme, host) = text.split_once("://")?;
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ', ',', '*']) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    // Origins of other schemes (capacitor, chrome-extension, tauri) are opaque to the URL standard; browsers send scheme and host.
    Some(if matches!(scheme, "http" | "https") {
        url.origin().ascii_serialization()
    } else {
        text.to_ascii_lowercase()
    })
}
