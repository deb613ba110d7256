//! The topics: made where they are missing, checked where they are not.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::{self, Consumer, Context};
use crate::names::Topic;
use crate::options::{ConnectError, KafkaOptions};

/// How long messages without history, and what nodes tell each other, stay in Kafka: as long as a node may be away and
/// still hear all of it.
const PASSING: Duration = Duration::from_secs(600);

/// Why there is no way to work yet.
pub(crate) enum Obstacle {
    /// It will never be otherwise.
    Hopeless(ConnectError),
    /// It may pass.
    Passing(String),
}

impl From<ConnectError> for Obstacle {
    fn from(error: ConnectError) -> Self {
        Self::Hopeless(error)
    }
}

impl From<KafkaError> for Obstacle {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed),
            ) => Self::Hopeless(ConnectError::Forbidden(code.to_string())),
            Some(code @ (RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature)) => {
                Self::Hopeless(ConnectError::TooOld(code.to_string()))
            }
            _ => Self::Passing(error.to_string()),
        }
    }
}

/// Sees to it that every topic is still there.
pub(crate) fn ensure_again(options: &KafkaOptions, context: &Context, consumer: &Consumer) -> Result<(), Obstacle> {
    let metadata = consumer.fetch_metadata(None, options.timeout)?;
    let is_there = |topic: Topic| {
        let name = topic.name(&options.prefix);
        metadata.topics().iter().any(|found| found.name() == name && !found.partitions().is_empty())
    };
    if Topic::ALL.into_iter().all(is_there) { Ok(()) } else { ensure(options, context, consumer) }
}

/// Sees to it that every topic is there and is as it must be.
pub(crate) fn ensure(options: &KafkaOptions, context: &Context, consumer: &Consumer) -> Result<(), Obstacle> {
    let metadata = consumer.fetch_metadata(None, options.timeout)?;
    let present: HashSet<String> = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
    let admin = AdminClient::from_config_and_context(&client::admin(options), context.clone())?;
    let settings = AdminOptions::new().operation_timeout(Some(options.timeout)).request_timeout(Some(options.timeout));
    let missing: Vec<Topic> =
        Topic::ALL.into_iter().filter(|topic| !present.contains(&topic.name(&options.prefix))).collect();
    let specified: Vec<Specified> = missing.into_iter().map(|topic| Specified::new(topic, options)).collect();
    if !specified.is_empty() {
        let topics: Vec<NewTopic<'_>> = specified.iter().map(Specified::new_topic).collect();
        for result in wait(admin.create_topics(&topics, &settings))? {
            match result {
                Ok(topic) => tracing::info!(topic, "Kafka: a topic is made"),
                // Another node was quicker.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(refused(&topic, code)),
            }
        }
    }
    for topic in Topic::ALL {
        check_partitions(options, consumer, topic)?;
    }
    let names: Vec<String> = Topic::ALL.iter().map(|topic| topic.name(&options.prefix)).collect();
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    for (topic, described) in Topic::ALL.into_iter().zip(wait(admin.describe_configs(&resources, &settings))?) {
        match described {
            Ok(resource) => check_configuration(options, topic, &resource)?,
            // Who may not ask about it is trusted to have made it well.
            Err(code) => tracing::debug!(%code, ?topic, "Kafka: the configuration of a topic is not known"),
        }
    }
    Ok(())
}

/// What a topic is made with.
struct Specified {
    name: String,
    partitions: i32,
    replicas: i32,
    settings: Vec<(&'static str, String)>,
}

impl Specified {
    fn new(topic: Topic, options: &KafkaOptions) -> Self {
        // The broker's clock is one for all writers.
        let mut settings = vec![("message.timestamp.type", "LogAppendTime".to_owned())];
        let mut kept_for = |time: Duration| {
            settings.push(("cleanup.policy", "delete".into()));
            settings.push(("retention.ms", time.as_millis().to_string()));
            settings.push(("retention.bytes", "-1".into()));
            // Only whole segments are deleted: several in the time that they are kept.
            settings.push(("segment.ms", (time / 8).max(Duration::from_secs(60)).as_millis().to_string()));
        };
        match topic {
            Topic::Log => kept_for(options.retention),
            Topic::Live => kept_for(PASSING.max(options.window * 2)),
            Topic::Nodes => kept_for(PASSING.max(options.lease * 2)),
            Topic::Presence | Topic::Notes => {
                settings.push(("cleanup.policy", "compact".into()));
                settings.push(("segment.ms", "600000".into()));
                settings.push(("min.cleanable.dirty.ratio", "0.2".into()));
            }
        }
        Self {
            name: topic.name(&options.prefix),
            partitions: topic.partitions(options),
            replicas: options.replicas.unwrap_or(-1),
            settings,
        }
    }

    fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(self.replicas));
        self.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    }
}

fn refused(topic: &str, code: RDKafkaErrorCode) -> Obstacle {
    let why = format!("{topic}: {code}");
    Obstacle::Hopeless(match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            ConnectError::Forbidden(format!("to make the topic {why}"))
        }
        RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature => ConnectError::TooOld(why),
        RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::InvalidPartitions => ConnectError::Refused(why),
        // Fewer brokers than `replicas` may be up for a moment, as all others are passing.
        _ => return Obstacle::Passing(why),
    })
}

fn check_partitions(options: &KafkaOptions, consumer: &Consumer, topic: Topic) -> Result<(), Obstacle> {
    let name = topic.name(&options.prefix);
    let metadata = consumer.fetch_metadata(Some(&name), options.timeout)?;
    let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if found == 0 {
        return Err(Obstacle::Passing(format!("the topic {name} is not there yet")));
    }
    let wanted = topic.partitions(options) as usize;
    if found == wanted { Ok(()) } else { Err(ConnectError::Partitions { topic: name, found, wanted }.into()) }
}

fn check_configuration(options: &KafkaOptions, topic: Topic, found: &ConfigResource) -> Result<(), ConnectError> {
    let foreign = |reason: String| Err(ConnectError::ForeignTopic { topic: topic.name(&options.prefix), reason });
    let value = |name: &str| found.get(name).and_then(|entry| entry.value.as_deref());
    let policy = value("cleanup.policy").unwrap_or_default();
    match (topic.is_compacted(), policy) {
        (true, "compact") | (false, "delete") | (_, "") => {}
        (true, _) => return foreign(format!("its cleanup.policy is {policy}, not compact")),
        (false, _) => return foreign(format!("its cleanup.policy is {policy}, not delete")),
    }
    let kept = value("retention.ms").and_then(|value| value.parse::<i64>().ok());
    let wanted = options.retention.as_millis() as i64;
    if let (Topic::Log, Some(kept)) = (topic, kept)
        && (0..wanted).contains(&kept)
    {
        let reason = format!("its retention.ms is {kept}, less than the {wanted} of `retention`");
        return foreign(reason);
    }
    if !topic.is_compacted() && value("retention.bytes").is_some_and(|bytes| bytes != "-1") {
        tracing::warn!(?topic, "Kafka: a topic is cut by retention.bytes: logs may end before their time");
    }
    Ok(())
}

/// Waits for an answer of the admin client, on a thread that has nothing else to do.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
