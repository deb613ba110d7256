//! What an engine delivers, kept in order.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_core::{
    Answer, AppId, ChannelName, ConnectionId, Control, Message, Occupancy, Pending, PresenceEvent, Query, Sink, Survey,
    UserId,
};

/// How long [`RecordingSink::wait_until`] waits before it fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// One delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// A message.
    Message(Arc<Message>),
    /// A change of presence.
    Presence(PresenceEvent),
    /// An order to all nodes.
    Control(AppId, Control),
    /// Something may have been missed.
    Resync,
    /// Another node's request.
    Relayed(Bytes),
    /// Another node's question.
    Surveyed(AppId, Query),
}

/// Keeps everything that an engine delivers.
#[derive(Default)]
pub struct RecordingSink(Mutex<State>);

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    wakers: Vec<Waker>,
}

impl RecordingSink {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What was delivered so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The messages of one channel that were delivered so far.
    pub fn messages(&self, channel: &str) -> Vec<Arc<Message>> {
        let of_channel = |seen: &Seen| match seen {
            Seen::Message(message) if message.channel.as_str() == channel => Some(message.clone()),
            _ => None,
        };
        self.state().seen.iter().filter_map(of_channel).collect()
    }

    /// The presence events of one channel that were delivered so far.
    pub fn presence(&self, channel: &str) -> Vec<PresenceEvent> {
        let of_channel = |seen: &Seen| match seen {
            Seen::Presence(event) if event.channel.as_str() == channel => Some(event.clone()),
            _ => None,
        };
        self.state().seen.iter().filter_map(of_channel).collect()
    }

    /// What a sink answers to a relayed request: the request backwards.
    pub fn reply_to(request: &Bytes) -> Bytes {
        request.iter().rev().copied().collect()
    }

    /// What a sink answers to a question of another node: something made up of the question.
    pub fn answer_to(query: &Query) -> Answer {
        let channel = |name: &str| ChannelName::parse(name).expect("a name");
        let occupancy = Occupancy { members: 3, users: vec![UserId::from("ann"), UserId::from("bob")] };
        let survey = |connection: &str, user: Option<UserId>| Survey {
            connection: ConnectionId::from(connection),
            user,
            protocol: "native".into(),
            channels: vec![channel("a"), channel("b")],
            connected_at: 1_700_000_000_123,
        };
        match query {
            Query::Channels { prefix } => Answer::Channels(vec![
                (channel(&format!("{prefix}1")), occupancy),
                (channel(&format!("{prefix}2")), Occupancy::default()),
            ]),
            Query::Channel { channel } => Answer::Channels(vec![(channel.clone(), occupancy)]),
            Query::Connection { connection } if connection.as_str() == "nobody" => Answer::Connection(None),
            Query::Connection { connection } => Answer::Connection(Some(survey(connection.as_str(), None))),
            Query::Connections { .. } => {
                Answer::Connections(vec![survey("c1", Some(UserId::from("ann"))), survey("c2", None)])
            }
            Query::Stats => Answer::Stats { connections: 1, channels: u64::MAX, members: 3 },
        }
    }

    /// Waits until what was delivered satisfies `enough`. Cancel-safe.
    ///
    /// # Panics
    /// When that does not happen within a minute.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Seen]) -> bool) {
        self.wait_for(PATIENCE, what, enough).await;
    }

    /// Waits as [`RecordingSink::wait_until`], but as long as `patience`. Cancel-safe.
    ///
    /// # Panics
    /// When it does not happen by then.
    pub async fn wait_for(&self, patience: Duration, what: &str, enough: impl Fn(&[Seen]) -> bool) {
        let deadline = Instant::now() + patience;
        let mut watched = false;
        poll_fn(|context| {
            let mut state = self.state();
            if enough(&state.seen) {
                return Poll::Ready(());
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}; delivered: {:#?}", state.seen);
            state.wakers.push(context.waker().clone());
            if !std::mem::replace(&mut watched, true) {
                let waker = context.waker().clone();
                thread::spawn(move || {
                    thread::sleep(patience);
                    waker.wake();
                });
            }
            Poll::Pending
        })
        .await
    }

    /// Waits until `count` messages of a channel were delivered, and returns them.
    pub async fn wait_for_messages(&self, channel: &str, count: usize) -> Vec<Arc<Message>> {
        self.wait_until(&format!("{count} messages of {channel}"), |seen| {
            let of_channel =
                |seen: &&Seen| matches!(seen, Seen::Message(message) if message.channel.as_str() == channel);
            seen.iter().filter(of_channel).count() >= count
        })
        .await;
        self.messages(channel)
    }

    /// Waits until `count` presence events of a channel were delivered, and returns them.
    pub async fn wait_for_presence(&self, channel: &str, count: usize) -> Vec<PresenceEvent> {
        self.wait_until(&format!("{count} presence events of {channel}"), |seen| {
            let of_channel = |seen: &&Seen| matches!(seen, Seen::Presence(event) if event.channel.as_str() == channel);
            seen.iter().filter(of_channel).count() >= count
        })
        .await;
        self.presence(channel)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn push(&self, seen: Seen) {
        let wakers = {
            let mut state = self.state();
            state.seen.push(seen);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Sink for RecordingSink {
    fn message(&self, message: Arc<Message>) {
        self.push(Seen::Message(message));
    }

    fn presence(&self, event: PresenceEvent) {
        self.push(Seen::Presence(event));
    }

    fn control(&self, app: &AppId, control: Control) {
        self.push(Seen::Control(app.clone(), control));
    }

    fn resync(&self) {
        self.push(Seen::Resync);
    }

    fn relayed(&self, request: Bytes) -> Pending<Bytes> {
        let reply = Self::reply_to(&request);
        self.push(Seen::Relayed(request));
        Pending::later(async { reply })
    }

    fn surveyed(&self, app: &AppId, query: Query) -> Pending<Vec<Answer>> {
        let answer = Self::answer_to(&query);
        self.push(Seen::Surveyed(app.clone(), query));
        Pending::later(async { vec![answer] })
    }
}
