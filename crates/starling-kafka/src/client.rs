//! The client library: how it is configured, and what it tells by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};
use starling_core::EngineError;
use tokio::sync::Notify;

use crate::options::{ConnectError, KafkaOptions};
use crate::writer::Waiters;

pub(crate) type Consumer = BaseConsumer<Context>;
pub(crate) type Producer = ThreadedProducer<Context>;

/// What is known of the connection.
#[derive(Default)]
pub(crate) struct Signals {
    /// Whether this node has read what there was when it started.
    pub ready: AtomicBool,
    /// Whether the last thing heard of the brokers is a record of this node's own that came back.
    pub healthy: AtomicBool,
    /// Whether the consumer lost its place in a partition.
    pub misplaced: AtomicBool,
    /// Counts the moments at which there was reason for doubt.
    doubts: AtomicU64,
    /// What the library last said of a connection.
    reason: Mutex<String>,
    /// Why it can never work, as far as one attempt to connect has shown.
    hopeless: Mutex<Option<ConnectError>>,
    /// Something changed: whoever looks after the connection should look.
    pub changed: Notify,
}

impl Signals {
    pub fn is_up(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.healthy.load(Ordering::Acquire)
    }

    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// A record came back that was written when there had been so many doubts; says whether that is news.
    pub fn trust(&self, doubts: u64) -> bool {
        self.doubts() == doubts && !self.healthy.swap(true, Ordering::AcqRel)
    }

    /// The brokers are away, or seem to be.
    pub fn doubt(&self, why: &str) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
        if self.healthy.swap(false, Ordering::AcqRel) {
            // What is there when they are back may not be what was there. Once: looking takes time, in which nothing is
            // read, and more would seem to be amiss.
            self.misplaced.store(true, Ordering::Release);
            tracing::warn!(why, "Kafka is down");
        }
        self.changed.notify_one();
    }

    pub fn take_hopeless(&self) -> Option<ConnectError> {
        self.hopeless.lock().take()
    }

    pub fn last_reason(&self) -> String {
        self.reason.lock().clone()
    }

    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.reason.lock() = reason.into();
        }
        let hopeless = match code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism => ConnectError::Credentials(reason.into()),
            RDKafkaErrorCode::SSL => ConnectError::Tls(reason.into()),
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion => {
                ConnectError::TooOld(reason.into())
            }
            RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed => {
                ConnectError::Forbidden(reason.into())
            }
            RDKafkaErrorCode::AllBrokersDown => {
                self.misplaced.store(true, Ordering::Release);
                return self.doubt("no broker can be reached");
            }
            _ => return,
        };
        *self.hopeless.lock() = Some(hopeless);
        self.changed.notify_one();
    }
}

/// Listens to one client of the library.
#[derive(Clone)]
pub(crate) struct Context {
    pub signals: Arc<Signals>,
    pub waiters: Arc<Waiters>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, topic: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(topic, "Kafka client: {text}");
            }
            // Each lost connection is an error to the library. What matters of it is said once, by us.
            _ => tracing::debug!(topic, "Kafka client: {text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka client");
        if let Some(code) = error.rdkafka_error_code() {
            self.signals.note(code, reason);
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    /// Names a waiter.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, seq: usize) {
        // That it was stored is not enough for an answer: where it stands is known when it has come back.
        if let Err((error, _)) = result {
            self.waiters.fail(seq as u64, not_taken(error));
        }
    }
}

/// Why a record was not stored.
pub(crate) fn not_taken(error: &KafkaError) -> EngineError {
    match error.rdkafka_error_code() {
        // The client's `message.max.bytes`, the topic's `max.message.bytes`.
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => EngineError::TooLarge(error.to_string()),
        _ => unavailable(format_args!("Kafka did not take it: {error}")),
    }
}

pub(crate) fn unavailable(reason: impl std::fmt::Display) -> EngineError {
    EngineError::Unavailable(reason.to_string())
}

/// What all clients have in common.
fn common(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    let protocol = match (options.tls, options.user.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config
        .set("client.id", "starling")
        .set("bootstrap.servers", options.brokers.join(","))
        .set("security.protocol", protocol)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", millis(options.timeout.max(Duration::from_secs(2))))
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    if let Some((user, password)) = &options.user {
        config.set("sasl.mechanism", options.mechanism.name());
        config.set("sasl.username", user).set("sasl.password", password);
    }
    if let Some(ca) = &options.ca {
        config.set("ssl.ca.location", ca.to_string_lossy());
    }
    if let Some((certificate, key)) = &options.client_certificate {
        config.set("ssl.certificate.location", certificate.to_string_lossy());
        config.set("ssl.key.location", key.to_string_lossy());
    }
    config
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// A client that asks for what is not a record.
pub(crate) fn admin(options: &KafkaOptions) -> ClientConfig {
    common(options)
}

/// A client that reads. It belongs to no group: what it reads, and from where, is said to it.
pub(crate) fn consumer(options: &KafkaOptions, context: Context) -> KafkaResult<Consumer> {
    let mut config = common(options);
    config
        // The library wants a name to hand out records; nothing is kept under it.
        .set("group.id", &options.prefix)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where a place is lost is for this crate to find out, not to be skipped.
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "16384");
    Consumer::from_config_and_context(&config, context)
}

/// A client that writes. Each record is stored once, in the order of the calls, on as many brokers as the topic asks for.
pub(crate) fn producer(options: &KafkaOptions, context: Context) -> KafkaResult<Producer> {
    let mut config = common(options);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", millis(options.linger))
        .set("message.timeout.ms", millis(options.timeout))
        .set("request.timeout.ms", millis(options.timeout))
        .set("retry.backoff.ms", "20")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536");
    Producer::from_config_and_context(&config, context)
}
