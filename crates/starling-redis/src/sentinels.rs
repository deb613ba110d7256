//! Sentinels: which server is the master of a name, and that it is another one now.
//!
//! Each of them is asked regularly, and announces a change by itself. They need not agree: one that was cut off names
//! an old master. Believed is whoever has seen the latest failover, which has the highest configuration epoch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, ProtocolVersion, PushInfo, PushKind, Value, cmd, pipe};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::address::{as_sentinel, at, name};
use crate::broker::Shared;
use crate::lane::Lane;
use crate::link::{self, LinkError};
use crate::options::{ConnectError, RedisOptions};

/// Between two questions to one Sentinel; at least, when there is a reason to ask at once; and between two attempts to
/// reach it.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(100);
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long the others are waited for when one has answered.
const OTHERS: Duration = Duration::from_millis(200);

/// How long what a Sentinel said counts after it was last heard.
const KEEP: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Sentinels {
    servers: Vec<ConnectionInfo>,
    pub master: String,
    /// What each of them said last.
    words: Mutex<Vec<Option<Word>>>,
    /// One for each: it is to be asked now.
    asks: Vec<Notify>,
}

/// What a Sentinel says.
#[derive(Debug, Clone)]
struct Word {
    /// How often the master has changed, as far as it knows.
    epoch: u64,
    host: String,
    port: u16,
    heard: Instant,
}

impl Sentinels {
    pub fn new(servers: Vec<ConnectionInfo>, master: String) -> Arc<Self> {
        let words = Mutex::new(vec![None; servers.len()]);
        let asks = servers.iter().map(|_| Notify::new()).collect();
        Arc::new(Self { servers, master, words, asks })
    }

    /// There is a reason to think that the master changed.
    pub fn ask_now(&self) {
        self.asks.iter().for_each(Notify::notify_one);
    }

    /// Asks all of them now, and says what is believed.
    pub async fn find(self: &Arc<Self>, options: &RedisOptions) -> Result<ConnectionInfo, LinkError> {
        let mut asking = JoinSet::new();
        for (index, server) in self.servers.iter().enumerate() {
            let place = as_sentinel(server, options.sentinel_password.as_deref());
            let (options, sentinels) = (options.clone(), self.clone());
            asking.spawn(async move {
                let mut connection = link::connect(&place, &options, link::config(&options)).await?;
                let word = ask(&mut connection, &sentinels.master, &place).await?;
                Ok::<_, LinkError>((index, word))
            });
        }
        let mut is_answered = false;
        let mut failed: Option<LinkError> = None;
        loop {
            let done = match is_answered {
                false => asking.join_next().await,
                true => tokio::time::timeout(OTHERS, asking.join_next()).await.unwrap_or(None),
            };
            match done {
                None => break,
                Some(Ok(Ok((index, word)))) => {
                    is_answered |= word.is_some();
                    self.note(index, word);
                }
                // What can never work at one of them may work at another.
                Some(Ok(Err(error))) => {
                    if !matches!((&failed, &error), (Some(LinkError::NotNow(_)), LinkError::Never(_))) {
                        failed = Some(error);
                    }
                }
                Some(Err(_)) => {}
            }
        }
        if !is_answered {
            let unknown = LinkError::NotNow(format!("no Sentinel knows {:?}", self.master));
            return Err(failed.unwrap_or(unknown));
        }
        let believed = self.believed().ok_or_else(|| LinkError::NotNow("the Sentinels say nothing".into()))?;
        Ok(at(&self.servers[0], &believed.host, believed.port))
    }

    fn note(&self, index: usize, word: Option<Word>) {
        if let Some(word) = word {
            self.words.lock()[index] = Some(word);
        }
    }

    /// The word of the highest epoch; of several, what most of them say.
    fn believed(&self) -> Option<Word> {
        let words = self.words.lock();
        let heard: Vec<&Word> = words.iter().flatten().filter(|word| word.heard.elapsed() < KEEP).collect();
        let agreeing =
            |word: &Word| heard.iter().filter(|other| (&other.host, other.port) == (&word.host, word.port)).count();
        heard.iter().rev().max_by_key(|word| (word.epoch, agreeing(word))).map(|word| (*word).clone())
    }

    /// Watches all of them until the engine is closed: when they name another master than the one that the lane is
    /// connected to, the lane changes over.
    pub fn watch(self: &Arc<Self>, shared: &Arc<Shared>, lane: &Arc<Lane>) {
        for index in 0..self.servers.len() {
            let (sentinels, shared, lane) = (self.clone(), shared.clone(), lane.clone());
            tokio::spawn(async move {
                let mut is_missed = false;
                while !shared.is_closed() {
                    let watched = sentinels.watch_one(&shared, &lane, index, &mut is_missed).await;
                    if let Err(error) = watched
                        && !std::mem::replace(&mut is_missed, true)
                    {
                        let sentinel = name(&sentinels.servers[index]);
                        tracing::warn!(%sentinel, ?error, "a Sentinel does not answer; the others are believed");
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            });
        }
    }

    async fn watch_one(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        lane: &Arc<Lane>,
        index: usize,
        is_missed: &mut bool,
    ) -> Result<(), LinkError> {
        let options = &shared.options;
        let place = as_sentinel(&self.servers[index], options.sentinel_password.as_deref());
        let settings = place.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let place = place.set_redis_settings(settings);
        let announced = Arc::downgrade(self);
        let config = link::config(options).set_push_sender(move |info: PushInfo| -> Result<(), ()> {
            // Whatever it says of which master: they are asked.
            if let (PushKind::Message, Some(sentinels)) = (info.kind, announced.upgrade()) {
                sentinels.ask_now();
            }
            Ok(())
        });
        let mut connection = link::connect(&place, options, config).await?;
        let mut follow = cmd("SUBSCRIBE");
        follow.arg("+switch-master");
        // One that does not permit it is only asked.
        let _ = connection.send_packed_command(&follow).await;
        while !shared.is_closed() {
            let before = self.believed();
            let word = ask(&mut connection, &self.master, &place).await?;
            self.note(index, word);
            if std::mem::take(is_missed) {
                tracing::info!(sentinel = %name(&self.servers[index]), "a Sentinel answers again");
            }
            if let Some(believed) = self.believed() {
                let is_new = before.is_none_or(|word| (&word.host, word.port) != (&believed.host, believed.port));
                lane.follow(&name(&at(&self.servers[0], &believed.host, believed.port)), is_new);
            }
            tokio::time::sleep(ASK_AGAIN).await;
            let _ = tokio::time::timeout(ASK_EVERY, self.asks[index].notified()).await;
        }
        Ok(())
    }
}

/// What one Sentinel says; nothing if it does not know the name.
async fn ask(
    connection: &mut MultiplexedConnection,
    master: &str,
    sentinel: &ConnectionInfo,
) -> Result<Option<Word>, LinkError> {
    let mut questions = pipe();
    // The address changes as soon as a replica was promoted; what `MASTER` says of it, only when all follow it.
    questions.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
    questions.cmd("SENTINEL").arg("MASTER").arg(master);
    let answers = connection.send_packed_commands(&questions, 0, 2).await.map_err(link::of_setup)?;
    let [address, about] = &answers[..] else { return Err(LinkError::NotNow("a Sentinel answers too little".into())) };
    let (host, port) = match address {
        Value::Nil => return Ok(None),
        Value::ServerError(error) => {
            let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
            return Err(match text.contains("unknown command") {
                true => LinkError::Never(ConnectError::NotRedis(format!(
                    "{} is no Sentinel: use redis:// for a server",
                    name(sentinel)
                ))),
                false => link::of_setup(error.clone().into()),
            });
        }
        address => redis::from_redis_value::<(String, u16)>(address.clone())
            .map_err(|error| LinkError::NotNow(error.to_string()))?,
    };
    // One that does not permit the question counts less than the others.
    let epoch = field(about, "config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    Ok(Some(Word { epoch, host, port, heard: Instant::now() }))
}

/// One field of the answer to `SENTINEL MASTER`: a map, or a list of names and values.
fn field(about: &Value, wanted: &str) -> Option<String> {
    let text = |value: &Value| redis::from_redis_value::<String>(value.clone()).ok();
    match about {
        Value::Map(pairs) => {
            pairs.iter().find(|(name, _)| text(name).as_deref() == Some(wanted)).and_then(|(_, value)| text(value))
        }
        Value::Array(parts) => {
            parts.chunks_exact(2).find(|pair| text(&pair[0]).as_deref() == Some(wanted)).and_then(|pair| text(&pair[1]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn the_latest_failover_is_believed() {
        let server = "redis://127.0.0.1:1".into_connection_info().unwrap();
        let sentinels = Sentinels::new(vec![server.clone(), server.clone(), server], "main".into());
        let says = |index, epoch, port| {
            let word = Word { epoch, host: "h".into(), port, heard: Instant::now() };
            sentinels.note(index, Some(word));
            sentinels.believed().map(|word| word.port)
        };
        assert!(sentinels.believed().is_none());
        assert_eq!(says(0, 0, 1), Some(1));
        assert_eq!(says(1, 1, 2), Some(2), "it knows of a failover");
        assert_eq!(says(2, 0, 1), Some(2), "however many do not");
        assert_eq!(says(0, 1, 3), Some(3), "of the same epoch, the first");
        assert_eq!(says(2, 1, 2), Some(2), "of the same epoch, what most of them say");
    }
}
