//! The token that a long-polling client shows with each request after its first: which session is its own.
//!
//! ```text
//! phx1.NODE.ID.EXPIRY.SIGNATURE
//! ```
//!
//! `NODE.ID` is the name of the session, `EXPIRY` a Unix time in seconds, in hexadecimal. Signed with the secret of the
//! first app, so that every node can check it before it asks the node that has the session. Each answer to a poll brings
//! a new one.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VERSION: &str = "phx1.";
const LABEL: &[u8] = b"starling phoenix long-poll session, version 1";
/// The longest token that is looked at, in bytes.
const MAX_BYTES: usize = 512;

/// Whether a text is meant to be one: a user's token never is.
pub(super) fn is_meant(token: &str) -> bool {
    token.starts_with(VERSION)
}

/// A token for the session `name`, good until `expiry` (Unix seconds).
pub(super) fn sign(secret: &str, name: &str, expiry: u64) -> String {
    let signed = format!("{VERSION}{name}.{expiry:x}");
    let signature = hmac::sign(&key(secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The session's name, if the token was signed with `secret` and is good at `now` (Unix seconds).
pub(super) fn verify<'a>(secret: &str, token: &'a str, now: u64) -> Option<&'a str> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    hmac::verify(&key(secret), signed.as_bytes(), &signature).ok()?;
    let (name, expiry) = signed.strip_prefix(VERSION)?.rsplit_once('.')?;
    let expiry = u64::from_str_radix(expiry, 16).ok()?;
    (now <= expiry).then_some(name)
}

fn key(secret: &str) -> hmac::Key {
    // Apart from what else is signed with the app's secret.
    let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), LABEL);
    hmac::Key::new(hmac::HMAC_SHA256, own.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_unchanged_and_unexpired_token_names_a_session() {
        let token = sign("secret", "node.abc", 1_000);
        assert_eq!(verify("secret", &token, 1_000), Some("node.abc"));
        assert_eq!(verify("secret", &token, 1_001), None, "expired");
        assert_eq!(verify("other", &token, 1_000), None);
        assert_eq!(verify("secret", &token.replace("abc", "abd"), 1_000), None);
        assert_eq!(verify("secret", &token.replace("3e8", "fff"), 1_000), None, "no longer life");
        for forged in ["", "phx1.", "phx1.node.abc.3e8.", "phx1.node.abc.3e8", "a.b.c", &"x".repeat(600)] {
            assert_eq!(verify("secret", forged, 0), None, "{forged}");
        }
    }
}
