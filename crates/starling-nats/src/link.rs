//! The connection: whether it is there, and what is known to have passed through it.
//!
//! The client buffers while it is disconnected, so its `Ok` means nothing. Two things do: the acknowledgement of
//! JetStream, and an *echo*: a message to ourselves, sent after others on the same connection. The server handles one
//! connection's bytes in order, so when the echo is back, it has everything before it.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use bytes::Bytes;
use futures_util::StreamExt;
use starling_core::{EngineError, NodeId};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::options::{ConnectError, NatsOptions};
use crate::streams::Streams;

/// The connection of one node.
pub(crate) struct Link {
    pub client: Client,
    pub context: Context,
    pub node: NodeId,
    pub options: NatsOptions,
    pub streams: Streams,
    pub signals: Arc<Signals>,
    /// Whether the last heartbeat was stored: JetStream takes writes.
    pub healthy: AtomicBool,
    asked: AtomicU64,
    echoed: watch::Receiver<u64>,
    listener: AbortHandle,
}

/// A subscription holds on to the client.
impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// What the client tells.
#[derive(Default)]
pub(crate) struct Signals {
    /// How often a connection was made.
    pub connections: AtomicU64,
    /// Whether the client dropped messages because a task of ours was too slow.
    pub dropped: AtomicBool,
    pub changed: Notify,
}

/// Connects, or leaves it to the client to connect later; says which. Errors are those that waiting does not heal.
pub(crate) async fn connect(options: NatsOptions, node: NodeId) -> Result<(Link, bool), ConnectError> {
    let signals = Arc::<Signals>::default();
    let first = client_options(&options, &signals).await?;
    let (client, connected) = match first.connect(&options.servers).await {
        Ok(client) => (client, true),
        Err(error) => match error.kind() {
            ConnectErrorKind::ServerParse => return Err(ConnectError::Invalid(chain(&error))),
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                return Err(ConnectError::Credentials(chain(&error)));
            }
            ConnectErrorKind::Tls => return Err(ConnectError::Tls(chain(&error))),
            _ => {
                tracing::warn!(error = chain(&error), "NATS cannot be reached; trying again");
                let later = client_options(&options, &signals).await?.retry_on_initial_connect();
                let client = later.connect(&options.servers).await;
                (client.map_err(|error| ConnectError::Invalid(chain(&error)))?, false)
            }
        },
    };
    let context = jetstream::ContextBuilder::new()
        .timeout(options.timeout)
        .ack_timeout(options.timeout)
        .max_ack_inflight(10_000)
        .backpressure_on_inflight(true)
        .build(client.clone());
    let echo = echo_subject(&options.prefix, &node);
    let subscribed = client.subscribe(echo).await.map_err(|error| ConnectError::Invalid(chain(&error)))?;
    let (sender, echoed) = watch::channel(0);
    let listener = tokio::spawn(listen_for_echoes(subscribed, sender)).abort_handle();
    let streams = Streams::new(&options);
    let (asked, healthy) = (AtomicU64::new(0), AtomicBool::new(false));
    let link = Link { client, context, node, options, streams, signals, healthy, asked, echoed, listener };
    if connected {
        link.check_server().await?;
    }
    Ok((link, connected))
}

async fn client_options(options: &NatsOptions, signals: &Arc<Signals>) -> Result<ConnectOptions, ConnectError> {
    let signals = signals.clone();
    let mut client = ConnectOptions::new()
        .name("starling")
        .connection_timeout(options.timeout)
        .request_timeout(Some(options.timeout))
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 << attempts.min(5)) as u64))
        .require_tls(options.require_tls)
        .event_callback(move |event| {
            signals.note(&event);
            async {}
        });
    if let Some((user, password)) = &options.user {
        client = client.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &options.token {
        client = client.token(token.clone());
    }
    if let Some(seed) = &options.nkey {
        client = client.nkey(seed.clone());
    }
    if let Some(path) = &options.credentials {
        let unusable = |error: std::io::Error| ConnectError::File { path: path.clone(), reason: error.to_string() };
        client = client.credentials_file(path).await.map_err(unusable)?;
    }
    let files = options.client_certificate.iter().flat_map(|(cert, key)| [cert, key]).chain(&options.ca);
    for path in files {
        let unusable = |error: std::io::Error| ConnectError::File { path: path.clone(), reason: error.to_string() };
        std::fs::metadata(path).map_err(unusable)?;
    }
    if let Some(ca) = &options.ca {
        client = client.add_root_certificates(ca.clone());
    }
    if let Some((cert, key)) = &options.client_certificate {
        client = client.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(client)
}

fn echo_subject(prefix: &str, node: &NodeId) -> String {
    format!("{prefix}.echo.{node}")
}

/// Ends with the client.
async fn listen_for_echoes(mut echoes: async_nats::Subscriber, sender: watch::Sender<u64>) {
    while let Some(echo) = echoes.next().await {
        let count: Option<u64> = std::str::from_utf8(&echo.payload).ok().and_then(|text| text.parse().ok());
        if let Some(count) = count {
            sender.send_if_modified(|latest| {
                let is_newer = count > *latest;
                *latest = count.max(*latest);
                is_newer
            });
        }
    }
}

impl Signals {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => _ = self.connections.fetch_add(1, Ordering::AcqRel),
            Event::SlowConsumer(_) => self.dropped.store(true, Ordering::Release),
            Event::Disconnected => tracing::warn!("the connection to NATS is lost"),
            Event::ServerError(error) => tracing::warn!(%error, "NATS"),
            Event::ClientError(error) => tracing::warn!(%error, "NATS client"),
            Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
        self.changed.notify_one();
    }
}

impl Link {
    /// Whether the server is one that this engine can work with.
    pub async fn check_server(&self) -> Result<(), ConnectError> {
        if !self.client.is_server_compatible(2, 9, 0) {
            return Err(ConnectError::TooOld(self.client.server_info().version));
        }
        use async_nats::jetstream::ErrorCode;
        use async_nats::jetstream::context::AccountErrorKind;
        match self.context.query_account().await {
            Err(error) => match error.kind() {
                AccountErrorKind::JetStreamUnavailable => Err(ConnectError::NoJetStream),
                AccountErrorKind::JetStream(error)
                    if matches!(
                        error.error_code(),
                        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
                    ) =>
                {
                    Err(ConnectError::NoJetStream)
                }
                // A cluster without a leader yet: that passes.
                _ => Ok(()),
            },
            Ok(_) => Ok(()),
        }
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub fn is_up(&self) -> bool {
        self.is_connected() && self.healthy.load(Ordering::Acquire)
    }

    /// Refuses at once what would only wait in the client's buffer.
    pub fn ready(&self) -> Result<(), EngineError> {
        if self.is_connected() { Ok(()) } else { Err(unavailable("there is no connection to NATS")) }
    }

    /// Gives `operation` the time that an operation may take.
    pub async fn within<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.ready()?;
        match tokio::time::timeout(self.options.timeout, operation).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(format_args!("NATS did not answer in time: {what}"))),
        }
    }

    pub async fn send(&self, subject: String, payload: Bytes) -> Result<(), EngineError> {
        self.client.publish(subject, payload).await.map_err(unavailable)
    }

    /// Does `sending`, and waits until the server has handled what was sent.
    pub async fn confirmed<T>(&self, sending: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        let statistics = self.client.statistics();
        let connects = statistics.connects.load(Ordering::Acquire);
        let sent = sending.await?;
        self.echo().await?;
        // What went out on a connection that was lost may be lost with it, whatever came back on the next one.
        if statistics.connects.load(Ordering::Acquire) != connects {
            return Err(unavailable("the connection to NATS was lost meanwhile"));
        }
        Ok(sent)
    }

    async fn echo(&self) -> Result<(), EngineError> {
        // Whoever drew a later number had sent after this task had: any later echo tells of what this task sent.
        let count = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut echoed = self.echoed.clone();
        self.send(echo_subject(&self.options.prefix, &self.node), count.to_string().into()).await?;
        let result = echoed.wait_for(|latest| *latest >= count).await;
        result.map(|_| ()).map_err(|_| unavailable("the client is closed"))
    }
}

pub(crate) fn unavailable(reason: impl Display) -> EngineError {
    EngineError::Unavailable(reason.to_string())
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
