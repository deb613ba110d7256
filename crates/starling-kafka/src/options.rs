//! Where the broker is and how it is used, from a URL; and why connecting can never work.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// How a user proves to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// The password as it is: only over TLS.
    #[default]
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Its SASL name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How to reach a Kafka cluster, and what to keep there.
///
/// All nodes of one cluster need the same `prefix`, `partitions`, `retention`, `window` and `lease`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KafkaOptions {
    /// Brokers, as `host:9092`; the others of their cluster are found.
    pub brokers: Vec<String>,
    /// Whether connections are made with TLS. `kafkas://` sets it.
    pub tls: bool,
    /// User and password (SASL).
    pub user: Option<(String, String)>,
    /// How the user logs in. Default `PLAIN`.
    pub mechanism: Mechanism,
    /// A PEM file with the certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of this node's certificate and its key, where the brokers ask for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// What the names of topics begin with. Letters, digits, `-`, `_` and `.`. Default `starling`.
    pub prefix: String,
    /// Partitions that channels are spread over, 1 to 1000. It cannot be changed later. Default 16.
    pub partitions: i32,
    /// Brokers that keep each record. Default: the broker's own `default.replication.factor`.
    pub replicas: Option<i32>,
    /// How long logs are kept at most, whatever the channel's own `ttl`; at least ten minutes. A log without messages for
    /// as long is forgotten. A node reads all that is kept when it starts. Default 24 hours.
    pub retention: Duration,
    /// How long a record waits for others to travel with. Default 1 millisecond.
    pub linger: Duration,
    /// How long publishers' message ids are remembered: the recovery window. Default 2 minutes.
    pub window: Duration,
    /// How long a node may be silent before it is dead and its presence entries go. They are gone after at most 1.4 times
    /// this. Default 20 seconds.
    pub lease: Duration,
    /// Bytes of recent messages that are kept in memory for readers of logs; what is older is read from Kafka. Default
    /// 64 MiB.
    pub cache: usize,
    /// How long an operation may take before it fails as unavailable. Default 5 seconds.
    pub timeout: Duration,
}

/// Why an engine can never work as it is configured. A broker that is merely away is no error: see
/// [`crate::KafkaEngine::connect`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL or one of its options is wrong.
    #[error("invalid Kafka url: {0}")]
    Invalid(String),
    /// A file that the URL names cannot be used.
    #[error("cannot use {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The broker refused user and password, or the mechanism.
    #[error("Kafka refused the login: {0}")]
    Credentials(String),
    /// TLS cannot be agreed on: the certificate is not trusted, or one side wants TLS and the other has none.
    #[error("TLS with Kafka failed: {0}")]
    Tls(String),
    /// The user may not do what the engine has to.
    #[error("Kafka does not allow it: {0}")]
    Forbidden(String),
    /// The broker is older than 1.0, or does not speak what the engine needs.
    #[error("the Kafka broker is too old (1.0 or newer is needed): {0}")]
    TooOld(String),
    /// The broker does not make the topics that are asked for.
    #[error("Kafka refused to make the topics: {0}")]
    Refused(String),
    /// A topic has another number of partitions.
    #[error(
        "topic {topic} has {found} partitions, not {wanted}: set partitions={found}, or another prefix; it cannot change"
    )]
    Partitions {
        /// Its name.
        topic: String,
        /// What it has.
        found: usize,
        /// What was asked for.
        wanted: usize,
    },
    /// A topic of our name is there and would lose what the engine keeps in it.
    #[error("topic {topic} is not one of ours: {reason}")]
    ForeignTopic {
        /// Its name.
        topic: String,
        /// What is different.
        reason: String,
    },
}

/// What logs may be kept for at least: they must outlive the recovery window.
const MIN_RETENTION: Duration = Duration::from_secs(600);

impl KafkaOptions {
    /// Options for these brokers, everything else at its default.
    pub fn new(brokers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            brokers: brokers.into_iter().map(Into::into).collect(),
            tls: false,
            user: None,
            mechanism: Mechanism::default(),
            ca: None,
            client_certificate: None,
            prefix: "starling".into(),
            partitions: 16,
            replicas: None,
            retention: Duration::from_secs(24 * 3600),
            linger: Duration::from_millis(1),
            window: Duration::from_secs(120),
            lease: Duration::from_secs(20),
            cache: 64 << 20,
            timeout: Duration::from_secs(5),
        }
    }

    /// Reads `kafka://[user:password@]host[:9092][,host…][/][?option=value&…]`, or `kafkas://…` for TLS.
    ///
    /// Options are `mechanism` (`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`), `ca`, `cert` with `key`, `prefix`,
    /// `partitions`, `replicas`, `retention` (`30m`, `24h`, `7d`), `linger`, `lease`, `timeout` (`5s`, `500ms`) and `cache`
    /// (`64MiB`). User, password and values may be percent-encoded.
    ///
    /// # Errors
    /// [`ConnectError::Invalid`], with what is wrong. Passwords are not repeated in it.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let invalid = |reason: String| ConnectError::Invalid(reason);
        let (addresses, query) = url.split_once('?').unwrap_or((url, ""));
        let mut options = Self::new(Vec::<String>::new());
        let rest = match addresses.split_once("://") {
            Some(("kafka", rest)) => rest,
            Some(("kafkas", rest)) => {
                options.tls = true;
                rest
            }
            Some((other, _)) => return Err(invalid(format!("scheme {other}:// is neither kafka:// nor kafkas://"))),
            None => return Err(invalid("it starts with neither kafka:// nor kafkas://".into())),
        };
        let hosts = match rest.rsplit_once('@') {
            Some((login, hosts)) => {
                let (user, password) =
                    login.split_once(':').ok_or_else(|| invalid("a user comes with a password".into()))?;
                options.user = Some((decoded(user)?, decoded(password)?));
                hosts
            }
            None => rest,
        };
        for host in hosts.trim_end_matches('/').split(',') {
            if host.is_empty() || host.contains(['/', ' ', '#']) {
                return Err(invalid(format!("{host:?} is no host")));
            }
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            if has_port && host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(invalid(format!("{host:?} has no valid port")));
            }
            options.brokers.push(if has_port { host.into() } else { format!("{host}:9092") });
        }
        let mut certificate = (None, None);
        let parts = query.split('&').filter(|part| !part.is_empty());
        for (name, value) in parts.map(|part| part.split_once('=').unwrap_or((part, ""))) {
            let value = decoded(value)?;
            match name {
                "ca" => options.ca = Some(value.into()),
                "cert" => certificate.0 = Some(PathBuf::from(value)),
                "key" => certificate.1 = Some(PathBuf::from(value)),
                _ => options.set(name, value)?,
            }
        }
        options.client_certificate = match certificate {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(invalid("cert and key are given together".into())),
        };
        if !options.tls && (options.ca.is_some() || options.client_certificate.is_some()) {
            return Err(invalid("ca, cert and key are for kafkas://".into()));
        }
        if options.user.is_none() && query.contains("mechanism=") {
            return Err(invalid("mechanism is for a user with a password".into()));
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ConnectError> {
        let invalid = |reason: String| Err(ConnectError::Invalid(reason));
        let time = || duration(&value).ok_or_else(|| ConnectError::Invalid(format!("{name} {value:?} is no time")));
        match name {
            "mechanism" => {
                let known = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];
                match known.into_iter().find(|known| known.name() == value) {
                    Some(mechanism) => self.mechanism = mechanism,
                    None => {
                        return invalid(format!("mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, not {value:?}"));
                    }
                }
            }
            "prefix" if is_word(&value) => self.prefix = value,
            "prefix" => {
                return invalid(format!("prefix {value:?} has other than 1 to 200 letters, digits, '-', '_' and '.'"));
            }
            "partitions" => match value.parse() {
                Ok(count @ 1..=1000) => self.partitions = count,
                _ => return invalid(format!("partitions is 1 to 1000, not {value:?}")),
            },
            "replicas" => match value.parse() {
                Ok(count @ 1..=15) => self.replicas = Some(count),
                _ => return invalid(format!("replicas is 1 to 15, not {value:?}")),
            },
            "retention" => {
                self.retention = time()?;
                if self.retention < MIN_RETENTION {
                    return invalid(format!("retention is at least 10m, not {value:?}"));
                }
            }
            "linger" if value == "0" => self.linger = Duration::ZERO,
            "linger" => self.linger = time()?,
            "lease" => self.lease = time()?,
            "timeout" => self.timeout = time()?,
            "cache" => match size(&value) {
                Some(bytes) => self.cache = bytes,
                None => return invalid(format!("cache {value:?} is no size")),
            },
            other => return invalid(format!("unknown option {other:?}")),
        }
        Ok(())
    }

    /// How long a log may be without a message before it is forgotten. What Kafka still keeps is younger than
    /// `retention`; a node that starts must find the ids of the last window, and a minute is for clocks.
    pub(crate) fn forget(&self) -> Duration {
        self.retention.saturating_sub(self.window + Duration::from_secs(60)).max(Duration::from_secs(60))
    }

    /// How often a node shows that it is alive.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.lease / 6
    }
}

fn is_word(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    Some((digits.parse().ok().filter(|count| *count > 0)?, &text[digits.len()..]))
}

fn duration(text: &str) -> Option<Duration> {
    let (count, unit) = number_and_unit(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

fn size(text: &str) -> Option<usize> {
    let (count, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(bytes)?.try_into().ok()
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
    fn a_url_names_brokers_logins_and_options() {
        let options = KafkaOptions::parse(
            "kafkas://ann:p%40s:s@a,b:9093,[::1]/?mechanism=SCRAM-SHA-512&prefix=x.y&partitions=64&replicas=3&ca=/c.pem\
             &retention=7d&linger=5ms&lease=30s&timeout=500ms&cache=1GiB",
        )
        .unwrap();
        assert_eq!(options.brokers, ["a:9092", "b:9093", "[::1]:9092"]);
        assert_eq!(options.user, Some(("ann".into(), "p@s:s".into())));
        assert_eq!((options.tls, options.mechanism), (true, Mechanism::ScramSha512));
        assert_eq!((options.prefix.as_str(), options.partitions, options.replicas), ("x.y", 64, Some(3)));
        assert_eq!((options.retention.as_secs(), options.lease.as_secs()), (7 * 86_400, 30));
        assert_eq!((options.linger.as_millis(), options.timeout.as_millis(), options.cache), (5, 500, 1 << 30));
    }

    #[test]
    fn wrong_urls_are_named() {
        for (url, reason) in [
            ("nats://a", "nats://"),
            ("a:9092", "neither"),
            ("kafka://", "no host"),
            ("kafka://a:port", "port"),
            ("kafka://ann@a", "password"),
            ("kafka://a?partitions=0", "partitions"),
            ("kafka://a?replicas=x", "replicas"),
            ("kafka://a?prefix=a/b", "prefix"),
            ("kafka://a?retention=5m", "retention"),
            ("kafka://a?cache=5", "cache"),
            ("kafka://u:p@a?mechanism=GSSAPI", "mechanism"),
            ("kafka://a?mechanism=PLAIN", "mechanism"),
            ("kafka://a?ca=/x", "kafkas"),
            ("kafkas://a?cert=x", "together"),
            ("kafka://a?colour=red", "colour"),
            ("kafka://%zz:p@a", "percent"),
            ("kafka://a?timeout=0s", "timeout"),
        ] {
            let error = KafkaOptions::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
