//! A broker in memory that does nothing by itself.
//!
//! ```text
//!   ask ──► held ──perform──► done at the broker, answer held ──answer──► the asker goes on
//!                                   │
//!                                   └──► deliveries ──deliver / lose / repeat──► sink
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use starling_core::{
    Answer, AppId, ChannelName, Control, Engine, EngineError, Epoch, HistoryPage, HistoryPolicy, HistoryRange, Message,
    NodeId, Pending, Position, PresenceChange, PresenceDiff, PresenceEntry, PresenceEvent, PresenceSnapshot,
    Publication, Published, Query, Sink,
};

/// An engine whose every answer is [`Pending::Later`], and whose answers and deliveries a test lets go.
///
/// Epochs are `e1`, `e2`, … in the order in which logs are made. Message ids are not remembered.
#[derive(Default)]
pub struct RemoteEngine {
    state: Mutex<State>,
    sink: OnceLock<Arc<dyn Sink>>,
}

#[derive(Default)]
struct State {
    broker: Broker,
    held: Vec<Held>,
    down: bool,
}

type Key = (AppId, ChannelName);
type Reply = Box<dyn FnOnce() + Send>;

/// Does something at the broker, or fails to (`None`); what is returned tells the asker.
type Act = Box<dyn FnOnce(Option<&mut Broker>) -> Reply + Send>;

struct Held {
    name: String,
    step: Step,
}

enum Step {
    Asked(Act),
    Done(Reply),
}

enum Delivery {
    Message(Arc<Message>),
    Presence(PresenceEvent),
    Control(AppId, Control),
}

#[derive(Default)]
struct Broker {
    logs: HashMap<Key, Log>,
    epochs: u64,
    presence: HashMap<Key, (Vec<PresenceEntry>, u64)>,
    interest: HashMap<Key, i64>,
    deliveries: VecDeque<Delivery>,
}

struct Log {
    epoch: Epoch,
    messages: Vec<Arc<Message>>,
    top: u64,
}

impl RemoteEngine {
    /// A broker that holds nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was asked and is not answered, the oldest first: `publish room`, `interest room on`, `history room after 5`,
    /// `presence room`, `members room`, `clear room`, `control`.
    pub fn held(&self) -> Vec<String> {
        self.state().held.iter().map(|held| held.name.clone()).collect()
    }

    fn place(&self, name: &str) -> usize {
        let state = self.state();
        let found = state.held.iter().position(|held| held.name.starts_with(name));
        found.unwrap_or_else(|| {
            let names: Vec<_> = state.held.iter().map(|held| &held.name).collect();
            panic!("nothing like {name:?} is held, only {names:?}")
        })
    }

    /// Does, at the broker, the oldest thing whose name starts with `name`, and still holds the answer.
    ///
    /// # Panics
    /// When there is none, or it was done already.
    pub fn perform(&self, name: &str) {
        let at = self.place(name);
        let mut state = self.state();
        let mut held = state.held.remove(at);
        held.step = match held.step {
            Step::Asked(act) => Step::Done(act(Some(&mut state.broker))),
            Step::Done(_) => panic!("{name} was done already"),
        };
        state.held.insert(at, held);
    }

    /// Answers the oldest thing whose name starts with `name`, which is done first unless it was done already.
    ///
    /// # Panics
    /// When there is none.
    pub fn answer(&self, name: &str) {
        let at = self.place(name);
        let reply = {
            let mut state = self.state();
            match state.held.remove(at).step {
                Step::Asked(act) => act(Some(&mut state.broker)),
                Step::Done(reply) => reply,
            }
        };
        reply();
    }

    /// Answers the oldest thing whose name starts with `name` that the engine is unavailable; it never happens.
    ///
    /// # Panics
    /// When there is none, or it was done already.
    pub fn fail(&self, name: &str) {
        let at = self.place(name);
        let held = self.state().held.remove(at);
        match held.step {
            Step::Asked(act) => act(None)(),
            Step::Done(_) => panic!("{name} was done already"),
        }
    }

    /// Answers everything that is held, the oldest first, and says whether there was anything.
    pub fn answer_all(&self) -> bool {
        let names = self.held();
        names.iter().for_each(|name| self.answer(name));
        !names.is_empty()
    }

    /// How many deliveries wait.
    pub fn waiting(&self) -> usize {
        self.state().broker.deliveries.len()
    }

    /// Delivers the next, and says whether there was one.
    pub fn deliver(&self) -> bool {
        let next = self.state().broker.deliveries.pop_front();
        let Some(next) = next else { return false };
        self.hand_over(&next);
        true
    }

    /// Delivers all that wait.
    pub fn deliver_all(&self) {
        while self.deliver() {}
    }

    /// Delivers the next and keeps it, so that it comes again.
    pub fn deliver_and_keep(&self) {
        let next = self.state().broker.deliveries.pop_front();
        let Some(next) = next else { return };
        self.hand_over(&next);
        self.state().broker.deliveries.push_front(next);
    }

    /// Puts the next delivery behind the one after it.
    pub fn postpone(&self) {
        let mut state = self.state();
        if state.broker.deliveries.len() > 1 {
            state.broker.deliveries.swap(0, 1);
        }
    }

    /// Loses the next delivery.
    pub fn lose(&self) {
        self.state().broker.deliveries.pop_front();
    }

    /// Loses all deliveries that wait.
    pub fn lose_all(&self) {
        self.state().broker.deliveries.clear();
    }

    fn hand_over(&self, delivery: &Delivery) {
        let sink = self.sink.get().expect("a sink is attached");
        match delivery {
            Delivery::Message(message) => sink.message(message.clone()),
            Delivery::Presence(event) => sink.presence(event.clone()),
            Delivery::Control(app, control) => sink.control(app, control.clone()),
        }
    }

    /// From now on everything fails at once.
    pub fn go_down(&self) {
        self.state().down = true;
    }

    /// Answers again, and says that something may have been missed.
    pub fn come_back(&self) {
        self.state().down = false;
        self.sink.get().expect("a sink is attached").resync();
    }

    /// The log of a channel is gone; the next use makes another one, with another epoch.
    pub fn lose_log(&self, app: &AppId, channel: &ChannelName) {
        self.state().broker.logs.remove(&(app.clone(), channel.clone()));
    }

    /// Publishes from another node, at once; the delivery to this one waits with the others.
    pub fn publish_elsewhere(&self, message: Message, history: Option<HistoryPolicy>) {
        self.state().broker.publish(message, history);
    }

    /// Changes presence from another node, at once.
    pub fn presence_elsewhere(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) {
        self.state().broker.presence((app.clone(), channel.clone()), change);
    }

    /// Who is present according to the broker.
    pub fn present(&self, app: &AppId, channel: &ChannelName) -> Vec<PresenceEntry> {
        let key = (app.clone(), channel.clone());
        self.state().broker.presence.get(&key).map(|(members, _)| members.clone()).unwrap_or_default()
    }

    /// How often this node wants a channel: wishes minus wishes taken back.
    pub fn wishes(&self, app: &AppId, channel: &ChannelName) -> i64 {
        let key = (app.clone(), channel.clone());
        self.state().broker.interest.get(&key).copied().unwrap_or(0)
    }

    fn hold<T: Send + 'static>(
        &self,
        name: String,
        act: impl FnOnce(&mut Broker) -> T + Send + 'static,
    ) -> Pending<Result<T, EngineError>> {
        let away = || Err(EngineError::Unavailable("the broker is away".into()));
        let mut state = self.state();
        if state.down {
            return Pending::Ready(away());
        }
        let cell = Arc::new(Mutex::new((None, None::<Waker>)));
        let filled = cell.clone();
        let act: Act = Box::new(move |broker| {
            let result = broker.map_or_else(away, |broker| Ok(act(broker)));
            Box::new(move || {
                let waker = {
                    let mut cell = filled.lock().unwrap();
                    cell.0 = Some(result);
                    cell.1.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            })
        });
        state.held.push(Held { name, step: Step::Asked(act) });
        Pending::later(std::future::poll_fn(move |context| {
            let mut cell = cell.lock().unwrap();
            match cell.0.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    cell.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }
}

impl Broker {
    fn log(&mut self, key: Key) -> &mut Log {
        let epochs = &mut self.epochs;
        self.logs.entry(key).or_insert_with(|| {
            *epochs += 1;
            Log { epoch: Epoch::new(format!("e{epochs}")), messages: Vec::new(), top: 0 }
        })
    }

    fn publish(&mut self, mut message: Message, history: Option<HistoryPolicy>) -> Published {
        let key = (message.app.clone(), message.channel.clone());
        if let Some(policy) = history {
            let log = self.log(key);
            log.top += 1;
            message.position = Some(Position { epoch: log.epoch.clone(), offset: log.top });
            log.messages.push(Arc::new(message.clone()));
            let surplus = log.messages.len().saturating_sub(policy.size);
            log.messages.drain(..surplus);
        }
        let published = Published { id: message.id.clone(), position: message.position.clone() };
        self.deliveries.push_back(Delivery::Message(Arc::new(message)));
        published
    }

    fn history(&mut self, key: Key, range: HistoryRange) -> HistoryPage {
        let log = self.log(key);
        let offset = |message: &Arc<Message>| message.position.as_ref().map_or(0, |p| p.offset);
        let mut messages: Vec<_> = log
            .messages
            .iter()
            .filter(|message| range.before.is_none_or(|before| offset(message) < before))
            .filter(|message| range.after.is_none_or(|after| offset(message) > after))
            .cloned()
            .collect();
        if range.after.is_some() {
            messages.truncate(range.limit);
        } else {
            messages.drain(..messages.len().saturating_sub(range.limit));
        }
        HistoryPage {
            messages,
            head: Position { epoch: log.epoch.clone(), offset: log.top },
            oldest: log.messages.first().map_or(log.top + 1, offset),
        }
    }

    fn clear(&mut self, key: Key) -> Position {
        self.logs.remove(&key);
        let head = Position { epoch: self.log(key.clone()).epoch.clone(), offset: 0 };
        let (app, channel) = key;
        let control = Control::HistoryCleared { channel, head: head.clone() };
        self.deliveries.push_back(Delivery::Control(app, control));
        head
    }

    fn presence(&mut self, key: Key, change: PresenceChange) {
        let (members, version) = self.presence.entry(key.clone()).or_default();
        let mut diff = PresenceDiff::default();
        match change {
            PresenceChange::Enter(entry) => {
                members.retain(|member| member.connection != entry.connection);
                members.push(entry.clone());
                diff.joins.push(entry);
            }
            PresenceChange::Leave(connection) => {
                let Some(at) = members.iter().position(|member| member.connection == connection) else {
                    return;
                };
                diff.leaves.push(members.remove(at));
            }
            // Its time does not pass by itself: a test ends it with a `Leave` from elsewhere.
            PresenceChange::Linger { .. } => return,
        }
        *version += 1;
        let (app, channel) = key;
        let event = PresenceEvent { app, channel, version: *version, diff, ours: false };
        self.deliveries.push_back(Delivery::Presence(event));
    }
}

impl Engine for RemoteEngine {
    fn attach(&self, sink: Arc<dyn Sink>) {
        assert!(self.sink.set(sink).is_ok(), "an engine is attached to one hub");
    }

    fn publish(&self, publication: Publication) -> Pending<Result<Published, EngineError>> {
        let name = format!("publish {}", publication.message.channel);
        self.hold(name, move |broker| broker.publish(publication.message, publication.history))
    }

    fn interest(&self, app: &AppId, channel: &ChannelName, wanted: bool) -> Pending<Result<(), EngineError>> {
        let key = (app.clone(), channel.clone());
        let name = format!("interest {channel} {}", if wanted { "on" } else { "off" });
        self.hold(name, move |broker| {
            *broker.interest.entry(key).or_default() += if wanted { 1 } else { -1 };
        })
    }

    fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        _: HistoryPolicy,
        range: HistoryRange,
        _: u64,
    ) -> Pending<Result<HistoryPage, EngineError>> {
        let key = (app.clone(), channel.clone());
        let name = match range.after {
            Some(after) => format!("history {channel} after {after}"),
            None => format!("history {channel} newest {}", range.limit),
        };
        self.hold(name, move |broker| broker.history(key, range))
    }

    fn clear_history(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<Position, EngineError>> {
        let key = (app.clone(), channel.clone());
        self.hold(format!("clear {channel}"), move |broker| broker.clear(key))
    }

    fn presence(&self, app: &AppId, channel: &ChannelName, change: PresenceChange) -> Pending<Result<(), EngineError>> {
        let key = (app.clone(), channel.clone());
        let name = match &change {
            PresenceChange::Enter(entry) => format!("presence {channel} +{}", entry.connection),
            PresenceChange::Leave(connection) => format!("presence {channel} -{connection}"),
            PresenceChange::Linger { connection, .. } => format!("presence {channel} ~{connection}"),
        };
        self.hold(name, move |broker| broker.presence(key, change))
    }

    fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, EngineError>> {
        let key = (app.clone(), channel.clone());
        self.hold(format!("members {channel}"), move |broker| {
            let (members, version) = broker.presence.entry(key).or_default();
            PresenceSnapshot { members: members.clone(), version: *version }
        })
    }

    fn control(&self, app: &AppId, control: Control) -> Pending<Result<(), EngineError>> {
        let app = app.clone();
        self.hold("control".into(), move |broker| {
            broker.deliveries.push_back(Delivery::Control(app, control));
        })
    }

    fn survey(&self, _: &AppId, _: Query) -> Pending<Result<Vec<Answer>, EngineError>> {
        self.hold("survey".into(), |_| Vec::new())
    }

    fn node(&self) -> &NodeId {
        static NODE: OnceLock<NodeId> = OnceLock::new();
        NODE.get_or_init(|| NodeId::from("remote"))
    }

    fn relay(&self, _: &NodeId, _: Bytes, _: Duration) -> Pending<Result<Bytes, EngineError>> {
        self.hold("relay".into(), |_| Bytes::new())
    }

    fn claim(&self, name: &str, _: Duration) -> Pending<Result<bool, EngineError>> {
        self.hold(format!("claim {name}"), |_| true)
    }

    fn note(&self, name: &str, _: Bytes, _: Duration) -> Pending<Result<(), EngineError>> {
        self.hold(format!("note {name}"), |_| ())
    }

    fn notes(&self, prefix: &str, _: bool) -> Pending<Result<Vec<(String, Bytes)>, EngineError>> {
        self.hold(format!("notes {prefix}"), |_| Vec::new())
    }

    fn is_up(&self) -> bool {
        !self.state().down
    }

    fn sweep(&self, _: u64) {}
}
