//! A certificate for the server under test, and clients that trust it.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The name in the certificate, and the one that clients ask for.
pub const NAME: &str = "localhost";

/// Writes a fresh self-signed certificate to `certificate` and its key to `key`, both as PEM.
///
/// # Errors
/// Fails when the files cannot be written.
pub fn write_certificate(certificate: &Path, key: &Path) -> Result<()> {
    let signed = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    fs::write(certificate, signed.cert.pem())?;
    fs::write(key, signed.signing_key.serialize_pem())?;
    Ok(())
}

/// A client configuration that trusts `certificate` (PEM) and nothing else, and resumes no sessions.
///
/// # Errors
/// Fails when the file holds no certificate.
pub fn trusting(certificate: &Path) -> Result<Arc<ClientConfig>> {
    let read = CertificateDer::from_pem_file(certificate)
        .with_context(|| format!("failed to read {}", certificate.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add(read)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
