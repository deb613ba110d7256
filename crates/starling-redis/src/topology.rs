//! Which master has which channel: one server, the master that Sentinels name, or the masters of a Cluster.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use redis::{ConnectionInfo, ServerError, Value, cmd};
use tokio::sync::Notify;

use crate::address::{self, Address, at};
use crate::broker::Shared;
use crate::failure::Failure;
use crate::keys::{SLOTS, slot};
use crate::lane::Lane;
use crate::link::{self, LinkError};
use crate::options::RedisOptions;
use crate::sentinels::Sentinels;

/// Between two looks at a Cluster that is whole; and at one that is not.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where a lane finds its master.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// At one of these, the first that will do.
    Servers(Vec<ConnectionInfo>),
    /// Where these Sentinels say.
    Sentinels(Arc<Sentinels>),
    /// At this address.
    Master(Box<ConnectionInfo>),
}

impl Place {
    pub fn of(address: Address) -> Self {
        match address.sentinel_master {
            Some(master) => Self::Sentinels(Sentinels::new(address.servers, master)),
            None => Self::Servers(address.servers),
        }
    }

    /// What to try, in this order.
    pub async fn candidates(&self, options: &RedisOptions) -> Result<Vec<ConnectionInfo>, LinkError> {
        match self {
            Self::Servers(servers) => Ok(servers.clone()),
            Self::Master(server) => Ok(vec![*server.clone()]),
            Self::Sentinels(sentinels) => Ok(vec![sentinels.find(options).await?]),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Servers(servers) => {
                let names: Vec<String> = servers.iter().map(address::name).collect();
                f.write_str(&names.join(","))
            }
            Self::Sentinels(sentinels) => write!(f, "master {}", sentinels.master),
            Self::Master(server) => f.write_str(&address::name(server)),
        }
    }
}

/// See the module's documentation.
pub(crate) struct Topology {
    state: RwLock<State>,
    is_cluster: AtomicBool,
    look: Notify,
    /// Servers to ask when no lane can tell.
    seeds: Vec<ConnectionInfo>,
}

#[derive(Default)]
struct State {
    lanes: Vec<Arc<Lane>>,
    /// In a Cluster: for each slot, one more than the index of its lane; 0 where nobody serves it.
    slots: Vec<u16>,
}

/// The masters of a Cluster, each with the ranges of its slots.
type Masters = Vec<(String, u16, Vec<(u16, u16)>)>;

impl Topology {
    pub fn new(lane: Arc<Lane>, seeds: Vec<ConnectionInfo>) -> Self {
        Self {
            state: RwLock::new(State { lanes: vec![lane], slots: Vec::new() }),
            is_cluster: AtomicBool::new(false),
            look: Notify::new(),
            seeds,
        }
    }

    pub fn is_cluster(&self) -> bool {
        self.is_cluster.load(Ordering::Acquire)
    }

    /// The lane to the server that has a key.
    pub fn lane(&self, key: &str) -> Option<Arc<Lane>> {
        let state = self.state.read();
        if !self.is_cluster() {
            return state.lanes.first().cloned();
        }
        let index = *state.slots.get(usize::from(slot(key.as_bytes())))?;
        state.lanes.get(usize::from(index).checked_sub(1)?).cloned()
    }

    pub fn is_up(&self) -> bool {
        self.all(Lane::is_up)
    }

    /// Whether all masters take writes.
    pub fn takes_writes(&self) -> bool {
        self.state.read().lanes.iter().all(|lane| lane.writes.are_taken())
    }

    /// Counts what the log was spared.
    pub fn sweep_logs(&self) {
        self.state.read().lanes.iter().for_each(|lane| lane.writes.sweep());
    }

    /// Whether it is up, and nobody will be told so any more.
    pub fn is_settled(&self) -> bool {
        self.all(Lane::is_settled)
    }

    fn all(&self, is_so: impl Fn(&Lane) -> bool) -> bool {
        let state = self.state.read();
        let is_whole = !self.is_cluster() || (!state.slots.is_empty() && state.slots.iter().all(|lane| *lane > 0));
        is_whole && !state.lanes.is_empty() && state.lanes.iter().all(|lane| is_so(lane))
    }

    /// In a Cluster, pub/sub is sharded: `S` before the verb.
    pub fn verb(&self, verb: &str) -> String {
        if self.is_cluster() { format!("S{verb}") } else { verb.to_owned() }
    }

    /// The masters may have changed.
    pub fn look_again(&self) {
        self.look.notify_one();
    }

    pub fn stop(&self) {
        self.state.read().lanes.iter().for_each(|lane| lane.stop());
        self.look.notify_one();
    }

    /// The server turned out to be part of a Cluster: from now on its masters are watched.
    pub fn enter_cluster(&self, shared: &Arc<Shared>) {
        if self.is_cluster.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.state.write() = State::default();
        let shared = shared.clone();
        shared.handle.clone().spawn(async move {
            while !shared.is_closed() {
                let look_in = match shared.topology.look(&shared).await {
                    Ok(()) if shared.topology.is_up() => LOOK_EVERY,
                    Ok(()) => LOOK_AGAIN,
                    Err(error) => {
                        tracing::warn!(?error, "the Redis Cluster does not tell its masters");
                        LOOK_AGAIN
                    }
                };
                let _ = tokio::time::timeout(look_in, shared.topology.look.notified()).await;
                // However many ask for it at once.
                tokio::time::sleep(LOOK_AGAIN / 5).await;
            }
        });
    }

    /// The command was sent to a server that no longer has the key; the lane of the one that has it, if there is one.
    pub fn moved(&self, error: &ServerError) -> Option<Arc<Lane>> {
        self.look_again();
        let (_, address) = error.details()?.rsplit_once(' ')?;
        let state = self.state.read();
        state.lanes.iter().find(|lane| lane.place.to_string() == address).cloned()
    }

    async fn look(&self, shared: &Arc<Shared>) -> Result<(), LinkError> {
        let (masters, model) = self.ask_for_masters(shared).await?;
        let mut started = Vec::new();
        {
            let mut state = self.state.write();
            let mut lanes = Vec::new();
            let mut slots = vec![0; usize::from(SLOTS)];
            for (host, port, ranges) in masters {
                let place = Place::Master(Box::new(at(&model, &host, port)));
                let known = state.lanes.iter().find(|lane| lane.place.to_string() == place.to_string()).cloned();
                let lane = known.unwrap_or_else(|| {
                    let lane = Lane::new(place);
                    started.push(lane.clone());
                    lane
                });
                lanes.push(lane);
                for (first, last) in ranges {
                    slots[usize::from(first)..=usize::from(last)].fill(lanes.len() as u16);
                }
            }
            let kept: HashSet<u64> = lanes.iter().map(|lane| lane.id).collect();
            state.lanes.iter().filter(|lane| !kept.contains(&lane.id)).for_each(|lane| lane.stop());
            *state = State { lanes, slots };
        }
        for lane in started {
            shared.handle.spawn(lane.run(shared.clone(), None));
        }
        shared.rehome();
        Ok(())
    }

    /// Asks whoever answers first: the masters that are known, then the servers that were named.
    async fn ask_for_masters(&self, shared: &Shared) -> Result<(Masters, ConnectionInfo), LinkError> {
        let known: Vec<ConnectionInfo> = {
            let state = self.state.read();
            let master = |lane: &Arc<Lane>| match &lane.place {
                Place::Master(info) => Some(*info.clone()),
                _ => None,
            };
            state.lanes.iter().filter(|lane| lane.is_up()).chain(&state.lanes).filter_map(master).collect()
        };
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let mut last = LinkError::NotNow("no server is known".into());
        for server in known.iter().chain(&self.seeds) {
            match link::ask::<Value>(server, &shared.options, &question).await {
                Ok(answer) => match masters_of(&answer, server) {
                    Some(masters) if !masters.is_empty() => return Ok((masters, server.clone())),
                    _ => last = LinkError::NotNow("the Cluster has no masters".into()),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Reads the answer to `CLUSTER SLOTS`: `[[first, last, [host, port, …], replica…], …]`. A missing host is the host
/// that was asked.
fn masters_of(answer: &Value, asked: &ConnectionInfo) -> Option<Masters> {
    let Value::Array(ranges) = answer else { return None };
    let mut masters: Masters = Vec::new();
    for range in ranges {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        let (host, port) = match &master[..] {
            [Value::BulkString(host), Value::Int(port), ..] => {
                (String::from_utf8(host.clone()).ok()?, u16::try_from(*port).ok()?)
            }
            [Value::Nil, Value::Int(port), ..] => (String::new(), u16::try_from(*port).ok()?),
            _ => return None,
        };
        if first > last || last >= SLOTS {
            return None;
        }
        let host =
            if host.is_empty() || host == "?" { address::name(asked).rsplit_once(':')?.0.to_owned() } else { host };
        match masters.iter_mut().find(|(known, at, _)| *known == host && *at == port) {
            Some((_, _, ranges)) => ranges.push((first, last)),
            None => masters.push((host, port, vec![(first, last)])),
        }
    }
    Some(masters)
}

/// Sends a command again that a server did not take: with the scripts before it, or to the server that has the key.
pub(crate) fn again(
    topology: &Topology,
    key: &str,
    cmd: redis::Cmd,
    error: &ServerError,
) -> Option<tokio::sync::oneshot::Receiver<Result<Value, Failure>>> {
    if error.kind() == Some(redis::ServerErrorKind::Moved) {
        return Some(topology.moved(error)?.send(cmd));
    }
    let lane = topology.lane(key)?;
    for script in crate::script::all() {
        drop(lane.send(script.load()));
    }
    Some(lane.send(cmd))
}
