//! The apps' keys, as far as requests to the application are signed with them.

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use hashbrown::HashMap;
use starling_core::AppId;

use crate::auth::AppKeys;

/// The secrets in force. Shared by everything that signs, and replaced on a reload.
pub struct Secrets(ArcSwap<HashMap<AppId, AppSecret>>);

#[derive(Clone)]
struct AppSecret {
    public: Box<str>,
    key: hmac::Key,
}

impl Secrets {
    /// The secrets of these apps.
    pub fn new(apps: &[AppKeys]) -> Self {
        Self(ArcSwap::from_pointee(by_app(apps)))
    }

    /// Puts other apps' secrets in force.
    pub(crate) fn replace(&self, apps: &[AppKeys]) {
        self.0.store(by_app(apps).into());
    }

    /// The hexadecimal HMAC-SHA256 of `parts` behind each other; `None` for an app that is not configured.
    pub(crate) fn sign(&self, app: &AppId, parts: &[&[u8]]) -> Option<String> {
        let secrets = self.0.load();
        let mut context = hmac::Context::with_key(&secrets.get(app)?.key);
        parts.iter().for_each(|part| context.update(part));
        Some(context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The public key of an app.
    pub(crate) fn public_key(&self, app: &AppId) -> Option<Box<str>> {
        self.0.load().get(app).map(|secret| secret.public.clone())
    }
}

fn by_app(apps: &[AppKeys]) -> HashMap<AppId, AppSecret> {
    let secret = |app: &AppKeys| AppSecret {
        public: app.key.as_str().into(),
        key: hmac::Key::new(hmac::HMAC_SHA256, app.secret.as_bytes()),
    };
    apps.iter().map(|app| (AppId::from(app.id.as_str()), secret(app))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_hmac_sha256_of_all_parts() {
        // RFC 4231 test case 2.
        let secrets = Secrets::new(&[AppKeys::new("1", "key", "Jefe")]);
        let signed = secrets.sign(&AppId::from("1"), &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(signed.as_deref(), Some("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
        assert_eq!(secrets.sign(&AppId::from("2"), &[b""]), None);
    }
}
