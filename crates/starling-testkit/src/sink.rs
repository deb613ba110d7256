//! What an engine delivers, kept in order.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use starling_core::{AppId, Control, Message, PresenceEvent, Sink};

/// How long [`RecordingSink::wait_until`] waits before it fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

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

    /// Waits until what was delivered satisfies `enough`. Cancel-safe.
    ///
    /// # Panics
    /// When that does not happen within 20 seconds.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Seen]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
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
                    thread::sleep(PATIENCE);
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
}
