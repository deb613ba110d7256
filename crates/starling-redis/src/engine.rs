//! The engine seam over Redis.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Value, cmd, from_redis_value};
use starling_core::{
    Answer, AppId, ChannelName, Control, Engine, EngineError, Epoch, HistoryPage, HistoryPolicy, HistoryRange, NodeId,
    Pending, Position, PresenceChange, PresenceSnapshot, Publication, Published, Query, Sink,
};
use tokio::sync::oneshot;

use crate::broker::{Shared, new_epoch};
use crate::interest::Wish;
use crate::options::{ConnectError, RedisOptions};
use crate::script;
use crate::wire::{self, NodeFrame};

/// Notes at a time; at the limit, new ones are refused.
const MAX_NOTES: usize = 1_000_000;

/// Messages of a log after which those that are too old are removed.
const TRIM_EVERY: u64 = 64;

/// The longest log, and the largest page.
const MAX_SIZE: usize = 1 << 31;

/// Larger than any offset: Lua's numbers count without loss up to here.
const MAX_OFFSET: u64 = 1 << 53;

/// One node's link to the others over Redis. See the crate's documentation.
///
/// When it is dropped, its connections close, and other nodes take it for dead when its lease is over.
pub struct RedisEngine {
    shared: Arc<Shared>,
}

impl RedisEngine {
    /// Connects to Redis. Runs, from then on, on the tokio runtime that this is called on.
    ///
    /// If Redis cannot be reached now, the engine is made all the same: it is not up, refuses what it is asked, and
    /// goes on trying.
    ///
    /// # Errors
    /// When it can never work: a wrong URL, wrong credentials, a server that is too old, or a read-only replica.
    ///
    /// Not cancel-safe: an engine whose making was given up may go on until its runtime ends.
    pub async fn connect(options: RedisOptions) -> Result<Arc<Self>, ConnectError> {
        Ok(Arc::new(Self { shared: Shared::start(options).await? }))
    }

    /// Does it on the runtime, whoever waits for it.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Pending<Result<T, EngineError>> {
        let (done, when_done) = oneshot::channel();
        self.shared.handle.spawn(async move {
            let _ = done.send(work.await);
        });
        Pending::later(async { when_done.await.unwrap_or_else(|_| Err(given_up())) })
    }
}

impl Drop for RedisEngine {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// At least one, and at most ten years, which Redis can still add to the present time.
fn milliseconds(time: Duration) -> u64 {
    const TEN_YEARS: u128 = 10 * 366 * 24 * 3_600_000;
    time.as_millis().clamp(1, TEN_YEARS) as u64
}

fn given_up() -> EngineError {
    EngineError::Unavailable("the engine was given up".into())
}

fn odd(what: &str) -> EngineError {
    EngineError::Unavailable(format!("redis answers something else to {what}"))
}

/// `epoch offset`, or nothing without a log.
fn position(answer: &[u8]) -> Result<Option<Position>, EngineError> {
    if answer.is_empty() {
        return Ok(None);
    }
    let words = std::str::from_utf8(answer).ok().and_then(|text| text.split_once(' '));
    let position = words.and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?)));
    match position {
        Some((epoch, offset)) => Ok(Some(Position { epoch: Epoch::new(epoch), offset })),
        None => Err(EngineError::Unavailable("foreign data in the answer to a message id".into())),
    }
}

impl Engine for RedisEngine {
    fn attach(&self, sink: Arc<dyn Sink>) {
        self.shared.attach(sink);
    }

    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        let Publication { message, history, deduplicate } = publication;
        let keys = self.shared.keys.channel(&message.app, &message.channel);
        let verb = self.shared.topology.verb("PUBLISH");
        let command = if history.is_none() && !deduplicate {
            let mut publish = cmd(&verb);
            publish.arg(&keys.topic).arg(wire::passing(&message));
            publish
        } else {
            let window = if deduplicate { milliseconds(self.shared.options.window) } else { 0 };
            let (size, ttl) =
                history.map_or((0, 0), |policy| (policy.size.clamp(1, MAX_SIZE), milliseconds(policy.ttl)));
            let mut run = script::PUBLISH.run(&[keys.log(), keys.stream(), keys.id(&message.id)]);
            run.arg(wire::body(&message)).arg(&keys.topic).arg(verb);
            run.arg(size).arg(ttl).arg(new_epoch()).arg(window).arg(message.ts);
            run
        };
        let answer = self.shared.send(&*keys.topic, command);
        let shared = self.shared.clone();
        Pending::later(async move {
            let position = match answer.value().await? {
                Value::BulkString(answer) => position(&answer)?,
                Value::Int(_) => None,
                _ => return Err(odd("a publish")),
            };
            if let (Some(policy), Some(position)) = (history, &position)
                && position.offset % TRIM_EVERY == 0
            {
                let mut run = script::TRIM.run(&[keys.log(), keys.stream()]);
                run.arg(milliseconds(policy.ttl)).arg(message.ts);
                // Whoever reads the log trims it as well.
                drop(shared.send(keys.topic, run));
            }
            Ok(Published { id: message.id, position })
        })
    }

    fn interest(&self, app: &AppId, channel: &ChannelName, wanted: bool) -> Pending<Result<(), EngineError>> {
        let topic = self.shared.keys.channel(app, channel).topic;
        if !wanted {
            self.shared.interest.unwant(&topic);
            return Pending::Ready(Ok(()));
        }
        let lane = self.shared.topology.lane(&topic);
        let wish = lane.and_then(|lane| self.shared.interest.want(topic, app, channel, &lane));
        let lost = || EngineError::Unavailable("redis is not connected".into());
        match wish {
            None => Pending::Ready(Err(lost())),
            Some(Wish::Live) => Pending::Ready(Ok(())),
            Some(Wish::Later(told)) => {
                Pending::later(async move { if told.await == Ok(true) { Ok(()) } else { Err(lost()) } })
            }
        }
    }

    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Pending<Result<HistoryPage, EngineError>> {
        let keys = self.shared.keys.channel(app, channel);
        let bound = |offset: Option<u64>| offset.map_or(String::new(), |offset| offset.min(MAX_OFFSET).to_string());
        let mut run = script::HISTORY.run(&[keys.log(), keys.stream()]);
        run.arg(range.limit.min(MAX_SIZE)).arg(bound(range.before)).arg(bound(range.after));
        run.arg(policy.size.clamp(1, MAX_SIZE)).arg(milliseconds(policy.ttl)).arg(now).arg(new_epoch());
        let answer = self.shared.send(keys.topic, run);
        let (app, channel) = (app.clone(), channel.clone());
        Pending::later(async move { page(&app, &channel, answer.value().await?, range.after.is_none()) })
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        let keys = self.shared.keys.channel(app, channel);
        let mut run = script::CLEAR.run(&[keys.log(), keys.stream()]);
        run.arg(new_epoch()).arg(&keys.topic).arg(self.shared.topology.verb("PUBLISH")).arg("");
        let answer = self.shared.send(keys.topic, run);
        Pending::later(async move {
            let epoch: String = from_redis_value(answer.value().await?).map_err(|_| odd("a clearing"))?;
            Ok(Position { epoch: Epoch::new(epoch), offset: 0 })
        })
    }

    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>> {
        let done = self.shared.change_presence(app, channel, change);
        Pending::later(async { done.await.unwrap_or_else(|_| Err(given_up())) })
    }

    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>> {
        let key = (app.clone(), channel.clone());
        Pending::later(self.shared.clone().list_presence(key))
    }

    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>> {
        let (shared, app) = (self.shared.clone(), app.clone());
        let frame = NodeFrame::Control { origin: shared.node.clone(), app: app.clone(), control: control.clone() };
        self.run(async move {
            shared.publish_frame(&shared.control_topic, &frame).await?;
            if let Some(sink) = shared.sink() {
                sink.control(&app, control);
            }
            Ok(())
        })
    }

    fn survey(&self, app: &AppId, query: Query) -> Pending<Result<Vec<Answer>, EngineError>> {
        self.run(self.shared.clone().survey(app.clone(), query))
    }

    fn node(&self) -> &NodeId {
        &self.shared.node
    }

    fn relay(&self, node: &NodeId, request: Bytes, timeout: Duration) -> Pending<Result<Bytes, EngineError>> {
        self.run(self.shared.clone().relay(node.clone(), request, timeout))
    }

    fn claim(&self, name: &str, ttl: Duration) -> Pending<Result<bool, EngineError>> {
        let key = self.shared.keys.claim(name);
        let mut set = cmd("SET");
        set.arg(&key).arg(self.shared.node.as_str()).arg("NX").arg("PX").arg(milliseconds(ttl));
        let answer = self.shared.send(key, set);
        Pending::later(async move {
            match answer.value().await? {
                Value::Okay => Ok(true),
                Value::Nil => Ok(false),
                _ => Err(odd("a claim")),
            }
        })
    }

    fn note(&self, name: &str, value: Bytes, ttl: Duration) -> Pending<Result<(), EngineError>> {
        let keys = self.shared.keys.notes();
        let mut run = script::NOTE.run(&keys);
        run.arg(name).arg(&*value).arg(milliseconds(ttl)).arg(MAX_NOTES);
        let answer = self.shared.send(&*keys[0], run);
        Pending::later(async move {
            match answer.value().await? {
                Value::Int(1) => Ok(()),
                Value::Int(_) => Err(EngineError::Unavailable(format!("there are {MAX_NOTES} notes already"))),
                _ => Err(odd("a note")),
            }
        })
    }

    fn notes(&self, prefix: &str, take: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>> {
        let keys = self.shared.keys.notes();
        let mut run = script::FIND_NOTES.run(&keys);
        run.arg(prefix).arg(u8::from(take));
        let answer = self.shared.send(&*keys[0], run);
        Pending::later(async move {
            let notes: Vec<(String, Vec<u8>)> =
                from_redis_value(answer.value().await?).map_err(|_| odd("a question for notes"))?;
            Ok(notes.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect())
        })
    }

    fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    /// What is due is done by the engine's own tasks.
    fn sweep(&self, _: u64) {}
}

/// Reads the answer of the script: `{epoch, top, oldest, {{id, {'t', …, 'm', …}}, …}}`.
fn page(app: &AppId, channel: &ChannelName, answer: Value, is_reversed: bool) -> Result<HistoryPage, EngineError> {
    type Parts = (String, u64, u64, Vec<(String, Vec<(String, Vec<u8>)>)>);
    let foreign = || EngineError::Unavailable(format!("foreign data in the log of {channel}"));
    let (epoch, offset, oldest, entries): Parts = from_redis_value(answer).map_err(|_| foreign())?;
    let epoch = Epoch::new(epoch);
    let mut messages = Vec::with_capacity(entries.len());
    for (id, fields) in entries {
        let offset = id.strip_suffix("-0").and_then(|offset| offset.parse().ok()).ok_or_else(foreign)?;
        let body = fields.into_iter().find(|(name, _)| name == "m").ok_or_else(foreign)?.1;
        let position = Position { epoch: epoch.clone(), offset };
        let message = wire::decode_body(app, channel, Some(position), body.into()).map_err(|_| foreign())?;
        messages.push(Arc::new(message));
    }
    if is_reversed {
        messages.reverse();
    }
    Ok(HistoryPage { messages, head: Position { epoch, offset }, oldest })
}
