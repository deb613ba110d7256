//! A certificate for the server under test.

use std::{fs, path::Path};

use anyhow::Result;

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
