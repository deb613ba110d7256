//! Publishing: one task per channel that has something to publish, as long as it has.
//!
//! What waits for a channel is written as one record: one message of the broker, whatever the number of messages in
//! it. That makes up for the one write that a log has under way at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use starling_core::{EngineError, Epoch, HistoryPolicy, Message, MessageId, Pending, Position, Publication, Published};
use tokio::sync::oneshot;

use crate::history::HeadRead;
use crate::link::unavailable;
use crate::names::{Key, LogGroup};
use crate::recent::Reservation;
use crate::shared::Shared;
use crate::streams::{Kind, Place, StoreError, random_word};
use crate::wire::{Record, Wire};

/// Messages in one record, at most.
const MAX_RECORD: usize = 128;

/// Bytes of payload in one record of several messages, at most.
const MAX_RECORD_BYTES: usize = 128 << 10;

/// Publishes that wait for one channel, at most; past that they fail.
const MAX_WAITING: usize = 10_000;

/// Heads of logs that are remembered, at most; past that all are forgotten, and read again when they are needed.
const MAX_HEADS: usize = 200_000;

/// What waits to be published, and where the logs end.
#[derive(Default)]
pub(crate) struct Logs {
    /// A channel has an entry while its task runs.
    queues: Mutex<HashMap<Key, VecDeque<Job>>>,
    /// What is believed; the broker refuses what was written in a wrong belief.
    heads: Mutex<HashMap<Key, Head>>,
}

struct Job {
    publication: Publication,
    since: Instant,
    answer: oneshot::Sender<Result<Published, EngineError>>,
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    /// In which making of which stream.
    pub root: String,
    pub epoch: Epoch,
    pub offset: u64,
    /// The sequence of the last record; 0: there is none.
    pub seq: u64,
    pub latest: u64,
    /// Messages written since the stream was last relieved of what the size of the log does not cover.
    pub untrimmed: u64,
}

impl Head {
    /// A log that begins.
    pub fn fresh(place: &Place) -> Self {
        let epoch = Epoch::new(random_word());
        Self { root: place.root.clone(), epoch, offset: 0, seq: 0, latest: 0, untrimmed: 0 }
    }
}

impl Logs {
    pub fn head(&self, key: &Key, place: &Place) -> Option<Head> {
        self.heads.lock().get(key).filter(|head| head.root == place.root).cloned()
    }

    pub fn learn(&self, key: &Key, head: Head) {
        let mut heads = self.heads.lock();
        if heads.len() >= MAX_HEADS {
            heads.clear();
        }
        heads.insert(key.clone(), head);
    }

    /// Another node's record came by.
    pub fn follow(&self, key: &Key, seq: u64, record: &Record) {
        let mut heads = self.heads.lock();
        if let (Some(head), Some(epoch)) = (heads.get_mut(key), &record.epoch)
            && seq > head.seq
            && *epoch == head.epoch
        {
            (head.seq, head.offset, head.latest) = (seq, record.end(), record.latest);
        }
    }

    pub fn unlearn(&self, key: &Key) {
        self.heads.lock().remove(key);
    }
}

impl Shared {
    /// Queues a message. The order of calls is the order in the channel.
    pub fn publish(self: &Arc<Self>, publication: Publication) -> Pending<Result<Published, EngineError>> {
        if let Err(error) = self.link.ready() {
            return Pending::Ready(Err(error));
        }
        let key = Key::new(&publication.message.app, &publication.message.channel);
        let (answer, answered) = oneshot::channel();
        let job = Job { publication, since: Instant::now(), answer };
        let mut queues = self.logs.queues.lock();
        match queues.get_mut(&key) {
            Some(queue) if queue.len() >= MAX_WAITING => {
                return Pending::Ready(Err(unavailable("too many messages wait to be published in this channel")));
            }
            Some(queue) => queue.push_back(job),
            None => {
                queues.insert(key.clone(), VecDeque::from([job]));
                self.runtime.spawn(self.clone().write_all(key));
            }
        }
        drop(queues);
        Pending::later(async move { answered.await.unwrap_or_else(|_| Err(unavailable("the engine is gone"))) })
    }

    async fn write_all(self: Arc<Self>, key: Key) {
        while let Some(jobs) = self.take_jobs(&key) {
            let (jobs, late): (Vec<_>, Vec<_>) =
                jobs.into_iter().partition(|job| job.since.elapsed() < self.link.options.timeout);
            late.into_iter().for_each(|job| job.fail(&unavailable("NATS is too slow")));
            if !jobs.is_empty() {
                self.write(&key, jobs).await;
            }
        }
    }

    /// What can be written as one record; `None` ends the channel's task.
    fn take_jobs(&self, key: &Key) -> Option<Vec<Job>> {
        let mut queues = self.logs.queues.lock();
        let queue = queues.get_mut(key)?;
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.front() {
            let history = next.publication.history.map(LogGroup::of);
            let is_other =
                jobs.first().is_some_and(|first: &Job| first.publication.history.map(LogGroup::of) != history);
            bytes += next.publication.message.payload.len();
            if !jobs.is_empty() && (is_other || jobs.len() >= MAX_RECORD || bytes > MAX_RECORD_BYTES) {
                break;
            }
            jobs.extend(queue.pop_front());
        }
        if jobs.is_empty() {
            queues.remove(key);
            return None;
        }
        Some(jobs)
    }

    async fn write(self: &Arc<Self>, key: &Key, jobs: Vec<Job>) {
        let Reserved { fresh, repeats } = self.reserve(key, jobs).await;
        let messages: Vec<Message> = fresh.iter().map(|(job, _)| job.publication.message.clone()).collect();
        let mut outcomes: HashMap<MessageId, Result<Published, EngineError>> = HashMap::new();
        if let Some((first, _)) = fresh.first() {
            let written = match first.publication.history {
                Some(policy) => self.append(key, policy, messages).await.map(Some),
                None => self.pass_on(key, messages).await.map(|()| None),
            };
            let mut settled = Vec::new();
            for (index, (job, reservation)) in fresh.into_iter().enumerate() {
                let position = |head: &Position| Position { offset: head.offset + index as u64, ..head.clone() };
                let id = job.publication.message.id.clone();
                let result = written.as_ref().map_err(Clone::clone);
                let result = result.map(|first| Published { id: id.clone(), position: first.as_ref().map(position) });
                outcomes.insert(id, result.clone());
                settled.push(self.settle(key, job, reservation, result));
            }
            join_all(settled).await;
        }
        for job in repeats {
            let outcome = outcomes.get(&job.publication.message.id).cloned();
            let _ = job.answer.send(outcome.unwrap_or_else(|| Err(unavailable("the first of this id failed"))));
        }
    }

    /// Sorts out what was published before, and answers it.
    async fn reserve(self: &Arc<Self>, key: &Key, jobs: Vec<Job>) -> Reserved {
        let mut seen = HashSet::new();
        let (mut firsts, mut repeats) = (Vec::new(), Vec::new());
        for job in jobs {
            let is_new = !job.publication.deduplicate || seen.insert(job.publication.message.id.clone());
            if is_new { firsts.push(job) } else { repeats.push(job) }
        }
        let reservations = join_all(firsts.iter().map(|job| async {
            match job.publication.deduplicate {
                true => self.reserve_id(key, &job.publication).await.map(Some),
                false => Ok(None),
            }
        }))
        .await;
        let mut fresh = Vec::new();
        let mut answered: HashMap<MessageId, Result<Published, EngineError>> = HashMap::new();
        for (job, reservation) in firsts.into_iter().zip(reservations) {
            let result = match reservation {
                Ok(None) => {
                    fresh.push((job, None));
                    continue;
                }
                Ok(Some(Reservation::Ours(seq))) => {
                    fresh.push((job, Some(seq)));
                    continue;
                }
                Ok(Some(Reservation::Answered(published))) => Ok(published),
                Err(error) => Err(error),
            };
            answered.insert(job.publication.message.id.clone(), result.clone());
            let _ = job.answer.send(result);
        }
        let (done, repeats): (Vec<_>, Vec<_>) =
            repeats.into_iter().partition(|job| answered.contains_key(&job.publication.message.id));
        for job in done {
            let result = answered[&job.publication.message.id].clone();
            let _ = job.answer.send(result);
        }
        Reserved { fresh, repeats }
    }

    /// Keeps the answer for those who ask again, and answers.
    async fn settle(&self, key: &Key, job: Job, reservation: Option<u64>, result: Result<Published, EngineError>) {
        let kept = match (reservation, &result) {
            (Some(seq), Ok(published)) => self.keep_answer(key, seq, published).await,
            _ => Ok(()),
        };
        let _ = job.answer.send(kept.and(result));
    }

    /// Core NATS: no log, no position.
    async fn pass_on(&self, key: &Key, messages: Vec<Message>) -> Result<(), EngineError> {
        let record = Record { epoch: None, first: 1, latest: 0, cleared: false, messages };
        let subject = format!("{}.ch.{}.c", self.link.options.prefix, key.tokens());
        self.link.within("publish", self.link.confirmed(self.link.send(subject, record.encode()))).await
    }

    /// Appends to the log, and returns the position of the first message.
    async fn append(
        self: &Arc<Self>,
        key: &Key,
        policy: HistoryPolicy,
        messages: Vec<Message>,
    ) -> Result<Position, EngineError> {
        let group = LogGroup::of(policy);
        let appended = self.link.within("publish", self.try_append(key, group, messages)).await;
        if appended.is_err() {
            self.logs.unlearn(key);
        }
        appended
    }

    async fn try_append(
        self: &Arc<Self>,
        key: &Key,
        group: LogGroup,
        messages: Vec<Message>,
    ) -> Result<Position, EngineError> {
        let newest = messages.iter().map(|message| message.ts).max().unwrap_or(0);
        let count = messages.len() as u64;
        let mut record = Record { epoch: None, first: 0, latest: 0, cleared: false, messages };
        for attempt in 0.. {
            let place = self.link.place(Kind::Log(group)).await?;
            let subject = format!("{}.{}.h", place.root, key.tokens());
            let head = match self.logs.head(key, &place) {
                Some(head) => head,
                None => match self.read_head(key, &place, &subject).await? {
                    HeadRead::Log(head, _) => head,
                    HeadRead::Nothing => Head::fresh(&place),
                },
            };
            record.epoch = Some(head.epoch.clone());
            record.first = head.offset + 1;
            record.latest = head.latest.max(newest);
            match self.link.store(subject, record.encode(), Some(head.seq), false).await {
                Ok(seq) => {
                    let position = Position { epoch: head.epoch.clone(), offset: record.first };
                    let mut head = Head { offset: record.end(), seq, latest: record.latest, ..head };
                    head.untrimmed += count;
                    if head.untrimmed > 4 * group.size.max(256) {
                        head.untrimmed = 0;
                        self.runtime.spawn(self.clone().trim(key.clone(), place, head.clone(), group.size));
                    }
                    self.logs.learn(key, head);
                    return Ok(position);
                }
                Err(StoreError::Conflict) => {
                    self.note_regress(key, &place, head).await?;
                    tokio::time::sleep(Duration::from_millis(jitter(attempt))).await;
                }
                Err(StoreError::Missing) => {
                    self.link.streams.forget(Kind::Log(group));
                    self.logs.unlearn(key);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(StoreError::Failed(error)) => return Err(error),
            }
        }
        unreachable!("the loop ends by its time limit")
    }

    /// Somebody else wrote. If the log ends before what is known to have been in it, the broker lost messages: another
    /// epoch begins, because those offsets will be given again.
    async fn note_regress(&self, key: &Key, place: &Place, known: Head) -> Result<(), EngineError> {
        self.logs.unlearn(key);
        let subject = format!("{}.{}.h", place.root, key.tokens());
        if let HeadRead::Log(head, _) = self.read_head(key, place, &subject).await?
            && head.epoch == known.epoch
            && head.offset < known.offset
        {
            tracing::error!(channel = %key.channel, "the broker lost messages of a log; a new epoch begins");
            let fresh = Head { seq: head.seq, ..Head::fresh(place) };
            let _ = self.link.store(subject, mark(&fresh, false).encode(), Some(head.seq), true).await;
        }
        Ok(())
    }
}

/// A record without messages, at the end of a log.
pub(crate) fn mark(head: &Head, cleared: bool) -> Record {
    let epoch = Some(head.epoch.clone());
    Record { epoch, first: head.offset + 1, latest: head.latest, cleared, messages: Vec::new() }
}

struct Reserved {
    /// To be published, each with its reservation.
    fresh: Vec<(Job, Option<u64>)>,
    /// Second ones of an id that is among the fresh.
    repeats: Vec<Job>,
}

impl Job {
    fn fail(self, error: &EngineError) {
        let _ = self.answer.send(Err(error.clone()));
    }
}

/// Milliseconds to wait after so many conflicts, different on every node.
pub(crate) fn jitter(attempt: u32) -> u64 {
    if attempt < 2 {
        return 0;
    }
    let mut random = [0];
    getrandom::fill(&mut random).expect("the system has random numbers");
    u64::from(random[0]) % (1 << attempt.min(5))
}
