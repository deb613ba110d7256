//! What all parts of the engine share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use redis::{Cmd, Value};
use starling_core::{EngineError, NodeId, Sink};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::address::Address;
use crate::asking::Asking;
use crate::failure::Failure;
use crate::flood::Flood;
use crate::interest::Interest;
use crate::keys::Keys;
use crate::lane::Lane;
use crate::link::{self, LinkError};
use crate::options::{ConnectError, RedisOptions};
use crate::presence::OwnPresence;
use crate::topology::{Place, Topology};
use crate::{nodes, script};

/// One node's engine, shared by its tasks.
pub(crate) struct Shared {
    pub options: RedisOptions,
    pub keys: Keys,
    pub node: NodeId,
    pub control_topic: String,
    pub node_topic: String,
    pub handle: Handle,
    pub topology: Topology,
    pub interest: Interest,
    pub asking: Asking,
    pub presence: OwnPresence,
    /// Messages that are not ours.
    pub unreadable: Flood,
    /// Answers that tell of data that is not ours.
    foreign: Flood,
    sink: OnceLock<Arc<dyn Sink>>,
    is_closed: AtomicBool,
}

/// An answer on its way, and how to get it if it was not taken at once.
pub(crate) struct Answer {
    shared: Arc<Shared>,
    key: String,
    receiver: oneshot::Receiver<Result<Value, Failure>>,
}

impl Shared {
    /// Connects, or begins to try. Must be called on a tokio runtime, on which everything then runs.
    pub async fn start(options: RedisOptions) -> Result<Arc<Self>, ConnectError> {
        let address = check(&options)?;
        let node = new_node();
        let keys = Keys::new(&options.prefix);
        let lane = Lane::new(Place::of(address.clone()));
        let shared = Arc::new(Self {
            control_topic: keys.control_topic(),
            node_topic: keys.node_topic(&node),
            handle: Handle::current(),
            topology: Topology::new(lane.clone(), address.servers),
            interest: Interest::new(options.unsubscribe_lag),
            asking: Asking::default(),
            presence: OwnPresence::new(&node),
            unreadable: Flood::default(),
            foreign: Flood::default(),
            sink: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            keys,
            node,
            options,
        });
        let link = match lane.link(&shared).await {
            Ok(link) => Some(link),
            Err(LinkError::Never(error)) => return Err(error),
            Err(LinkError::NotNow(error)) => {
                tracing::warn!(server = %lane.place, %error, "redis cannot be reached; trying on");
                None
            }
        };
        let is_linked = link.is_some();
        if let Place::Sentinels(sentinels) = &lane.place {
            sentinels.watch(&shared, &lane);
        }
        tokio::spawn(lane.run(shared.clone(), link));
        tokio::spawn(nodes::beat(shared.clone()));
        tokio::spawn(nodes::sweep(shared.clone()));
        if is_linked {
            shared.wait_until_up().await;
        }
        Ok(shared)
    }

    /// The first link still has to subscribe, and in a Cluster all masters have to be found.
    async fn wait_until_up(&self) {
        let patience = self.options.response_timeout;
        let up = async {
            while !self.topology.is_settled() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(patience, up).await.is_err() {
            tracing::warn!("redis answers, and is not ready yet; trying on");
        }
    }

    pub fn is_up(&self) -> bool {
        self.topology.is_up() && self.topology.takes_writes()
    }

    /// Whoever asked is told why it failed.
    pub fn told(&self, key: &str, failure: Failure) -> EngineError {
        if let Some(error) = failure.foreign_data()
            && self.foreign.admits()
        {
            tracing::error!(%key, %error, "foreign data under our keys in Redis");
        }
        failure.into()
    }

    /// Writes down how often what is written only once has happened.
    pub fn sweep_logs(&self) {
        if let Some(count) = self.unreadable.due() {
            tracing::warn!(count, "more messages in Redis were not readable, and are left out");
        }
        if let Some(count) = self.foreign.due() {
            tracing::error!(count, "foreign data under our keys in Redis was met again");
        }
        self.topology.sweep_logs();
    }

    pub fn attach(&self, sink: Arc<dyn Sink>) {
        let _ = self.sink.set(sink);
    }

    pub fn sink(&self) -> Option<&Arc<dyn Sink>> {
        self.sink.get()
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.topology.stop();
    }

    /// A lane is up, again or for the first time: what may have been missed is to be read again.
    pub fn came_up(&self) {
        if let Some(sink) = self.sink() {
            sink.resync();
        }
    }

    /// Topics moved to other masters: what is published there meanwhile may be missed.
    pub fn rehome(self: &Arc<Self>) {
        let moved = self.interest.rehome(|topic| self.topology.lane(topic));
        if moved.is_empty() {
            return;
        }
        let shared = self.clone();
        self.handle.spawn(async move {
            for topic in moved {
                let _ = topic.await;
            }
            if let Some(sink) = shared.sink() {
                sink.resync();
            }
        });
    }

    /// What a lane has to be subscribed to.
    pub fn topics_of(&self, lane: &Lane) -> Vec<String> {
        let is_of = |topic: &str| self.topology.lane(topic).is_some_and(|of| of.id == lane.id);
        let mut topics = self.interest.topics_of(lane.id, is_of);
        let fixed = [&self.control_topic, &self.node_topic];
        topics.extend(fixed.into_iter().filter(|topic| is_of(topic)).cloned());
        topics
    }

    /// Sends a command to the server that has `key`, at once.
    pub fn send(self: &Arc<Self>, key: impl Into<String>, cmd: Cmd) -> Answer {
        let key = key.into();
        let receiver = match self.topology.lane(&key) {
            Some(lane) => lane.send(cmd),
            None => {
                let (answer, receiver) = oneshot::channel();
                let _ = answer.send(Err(Failure::unavailable("no redis server has this slot")));
                receiver
            }
        };
        Answer { shared: self.clone(), key, receiver }
    }

    /// Proves that logs are still those that this node knows: a message that was heard is where it was. Where it is
    /// not, the server has lost it, with all that came after it; a new epoch says so.
    pub async fn prove(self: &Arc<Self>, topics: &[String]) -> Result<(), ()> {
        for topics in topics.chunks(256) {
            let questions: Vec<_> = topics
                .iter()
                .filter_map(|topic| {
                    let heard = self.interest.last_heard(topic)?;
                    let log = [format!("{topic}:log"), format!("{topic}:stream")];
                    let mut witness = script::WITNESS.run(&log);
                    witness.arg(heard.offset);
                    Some((topic, log, heard, self.send(topic, witness)))
                })
                .collect();
            for (topic, log, heard, answer) in questions {
                let answer = match answer.wait().await {
                    Ok(answer) => answer,
                    Err(Failure::Unavailable(_)) => return Err(()),
                    // Foreign data: whoever uses the channel is told.
                    Err(_) => continue,
                };
                if is_proven(&answer, &heard) {
                    continue;
                }
                tracing::warn!(%topic, "redis lost messages of a log: it starts a new epoch");
                let mut clear = script::CLEAR.run(&log);
                clear.arg(new_epoch()).arg("").arg("").arg(heard.epoch.as_str());
                self.send(topic, clear).wait().await.map_err(drop)?;
            }
        }
        Ok(())
    }
}

/// Whether what a log has at a place is what was heard. Another epoch tells everybody by itself.
fn is_proven(answer: &Value, heard: &crate::interest::Heard) -> bool {
    let Value::Array(parts) = answer else { return true };
    let [Value::BulkString(epoch), Value::BulkString(top), Value::BulkString(body)] = &parts[..] else { return true };
    if epoch != heard.epoch.as_str().as_bytes() {
        return true;
    }
    let top = std::str::from_utf8(top).ok().and_then(|top| top.parse::<u64>().ok()).unwrap_or(0);
    if body.is_empty() {
        // Not there: lost if the log ends before it, and otherwise forgotten in its time.
        return top >= heard.offset;
    }
    let (app, channel) = (starling_core::AppId::from(""), starling_core::ChannelName::of_user(&"x".into()));
    crate::wire::decode_body(&app, &channel, None, body.clone().into()).is_ok_and(|message| message.id == heard.id)
}

impl Answer {
    /// Waits for it; what a server did not take goes to the right one, or with the scripts before it.
    pub async fn wait(mut self) -> Result<Value, Failure> {
        self.outcome().await
    }

    async fn outcome(&mut self) -> Result<Value, Failure> {
        for _ in 0..3 {
            let outcome =
                (&mut self.receiver).await.unwrap_or_else(|_| Err(Failure::unavailable("redis was given up")));
            let (cmd, error) = match outcome {
                Err(Failure::Again(cmd, error)) => (cmd, error),
                outcome => return outcome,
            };
            match crate::topology::again(&self.shared.topology, &self.key, *cmd, &error) {
                Some(receiver) => self.receiver = receiver,
                None => return Err(Failure::Refused(error)),
            }
        }
        Err(Failure::unavailable("redis sends the command from one server to the next"))
    }

    /// As [`Answer::wait`], for the engine's callers.
    pub async fn value(mut self) -> Result<Value, EngineError> {
        let outcome = self.outcome().await;
        outcome.map_err(|failure| self.shared.told(&self.key, failure))
    }
}

pub(crate) fn check(options: &RedisOptions) -> Result<Address, ConnectError> {
    if options.prefix.contains(['{', '}']) {
        return Err(ConnectError::Invalid(format!("the prefix {:?} has braces", options.prefix)));
    }
    if options.lease < std::time::Duration::from_millis(300) {
        return Err(ConnectError::Invalid("a lease has at least 300 ms".into()));
    }
    let address = Address::parse(&options.url)?;
    address.servers.iter().try_for_each(|server| link::client(server, options).map(drop))?;
    Ok(address)
}

/// A word that nobody else has.
fn word<const BYTES: usize>() -> String {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn new_node() -> NodeId {
    NodeId::new(word::<5>())
}

/// An epoch for a log that begins.
pub(crate) fn new_epoch() -> String {
    word::<6>()
}
