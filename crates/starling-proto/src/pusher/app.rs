//! An app as its Pusher clients know it: its credentials, its switches, and what its secret has signed.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;

/// The largest `data` of an event on the real service, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 10 << 10;
/// The longest channel name on the real service.
pub const DEFAULT_MAX_CHANNEL_NAME: usize = 200;

/// What Pusher users know as the settings and limits of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSettings {
    /// Whether clients may send client events. Default: yes.
    pub client_events: bool,
    /// Whether members of a channel are told how many they are. Default: no.
    pub subscription_count: bool,
    /// Client events of one connection in a second; more are refused with 4301. 0: only `[limits]`. Default 0.
    pub client_events_per_second: u32,
    /// Events that the HTTP API takes in a second on this node, each channel counted; more are refused with 429.
    /// 0: no limit. Default 0.
    pub events_per_second: u32,
    /// Open Pusher connections on this node; more are closed with 4004. 0: no limit. Default 0.
    pub max_connections: usize,
    /// The largest `data` of one event, in bytes. Default 10 KiB.
    pub max_payload: usize,
    /// The longest channel name, in characters; at most 200. Default 200.
    pub max_channel_name: usize,
    /// Users in one presence channel; further ones are refused. 0: no limit. Default 0.
    pub max_presence_members: usize,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            client_events: true,
            subscription_count: false,
            client_events_per_second: 0,
            events_per_second: 0,
            max_connections: 0,
            max_payload: DEFAULT_MAX_PAYLOAD,
            max_channel_name: DEFAULT_MAX_CHANNEL_NAME,
            max_presence_members: 0,
        }
    }
}

/// An app, shared by the sessions of all its connections: what is configured for it may change while they are open.
#[derive(Debug)]
pub struct LiveApp(RwLock<Arc<App>>);

impl LiveApp {
    /// An app that is configured like this for now.
    pub fn new(app: App) -> Self {
        Self(RwLock::new(Arc::new(app)))
    }

    /// The app as it is configured now.
    pub fn now(&self) -> Arc<App> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is configured like this.
    pub fn configure(&self, app: App) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(app);
    }
}

/// An app as it is configured at one time.
#[derive(Clone)]
pub struct App {
    key: Box<str>,
    secret: Box<str>,
    signing: hmac::Key,
    /// Its settings.
    pub settings: AppSettings,
}

impl App {
    /// An app with these credentials.
    pub fn new(key: &str, secret: &str, settings: AppSettings) -> Self {
        Self { key: key.into(), secret: secret.into(), signing: signing_key(secret), settings }
    }

    /// Whether it was made from these.
    pub fn is(&self, key: &str, secret: &str, settings: &AppSettings) -> bool {
        *self.key == *key && *self.secret == *secret && self.settings == *settings
    }

    /// Its public key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether `signature` (hexadecimal) is the HMAC-SHA256 of `text` under its secret. Takes the same time wherever
    /// they differ.
    pub fn has_signed(&self, text: &str, signature: &str) -> bool {
        let mut tag = [0; 32];
        decode_hex(signature, &mut tag) && hmac::verify(&self.signing, text.as_bytes(), &tag).is_ok()
    }
}

/// Shows no secret.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("key", &self.key).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The hexadecimal HMAC-SHA256 of `text` under `secret`: how Pusher signs everything.
pub fn sign(secret: &str, text: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let tag = hmac::sign(&signing_key(secret), text);
    tag.as_ref()
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn signing_key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// Whether `text` is as many bytes as `out` has, in hexadecimal; they are written there.
fn decode_hex(text: &str, out: &mut [u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != out.len() || !rest.is_empty() {
        return false;
    }
    pairs.iter().zip(out).all(|([high, low], byte)| match (digit(*high), digit(*low)) {
        (Some(high), Some(low)) => {
            *byte = (high << 4 | low) as u8;
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_the_documentation_are_right() {
        // "Authentication and authorization signatures": worked examples for a private and a presence channel, a user.
        let app = App::new("278d425bdf160c739803", "7ad3773142a6692b25b8", AppSettings::default());
        for (text, signature) in [
            ("1234.1234:private-foobar", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
            (
                r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#,
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
        ] {
            assert!(app.has_signed(text, signature), "{text}");
            assert_eq!(sign("7ad3773142a6692b25b8", text.as_bytes()), signature);
            assert!(!app.has_signed(&format!("{text} "), signature));
        }
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let app = App::new("k", "s", AppSettings::default());
        let right = sign("s", b"text");
        for signature in ["", "zz", &right[..62], &format!("{right}00"), &format!("g{}", &right[1..])] {
            assert!(!app.has_signed("text", signature), "{signature}");
        }
        assert!(app.has_signed("text", &right));
    }
}
