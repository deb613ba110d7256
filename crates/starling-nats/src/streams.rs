//! The streams: made when they are first needed, found again after the broker lost or restarted them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, LastRawMessageError, LastRawMessageErrorKind, Republish, StorageType,
    Stream,
};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::EngineError;

use crate::lease;
use crate::link::{Link, chain, unavailable};
use crate::names::LogGroup;
use crate::options::{NatsOptions, Storage};

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The logs of channels whose policies round up to this group.
    Log(LogGroup),
    /// Who is present, as a key-value bucket.
    Presence,
    /// Claims and notes, as a key-value bucket.
    Notes,
    /// Heartbeats of nodes, as a key-value bucket.
    Nodes,
    /// Message ids that publishers chose, with the answers they got.
    Recent,
}

/// A stream that was found or made.
pub(crate) struct Place {
    pub kind: Kind,
    pub stream: Stream<()>,
    /// What subjects in it begin with, without the last dot. For logs a new one each time the stream is made: what was
    /// meant for a stream that is lost finds nobody.
    pub root: String,
}

/// The streams that this node knows.
pub(crate) struct Streams {
    prefix: String,
    places: Mutex<HashMap<Kind, Arc<Place>>>,
}

/// One stored message.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub subject: String,
    pub seq: u64,
    pub payload: Bytes,
    /// When the server stored it, in Unix milliseconds.
    pub stored: u64,
}

/// Why something was not stored.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// Somebody else wrote the subject since it was read.
    Conflict,
    /// The stream is gone.
    Missing,
    /// Whether it was stored is not known.
    Failed(EngineError),
}

impl Streams {
    pub fn new(options: &NatsOptions) -> Self {
        Self { prefix: options.prefix.clone(), places: Mutex::default() }
    }

    /// Looks everything up again when it is next needed: the broker may have lost it.
    pub fn forget_all(&self) {
        self.places.lock().clear();
    }

    pub fn forget(&self, kind: Kind) {
        self.places.lock().remove(&kind);
    }

    fn name(&self, kind: Kind) -> String {
        let prefix = &self.prefix;
        match kind {
            Kind::Log(group) => format!("{prefix}_h_{}", group.token()),
            Kind::Presence => format!("KV_{prefix}_presence"),
            Kind::Notes => format!("KV_{prefix}_notes"),
            Kind::Nodes => format!("KV_{prefix}_nodes"),
            Kind::Recent => format!("{prefix}_recent"),
        }
    }

    /// What the stream's subjects begin with, up to where the generation of a log begins.
    fn base(&self, kind: Kind) -> String {
        let prefix = &self.prefix;
        match kind {
            Kind::Log(group) => format!("{prefix}.h.{}", group.token()),
            Kind::Recent => format!("{prefix}.recent"),
            _ => format!("$KV.{}", self.name(kind).trim_start_matches("KV_")),
        }
    }
}

impl Link {
    /// The stream, which is made if it is not there.
    pub async fn place(&self, kind: Kind) -> Result<Arc<Place>, EngineError> {
        self.ready()?;
        if let Some(place) = self.streams.places.lock().get(&kind) {
            return Ok(place.clone());
        }
        let place = Arc::new(self.find_or_make(kind).await?);
        self.streams.places.lock().insert(kind, place.clone());
        Ok(place)
    }

    async fn find_or_make(&self, kind: Kind) -> Result<Place, EngineError> {
        let name = self.streams.name(kind);
        // Several nodes may make it at once: then one of them does, and the others find it.
        for _ in 0..3 {
            match self.context.get_stream(&name).await {
                Ok(stream) => return self.recognise(kind, &stream.cached_info().config).await,
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                    _ => return Err(unavailable(chain(&error))),
                },
            }
            match self.context.create_stream(self.config(kind)).await {
                Ok(stream) => return self.recognise(kind, &stream.cached_info().config).await,
                Err(error) => match error.kind() {
                    CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
                    _ => return Err(unavailable(format_args!("stream {name} cannot be made: {}", chain(&error)))),
                },
            }
        }
        Err(unavailable(format_args!("stream {name} comes and goes")))
    }

    async fn recognise(&self, kind: Kind, found: &Config) -> Result<Place, EngineError> {
        let base = self.streams.base(kind);
        let root = match &found.subjects[..] {
            [only] => only.strip_suffix(".>").filter(|root| match kind {
                Kind::Log(_) => root.strip_prefix(&base).is_some_and(|rest| rest.starts_with('.')),
                _ => **root == *base,
            }),
            _ => None,
        };
        let is_republished = !matches!(kind, Kind::Log(_) | Kind::Presence) || found.republish.is_some();
        let Some(root) = root.filter(|_| is_republished) else {
            let reason = format!("a stream {} is there that this engine did not make", found.name);
            tracing::error!(reason, "NATS");
            return Err(unavailable(reason));
        };
        let stream = self.context.get_stream_no_info(&found.name).await.map_err(|e| unavailable(chain(&e)))?;
        Ok(Place { kind, stream, root: root.to_owned() })
    }

    fn config(&self, kind: Kind) -> Config {
        let base = self.streams.base(kind);
        let channels = format!("{}.ch.>", self.streams.prefix);
        let storage = match (kind, self.options.storage) {
            (Kind::Nodes, _) | (_, Storage::Memory) => StorageType::Memory,
            (_, Storage::File) => StorageType::File,
        };
        let republish = |source: String| Some(Republish { source, destination: channels.clone(), headers_only: false });
        let common = Config {
            name: self.streams.name(kind),
            subjects: vec![format!("{base}.>")],
            max_messages_per_subject: 1,
            max_messages: -1,
            max_bytes: -1,
            max_consumers: -1,
            max_message_size: -1,
            discard: DiscardPolicy::New,
            storage,
            num_replicas: self.options.replicas,
            allow_rollup: true,
            allow_direct: true,
            description: Some("Starling".into()),
            ..Config::default()
        };
        match kind {
            Kind::Log(group) => {
                let source = format!("{base}.{}.>", random_word());
                Config {
                    subjects: vec![source.clone()],
                    republish: republish(source),
                    // One more than messages are wanted: a mark without messages may stand among them.
                    max_messages_per_subject: group.size as i64 + 1,
                    max_age: group.max_age(),
                    ..common
                }
            }
            Kind::Presence => Config { republish: republish(format!("{base}.c.>")), ..common },
            Kind::Notes => common,
            Kind::Nodes => Config { max_age: lease::patience(&self.options), ..common },
            Kind::Recent => Config { max_age: self.options.window.max(Duration::from_secs(1)), ..common },
        }
    }

    /// Stores, if the latest message of the subject is the one with sequence `expected` (0: if there is none). With
    /// `alone` it takes the place of all earlier ones.
    ///
    /// Everything that only one of several nodes may do is decided here: see [`Link::is_check_racy`].
    pub async fn store(
        &self,
        subject: String,
        payload: Bytes,
        expected: Option<u64>,
        alone: bool,
    ) -> Result<u64, StoreError> {
        self.ready().map_err(StoreError::Failed)?;
        let mut message = PublishMessage::build().payload(payload);
        if let Some(expected) = expected {
            message = message.expected_last_subject_sequence(expected);
            // Two that expect the same message expect one sequence, which no other subject has, so they have one id.
            // Where nothing is expected, the servers check when they store; and a subject may be empty more than once.
            if expected > 0 && self.is_check_racy() {
                message = message.message_id(expected.to_string());
            }
        }
        if alone {
            message = message.header(async_nats::header::NATS_ROLLUP, "sub");
        }
        let sent = self.context.send_publish(subject, message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            // Acknowledged is the one of another writer, who expected the same.
            Ok(stored) if stored.duplicate => Err(StoreError::Conflict),
            Ok(stored) => Ok(stored.sequence),
            Err(error) => Err(match error.kind() {
                PublishErrorKind::WrongLastSequence => StoreError::Conflict,
                PublishErrorKind::StreamNotFound => StoreError::Missing,
                _ => StoreError::Failed(unavailable(chain(&error))),
            }),
        }
    }

    /// Whether the servers may take two messages that expect the same one before them.
    ///
    /// Before 2.9.21 the leader of a replicated stream compares with what it has stored, not with what is on its way to
    /// the other servers, and nobody compares again. Repeated message ids, however, are looked for by every server when
    /// it stores, in the one order that all agree on: what is stored second is not stored.
    ///
    /// All of 2.9 counts, because only the version of the server that this node is connected to is known, and another one
    /// leads the stream. Later versions look for ids before they compare, and may keep one of a message that came to
    /// nothing.
    fn is_check_racy(&self) -> bool {
        self.client.server_info().cluster.is_some() && !self.client.is_server_compatible(2, 10, 0)
    }

    /// The latest message of a subject, as the stream's leader knows it.
    pub async fn latest(&self, place: &Place, subject: &str) -> Result<Option<Entry>, EngineError> {
        self.found(place, self.asking(|| place.stream.get_last_raw_message_by_subject(subject)).await)
    }

    /// The first message of a subject at or after a sequence. Any replica may answer; one that lags and finds nothing is
    /// not believed.
    pub async fn next(&self, place: &Place, subject: &str, seq: u64) -> Result<Option<Entry>, EngineError> {
        let seq = seq.max(1);
        match self.asking(|| place.stream.direct_get_next_for_subject(subject, Some(seq))).await {
            Ok(message) => return Ok(Some(message.into())),
            Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => {}
            Err(error) => {
                self.streams.forget(place.kind);
                return Err(unavailable(chain(&error)));
            }
        }
        let ask = || place.stream.raw_message_builder().sequence(seq).next_by_subject(subject).send();
        self.found(place, self.asking(ask).await)
    }

    /// Asks up to four times while there is no answer, and takes the first: what a server was asked dies with it, and so
    /// does the consumer that it was given to make. Only for reading.
    async fn asking<A: Future>(&self, ask: impl Fn() -> A) -> A::Output {
        let mut asked = FuturesUnordered::from_iter([ask()]);
        for _ in 0..3 {
            if let Ok(Some(answer)) = tokio::time::timeout(self.options.timeout / 4, asked.next()).await {
                return answer;
            }
            asked.push(ask());
        }
        asked.next().await.expect("none was taken out")
    }

    fn found(
        &self,
        place: &Place,
        found: Result<StreamMessage, LastRawMessageError>,
    ) -> Result<Option<Entry>, EngineError> {
        match found {
            Ok(message) => Ok(Some(message.into())),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                    Ok(None)
                }
                _ => {
                    self.streams.forget(place.kind);
                    Err(unavailable(chain(&error)))
                }
            },
        }
    }

    /// Subjects of a stream that match `filter`.
    pub async fn subjects(&self, place: &Place, filter: &str) -> Result<Vec<String>, EngineError> {
        let found = place.stream.info_with_subjects(filter).await.map_err(|error| {
            self.streams.forget(place.kind);
            unavailable(chain(&error))
        })?;
        found.map(|subject| subject.map(|(subject, _)| subject)).try_collect().await.map_err(unavailable)
    }

    /// The groups of which a stream exists.
    pub async fn log_groups(&self) -> Result<Vec<LogGroup>, EngineError> {
        let prefix = format!("{}_h_", self.options.prefix);
        let names: Vec<String> = self.context.stream_names().try_collect().await.map_err(unavailable)?;
        Ok(names.iter().filter_map(|name| LogGroup::parse(name.strip_prefix(&prefix)?)).collect())
    }

    /// Messages whose subjects match `filter`, from a sequence on, `limit` at most; and whether there are more.
    pub async fn read(
        &self,
        place: &Place,
        filter: String,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<Entry>, bool), EngineError> {
        self.asking(|| self.read_by_consumer(place, filter.clone(), from, limit)).await
    }

    async fn read_by_consumer(
        &self,
        place: &Place,
        filter: String,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<Entry>, bool), EngineError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            inactive_threshold: Duration::from_secs(10),
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = place.stream.create_consumer(config).await.map_err(|error| {
            self.streams.forget(place.kind);
            unavailable(chain(&error))
        })?;
        let pending = consumer.cached_info().num_pending;
        let wanted = (pending as usize).min(limit);
        let mut entries = Vec::with_capacity(wanted);
        while entries.len() < wanted {
            let before = entries.len();
            let fetch = consumer.fetch().max_messages((wanted - before).min(FETCH));
            let mut fetched = fetch.messages().await.map_err(|error| unavailable(chain(&error)))?;
            while let Some(message) = fetched.next().await {
                let message = message.map_err(unavailable)?;
                let info = message.info().map_err(unavailable)?;
                let (seq, stored) = (info.stream_sequence, millis(info.published));
                let subject = message.subject.to_string();
                entries.push(Entry { subject, seq, payload: message.payload.clone(), stored });
            }
            // What was counted was overwritten or has expired meanwhile.
            if entries.len() == before {
                break;
            }
        }
        let name = consumer.cached_info().name.clone();
        let stream = place.stream.clone();
        tokio::spawn(async move { stream.delete_consumer(&name).await });
        Ok((entries, pending as usize > limit))
    }
}

/// Messages asked for at once.
const FETCH: usize = 1000;

impl From<StreamMessage> for Entry {
    fn from(message: StreamMessage) -> Self {
        let stored = millis(message.time);
        Self { subject: message.subject.to_string(), seq: message.sequence, payload: message.payload, stored }
    }
}

fn millis(time: async_nats::datetime::DateTime) -> u64 {
    (time.unix_timestamp_nanos() / 1_000_000) as u64
}

/// Twelve hexadecimal digits.
pub(crate) fn random_word() -> String {
    let mut random = [0; 6];
    getrandom::fill(&mut random).expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
