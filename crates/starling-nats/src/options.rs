//! Where the broker is and how it is used, from a URL; and why connecting can never work.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Where JetStream keeps what the engine stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// On the server's disk: survives its restart.
    #[default]
    File,
    /// In the server's memory: a restart of the server starts new epochs.
    Memory,
}

/// How to reach a NATS server or cluster, and what to keep there.
///
/// All nodes of one cluster need the same `prefix`, `replicas`, `storage`, `window` and `lease`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatsOptions {
    /// Servers, as `nats://host:4222` or `tls://host:4222`, tried in random order.
    pub servers: Vec<String>,
    /// User and password.
    pub user: Option<(String, String)>,
    /// A token, where the server asks for one.
    pub token: Option<String>,
    /// A file with a JWT and an nkey seed, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// An nkey seed (`SU…`).
    pub nkey: Option<String>,
    /// A PEM file with certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of this node's certificate and its key, where the server asks for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Whether a connection without TLS is refused. `tls://` sets it.
    pub require_tls: bool,
    /// What the names of subjects, streams and buckets begin with. Letters, digits, `-` and `_`. Default `starling`.
    pub prefix: String,
    /// How many servers keep each log, 1 to 5. Default 1; 3 where the cluster has three servers or more.
    pub replicas: usize,
    /// Where logs, presence and notes are kept. Default on disk.
    pub storage: Storage,
    /// How long publishers' message ids are remembered: the recovery window. Default 2 minutes.
    pub window: Duration,
    /// How long a node may be silent before it is dead and its presence entries go. They are gone after at most 1.35 times
    /// this. Default 20 seconds.
    pub lease: Duration,
    /// Channels that are heard by a subscription of their own, 7 KB of memory each; further ones are heard by groups, and
    /// what comes for other channels of a group is dropped on arrival. Default 16,384.
    pub max_subscriptions: usize,
    /// How long an operation may take before it fails as unavailable. Default 5 seconds.
    pub timeout: Duration,
}

/// Why an engine can never work as it is configured. A server that is merely away is no error: see
/// [`crate::NatsEngine::connect`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL or one of its options is wrong.
    #[error("invalid NATS url: {0}")]
    Invalid(String),
    /// A file that the URL names cannot be used.
    #[error("cannot use {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The server refused the user, the password, the token or the key.
    #[error("the NATS server refused the credentials: {0}")]
    Credentials(String),
    /// TLS cannot be agreed on: the certificate is not trusted, or one side wants TLS and the other has none.
    #[error("TLS with the NATS server failed: {0}")]
    Tls(String),
    /// JetStream is not enabled on the server, or not for this account.
    #[error("JetStream is not enabled on the NATS server, or not for this account")]
    NoJetStream,
    /// The server is older than 2.9.
    #[error("the NATS server is version {0}; 2.9 or newer is needed")]
    TooOld(String),
    /// A stream of our name is there and is not what this engine makes.
    #[error("stream {name} is not one of ours: {reason}")]
    ForeignStream {
        /// Its name.
        name: String,
        /// What is different.
        reason: String,
    },
}

impl NatsOptions {
    /// Options for these servers, everything else at its default.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            user: None,
            token: None,
            credentials: None,
            nkey: None,
            ca: None,
            client_certificate: None,
            require_tls: false,
            prefix: "starling".into(),
            replicas: 1,
            storage: Storage::default(),
            window: Duration::from_secs(120),
            lease: Duration::from_secs(20),
            max_subscriptions: 16_384,
            timeout: Duration::from_secs(5),
        }
    }

    /// Reads `nats://[user:password@]host[:4222][,host…][/][?option=value&…]`, or `tls://…`.
    ///
    /// Options are `creds`, `nkey`, `token`, `ca`, `cert` with `key`, `prefix`, `replicas`, `storage` (`file` or
    /// `memory`), `lease` and `timeout` (`5s`, `500ms`). User, password and values may be percent-encoded.
    ///
    /// # Errors
    /// [`ConnectError::Invalid`], with what is wrong. Passwords are not repeated in it.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let invalid = |reason: String| ConnectError::Invalid(reason);
        let (addresses, query) = url.split_once('?').unwrap_or((url, ""));
        let mut options = Self::new(Vec::<String>::new());
        let mut scheme = None;
        for address in addresses.split(',') {
            let (own_scheme, rest) = match address.split_once("://") {
                Some((scheme, rest)) => (Some(scheme), rest),
                None => (None, address),
            };
            scheme = own_scheme.or(scheme);
            match scheme {
                Some("nats") => {}
                Some("tls") => options.require_tls = true,
                Some(other) => return Err(invalid(format!("scheme {other}:// is neither nats:// nor tls://"))),
                None => return Err(invalid("it starts with neither nats:// nor tls://".into())),
            }
            let host = match rest.rsplit_once('@') {
                Some((login, host)) => {
                    let (user, password) = login.split_once(':').unwrap_or((login, ""));
                    match (user, password) {
                        (token, "") => options.token = Some(decoded(token)?),
                        _ => options.user = Some((decoded(user)?, decoded(password)?)),
                    }
                    host
                }
                None => rest,
            };
            let host = host.trim_end_matches('/');
            if host.is_empty() || host.contains(['/', ' ', '#']) {
                return Err(invalid(format!("{host:?} is no host")));
            }
            options.servers.push(format!("{}://{host}", scheme.unwrap_or("nats")));
        }
        let mut certificate = (None, None);
        for (name, value) in
            query.split('&').filter(|part| !part.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
        {
            let value = decoded(value)?;
            match name {
                "creds" => options.credentials = Some(value.into()),
                "nkey" => options.nkey = Some(value),
                "token" => options.token = Some(value),
                "ca" => options.ca = Some(value.into()),
                "cert" => certificate.0 = Some(PathBuf::from(value)),
                "key" => certificate.1 = Some(PathBuf::from(value)),
                "prefix" if is_word(&value) => options.prefix = value,
                "prefix" => return Err(invalid(format!("prefix {value:?} has other than letters, digits, - and _"))),
                "replicas" => {
                    let replicas = value.parse().ok().filter(|count| (1..=5).contains(count));
                    options.replicas = replicas.ok_or_else(|| invalid(format!("replicas is 1 to 5, not {value:?}")))?;
                }
                "storage" if value == "file" => options.storage = Storage::File,
                "storage" if value == "memory" => options.storage = Storage::Memory,
                "storage" => return Err(invalid(format!("storage is file or memory, not {value:?}"))),
                "lease" | "timeout" => {
                    let time = duration(&value).ok_or_else(|| invalid(format!("{name} {value:?} is no time")))?;
                    *if name == "lease" { &mut options.lease } else { &mut options.timeout } = time;
                }
                other => return Err(invalid(format!("unknown option {other:?}"))),
            }
        }
        options.client_certificate = match certificate {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(invalid("cert and key are given together".into())),
        };
        Ok(options)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().ok().filter(|count| *count > 0)?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        _ => None,
    }
}

fn decoded(text: &str) -> Result<String, ConnectError> {
    let invalid = || ConnectError::Invalid("a percent sign without two hexadecimal digits of UTF-8".into());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(invalid);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_logins_and_options() {
        let options = NatsOptions::parse(
            "nats://ann:p%40ss@a:4222,b:4223,tls://c/?prefix=x&replicas=3&storage=memory&creds=/k.creds&timeout=500ms",
        )
        .unwrap();
        assert_eq!(options.servers, ["nats://a:4222", "nats://b:4223", "tls://c"]);
        assert_eq!(options.user, Some(("ann".into(), "p@ss".into())));
        assert_eq!((options.prefix.as_str(), options.replicas, options.storage), ("x", 3, Storage::Memory));
        assert_eq!(options.credentials, Some("/k.creds".into()));
        assert_eq!((options.require_tls, options.timeout), (true, Duration::from_millis(500)));
        assert_eq!(NatsOptions::parse("nats://s3cret@a").unwrap().token, Some("s3cret".into()));
    }

    #[test]
    fn wrong_urls_are_named() {
        for (url, reason) in [
            ("redis://a", "redis://"),
            ("a:4222", "neither"),
            ("nats://", "no host"),
            ("nats://a?replicas=6", "replicas"),
            ("nats://a?prefix=a.b", "prefix"),
            ("nats://a?storage=disk", "storage"),
            ("nats://a?colour=red", "colour"),
            ("nats://a?cert=x", "together"),
            ("nats://%zz@a", "percent"),
            ("nats://a?timeout=0s", "timeout"),
        ] {
            let error = NatsOptions::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
