//! Which certificates are trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::Error;

/// Where systems keep the certificates of the authorities that they trust, in one file.
const SYSTEM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Trusts the authorities of the system and those in `extra`.
///
/// # Errors
///
/// When a named file cannot be read, or there is no authority at all.
pub(crate) fn config(extra: &[PathBuf]) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    let system = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let system = system.or_else(|| SYSTEM_FILES.map(PathBuf::from).into_iter().find(|path| path.exists()));
    for path in system.iter().chain(extra) {
        add(&mut roots, path)?;
    }
    if roots.is_empty() {
        let message = "none found; set SSL_CERT_FILE to a PEM file of those that are trusted";
        return Err(Error::Certificates(message.into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Certificates(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let refuse = |reason: String| Error::Certificates(format!("{}: {reason}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
    // System stores hold certificates that no parser likes; they are no reason to trust none.
    let (added, _) = roots.add_parsable_certificates(certificates.flatten());
    if added == 0 {
        return Err(refuse("no certificate in it".into()));
    }
    Ok(())
}
