//! The engines that this build has, chosen by URL. A new one is one line here and one in `config/engine.rs`.

use std::sync::Arc;
use std::time::Duration;

use starling::core::Engine;
#[cfg(feature = "kafka")]
use starling_kafka::{KafkaEngine, KafkaOptions};
use starling_nats::{NatsEngine, NatsOptions};
use starling_redis::{RedisEngine, RedisOptions};

use crate::config::EngineUrl;

/// Connects to the configured engine; `None`: the memory engine, which the server brings itself. `window`: how long
/// publishers' message ids are remembered.
///
/// A broker that cannot be reached now is no error: the engine goes on trying, and `/readyz` says 503 meanwhile.
///
/// # Errors
/// When it can never work, in a sentence with the engine's name.
pub async fn connect(url: &EngineUrl, window: Duration) -> Result<Option<Arc<dyn Engine>>, String> {
    let name = url.name();
    let hopeless = |error: &dyn std::fmt::Display| url.hopeless(error);
    let engine: Arc<dyn Engine> = match url {
        EngineUrl::Memory => return Ok(None),
        EngineUrl::Redis(url) => {
            let mut options = RedisOptions::new(url.as_str());
            options.window = window;
            RedisEngine::connect(options).await.map_err(|error| hopeless(&error))?
        }
        EngineUrl::Nats(url) => {
            let mut options = NatsOptions::parse(url).map_err(|error| hopeless(&error))?;
            options.window = window;
            NatsEngine::connect(options).await.map_err(|error| hopeless(&error))?
        }
        #[cfg(feature = "kafka")]
        EngineUrl::Kafka(url) => {
            let mut options = KafkaOptions::parse(url).map_err(|error| hopeless(&error))?;
            options.window = window;
            KafkaEngine::connect(options).await.map_err(|error| hopeless(&error))?
        }
        #[cfg(not(feature = "kafka"))]
        EngineUrl::Kafka(_) => return Err(format!("the engine {name} is not in this build")),
    };
    if !engine.is_up() {
        tracing::warn!(engine = name, "the broker cannot be used now: publishes are refused until it can");
    }
    Ok(Some(engine))
}
