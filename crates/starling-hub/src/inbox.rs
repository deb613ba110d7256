//! How the rest of the process reaches a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use starling_core::{Answer, AppId, ConnectionId, Control, Emission, PresenceEvent, Query};

use crate::broadcast::Broadcast;
use crate::shard::{Completion, Entering, Seek};

/// Something for a worker's shard to handle.
pub enum Letter {
    /// A message of a channel that it has members of.
    Message(Arc<Broadcast>),
    /// A change of presence in a channel that it has members of.
    Presence(Arc<PresenceEvent>),
    /// An act on connections that it may have.
    Control(AppId, Control),
    /// An event for one connection that it may have; the function is told whether it has it.
    Emit(AppId, ConnectionId, Box<Emission>, Box<dyn FnOnce(bool) + Send>),
    /// Messages may have been missed.
    Resync,
    /// Something that a connection waited for is there.
    Completed(Box<Completion>),
    /// Another worker looks for a session that this one may have lost.
    Seek(Box<(Seek, Entering, usize)>),
    /// A question; the answer goes to the function.
    Query(AppId, Query, Box<dyn FnOnce(Answer) + Send>),
}

/// A worker's letter box. Posting wakes the worker if it may be asleep.
pub struct Inbox {
    /// Guards the letters; held only to push or to take all of them.
    letters: Mutex<Vec<Letter>>,
    /// Whether a wake-up is on its way, so that a burst of letters costs one.
    woken: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Inbox {
    /// A box whose worker is woken by `wake`, which may be called from any thread and must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { letters: Mutex::default(), woken: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Adds a letter. Letters are read in the order in which they were posted.
    pub fn post(&self, letter: Letter) {
        self.letters.lock().push(letter);
        if !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// The worker is awake and will call [`Inbox::take`] before it sleeps: until then nobody needs to wake it.
    pub fn hold(&self) {
        self.woken.store(true, Ordering::Release);
    }

    /// Swaps all letters into `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<Letter>) {
        // Cleared first: a letter posted after this line wakes again, one posted before it is taken below.
        self.woken.store(false, Ordering::Release);
        std::mem::swap(&mut *self.letters.lock(), into);
    }
}
