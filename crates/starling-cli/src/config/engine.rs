//! `[engine]`: what links the nodes of a cluster, chosen by the scheme of a URL.

use std::fmt;

use starling_nats::NatsOptions;
use starling_redis::RedisOptions;

use super::section::Section;

/// The engine that messages go through.
#[derive(Clone, PartialEq, Eq)]
pub enum EngineUrl {
    /// One node, nothing beside it.
    Memory,
    /// `redis://…`, `rediss://…` (TLS), or either with `+sentinel`.
    Redis(String),
    /// `nats://…`, or `tls://…`.
    Nats(String),
    /// `kafka://…`, or `kafkas://…` (TLS).
    Kafka(String),
}

/// The names of the engines that this build has.
const BUILT_IN: &[&str] =
    if cfg!(feature = "kafka") { &["memory", "redis", "nats", "kafka"] } else { &["memory", "redis", "nats"] };

impl EngineUrl {
    /// Parses the URL of an engine that this build has.
    ///
    /// # Errors
    ///
    /// A sentence naming the accepted URLs, or the engine that is not in this build.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").map(|(scheme, rest)| (scheme, !rest.is_empty()));
        let engine =
            match scheme {
                None if text == "memory" => Self::Memory,
                Some(("redis" | "rediss" | "redis+sentinel" | "rediss+sentinel", true)) => Self::Redis(text.into()),
                Some(("nats" | "tls", true)) => Self::Nats(text.into()),
                Some(("kafka" | "kafkas", true)) => Self::Kafka(text.into()),
                _ => return Err(
                    r#"expected "memory", or a URL redis://…, rediss://…, redis+sentinel://…, nats://… or kafka://…"#
                        .into(),
                ),
            };
        let name = engine.name();
        if !BUILT_IN.contains(&name) {
            return Err(format!("the engine {name:?} is not in this build, which has: {}", BUILT_IN.join(", ")));
        }
        engine.check()?;
        Ok(engine)
    }

    /// Whether the engine understands its URL, options included. Nothing is connected to.
    fn check(&self) -> Result<(), String> {
        let understood = match self {
            Self::Memory => Ok(()),
            Self::Redis(url) => RedisOptions::new(url.as_str()).check().map_err(|error| error.to_string()),
            Self::Nats(url) => NatsOptions::parse(url).map(drop).map_err(|error| error.to_string()),
            #[cfg(feature = "kafka")]
            Self::Kafka(url) => starling_kafka::KafkaOptions::parse(url).map(drop).map_err(|error| error.to_string()),
            #[cfg(not(feature = "kafka"))]
            Self::Kafka(_) => Ok(()),
        };
        understood.map_err(|error| self.hopeless(&error))
    }

    /// Says that the engine can never work, and why.
    pub fn hopeless(&self, why: &dyn fmt::Display) -> String {
        format!("the engine {} can never work like this: {why}", self.name())
    }

    /// The engine's name: `memory`, `redis`, `nats` or `kafka`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis(_) => "redis",
            Self::Nats(_) => "nats",
            Self::Kafka(_) => "kafka",
        }
    }

    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let engine = match section.node("url") {
            None => Ok(Self::Memory),
            Some(node) => Self::parse(&node.as_string().unwrap_or_default()),
        };
        let engine = engine.unwrap_or_else(|reason| {
            section.complain("url", reason);
            Self::Memory
        });
        section.finish();
        engine
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
