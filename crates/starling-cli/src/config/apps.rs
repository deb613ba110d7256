//! `[[apps]]`: the tenants, their secrets, and the keys that sign their users' tokens.

use std::fmt;
use std::path::PathBuf;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;
use reqwest::Url;
use starling::pusher::AppSettings;

use super::document::Node;
use super::section::{Section, one_of};

/// Secrets that come from examples, and therefore protect nothing. Compared without case, spaces, `-` and `_`.
const PLACEHOLDERS: [&str; 9] =
    ["…", "...", "secret", "changeme", "changethis", "replaceme", "yoursecret", "password", "xxx"];

/// One of `[[apps]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Digits, unique.
    pub id: String,
    /// The public half of its credentials: letters, digits, `-` and `_`, unique.
    pub key: String,
    /// Signs and authenticates everything of the app, except user tokens where `jwt` is set.
    pub secret: Secret,
    /// The keys that verify user tokens. Empty: HS256 with `secret`.
    pub jwt: Vec<JwtKey>,
    /// What its Pusher clients and servers may do.
    pub pusher: AppSettings,
}

/// A secret, kept out of debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One way in which an app's user tokens may be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKey {
    /// The key, or where keys are found.
    pub source: JwtSource,
    /// The `iss` that tokens must carry. Default: any.
    pub issuer: Option<String>,
    /// The values of which one must be in the token's `aud`. Default empty: any.
    pub audience: Vec<String>,
}

/// Where the key of a [`JwtKey`] comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtSource {
    /// A shared secret; the algorithm is one of HS256, HS384, HS512.
    Secret {
        /// The only algorithm accepted.
        algorithm: JwtAlgorithm,
        /// The shared secret.
        secret: Secret,
    },
    /// A PEM file with a public key; the algorithm is RS256, ES256 or EdDSA.
    PublicKey {
        /// The only algorithm accepted.
        algorithm: JwtAlgorithm,
        /// The PEM file.
        path: PathBuf,
    },
    /// A file with a JSON Web Key Set (RFC 7517); the algorithm is the one that each key names or implies.
    JwksFile {
        /// The file.
        path: PathBuf,
    },
    /// A JSON Web Key Set fetched over HTTPS (or HTTP from this machine), with the algorithm of each key.
    JwksUrl {
        /// The address.
        url: String,
    },
}

/// A signature algorithm for user tokens. `none` is never accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

use JwtAlgorithm::{EdDsa, Es256, Hs256, Hs384, Hs512, Rs256};

const ALGORITHMS: [(&str, JwtAlgorithm); 6] =
    [("HS256", Hs256), ("HS384", Hs384), ("HS512", Hs512), ("RS256", Rs256), ("ES256", Es256), ("EdDSA", EdDsa)];

impl JwtAlgorithm {
    /// Whether one secret both signs and verifies.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Hs256 | Hs384 | Hs512)
    }
}

impl App {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let id =
            section.require("id", r#"digits in quotes, such as "1""#, |node| node.as_string().filter(|id| is_id(id)));
        let key = section
            .require("key", "1 to 64 letters, digits, - or _", |node| node.as_string().filter(|key| is_key(key)));
        let secret = section.require("secret", SECRET, as_secret);
        let jwt = section.sections("jwt", false).into_iter().filter_map(JwtKey::read).collect();
        let pusher = section.section_like("pusher", "{ enable_subscription_count = true }").map(read_pusher);
        section.finish();
        Some(Self { id: id?, key: key?, secret: secret?, jwt, pusher: pusher.unwrap_or_default() })
    }
}

/// What users of Pusher know as the settings and limits of an app.
fn read_pusher(mut section: Section<'_, '_>) -> AppSettings {
    const MOST: usize = 1_000_000_000;
    let defaults = AppSettings::default();
    let longest = defaults.max_channel_name;
    let settings = AppSettings {
        client_events: section.boolean("client_events", defaults.client_events),
        subscription_count: section.boolean("enable_subscription_count", defaults.subscription_count),
        client_events_per_second: section.number("max_client_events_per_second", "events", 0..=1_000_000, 0) as u32,
        events_per_second: section.number("max_events_per_second", "events", 0..=1_000_000, 0) as u32,
        max_connections: section.number("max_connections", "connections", 0..=MOST, 0),
        max_payload: section.size("max_payload", 1..=16 << 20, defaults.max_payload),
        max_channel_name: section.number("max_channel_name_length", "characters", 1..=longest, longest),
        max_presence_members: section.number("max_presence_members", "users", 0..=MOST, 0),
    };
    section.finish();
    settings
}

impl JwtKey {
    fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let source = JwtSource::read(&mut section);
        let issuer = section.read("issuer", "the iss claim that tokens must carry", |node| {
            node.as_string().filter(|text| !text.is_empty())
        });
        let audience = section.read("audience", "an aud claim that tokens must carry, or a list of them", as_strings);
        section.finish();
        Some(Self { source: source?, issuer, audience: audience.unwrap_or_default() })
    }
}

impl JwtSource {
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        section.know(&["alg", "secret", "public_key", "jwks"]);
        let algorithm = section.choice("alg", &ALGORITHMS);
        let given: Vec<&str> = ["secret", "public_key", "jwks"].into_iter().filter(|key| section.has(key)).collect();
        let [kind] = given[..] else {
            section.complain("", "expected exactly one of secret, public_key and jwks");
            return None;
        };
        if kind == "jwks" {
            if section.has("alg") {
                section.complain("alg", "does not go with jwks, where each key has its own algorithm");
            }
            return Self::read_jwks(section);
        }
        let Some(algorithm) = algorithm else {
            section.is_missing(
                "alg",
                &format!("{}, as the algorithm is never taken from a token", one_of(ALGORITHMS.map(|(name, _)| name))),
            );
            return None;
        };
        if algorithm.is_symmetric() != (kind == "secret") {
            let right = if algorithm.is_symmetric() { "secret" } else { "public_key" };
            section.complain("alg", format_args!("needs {right} beside it, not {kind}"));
            return None;
        }
        if algorithm.is_symmetric() {
            let secret = section.read("secret", SECRET, as_secret)?;
            return Some(Self::Secret { algorithm, secret });
        }
        let path = section.file("public_key")?;
        Self::read_public_key(section, algorithm, path)
    }

    fn read_public_key(section: &Section<'_, '_>, algorithm: JwtAlgorithm, path: PathBuf) -> Option<Self> {
        let pem = std::fs::read(&path).unwrap_or_default();
        let parsed = match algorithm {
            Es256 => DecodingKey::from_ec_pem(&pem),
            EdDsa => DecodingKey::from_ed_pem(&pem),
            Rs256 | Hs256 | Hs384 | Hs512 => DecodingKey::from_rsa_pem(&pem),
        };
        if parsed.is_err() {
            let name = ALGORITHMS.iter().find(|(_, value)| *value == algorithm).map_or("", |(name, _)| name);
            section.complain("public_key", format_args!("{} is not a PEM public key for {name}", path.display()));
            return None;
        }
        Some(Self::PublicKey { algorithm, path })
    }

    fn read_jwks(section: &mut Section<'_, '_>) -> Option<Self> {
        let expected = r#"an https:// URL, or the name of a file"#;
        let node = section.read("jwks", expected, |node| node.as_string().filter(|text| !text.is_empty()))?;
        if !node.contains("://") {
            let path = section.file("jwks")?;
            if serde_json::from_slice::<JwkSet>(&std::fs::read(&path).unwrap_or_default()).is_err() {
                section.complain("jwks", format_args!("{} is not a JSON Web Key Set", path.display()));
                return None;
            }
            return Some(Self::JwksFile { path });
        }
        let safe =
            Url::parse(&node).is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)));
        if !safe {
            section.complain("jwks", format_args!("expected {expected} (http:// only from this machine)"));
            return None;
        }
        Some(Self::JwksUrl { url: node })
    }
}

/// Reports apps that cannot be told apart, as `complain(index, key, message)`.
pub(super) fn check_unique(apps: &[(usize, App)], complain: impl Fn(usize, &str, String)) {
    for (nth, (index, app)) in apps.iter().enumerate() {
        for (other, earlier) in &apps[..nth] {
            if app.id == earlier.id {
                complain(*index, "id", format!("{:?} is already the id of apps[{other}]", app.id));
            }
            if app.key == earlier.key {
                complain(*index, "key", format!("{:?} is already the key of apps[{other}]", app.key));
            }
        }
    }
}

const SECRET: &str = "a secret of your own, such as `starling init` writes";

fn as_secret(node: &Node) -> Option<Secret> {
    let text = node.as_string()?;
    let bare: String = text.to_lowercase().chars().filter(|c| !matches!(c, ' ' | '-' | '_' | '<' | '>')).collect();
    let usable = !bare.is_empty() && !text.contains(char::is_control) && !PLACEHOLDERS.contains(&bare.as_str());
    usable.then_some(Secret(text))
}

fn as_strings(node: &Node) -> Option<Vec<String>> {
    let list = match node.as_array() {
        Some(nodes) => nodes.iter().map(Node::as_string).collect::<Option<Vec<_>>>()?,
        None => vec![node.as_string()?],
    };
    (!list.is_empty() && list.iter().all(|text| !text.is_empty())).then_some(list)
}

fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A key is part of URLs, of Basic credentials (no `:`) and of Ably's `id.key` (no `.`).
fn is_key(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a URL points at this very machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
