//! One worker's half of the hub: its connections, and its part of the channel table.
//!
//! A worker calls, in each of its turns: [`Shard::request`] for what clients ask, [`Shard::read_inbox`] for what the
//! rest of the process has for it, [`Shard::deliver`] to spread what arrived to the members, and then writes the
//! outbox of every connection that [`Shard::next_dirty`] names, calling [`Shard::drained`] for those whose socket took
//! something off a full one. Nothing here waits, and nothing is shared with another worker.

mod access;
mod adopt;
mod catchup;
mod control;
mod deliver;
mod presence;
mod refill;
mod requests;
mod resume;
mod subscribe;
mod tell;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;
use starling_core::{ChannelName, CloseReason, ConnectionId, Form, Notice, Pending, PresenceChange, Reply, Tag};

use crate::broadcast::Encoder;
use crate::channel::Channel;
use crate::connection::{Announced, Connection, Endpoint, Identity, Place, Slot, Subscription};
use crate::hub::{Hub, Settings};
use crate::inbox::{Inbox, Letter};
use crate::interest::{ChannelKey, ChannelRef};
use crate::journal::{Deed, Journal};
use crate::limits::Now;

pub use requests::Completion;
use requests::{Outcome, Waiting};
pub(crate) use resume::InScope;
use resume::Lost;
pub use resume::{Entering, Seek};

/// How long a channel that nobody needs is kept, so that a quick return costs nothing.
const VACANCY_MICROS: u64 = 2_000_000;

/// See the module's documentation.
pub struct Shard<T> {
    hub: Arc<Hub>,
    worker: usize,
    inbox: Arc<Inbox>,
    encoder: Box<dyn Encoder>,
    settings: Arc<Settings>,
    connections: Slab<Box<Connection<T>>>,
    generation: u32,
    by_id: HashMap<ConnectionId, u32, RandomState>,
    channels: Slab<Channel>,
    by_name: HashMap<ChannelKey, u32, RandomState>,
    touched: Vec<u32>,
    dirty: VecDeque<Slot>,
    vacant: VecDeque<u32>,
    letters: Vec<Letter>,
    /// Counts reads of logs, so that each has a number.
    reads: u64,
    /// Counts channels, so that each has a number.
    numbers: u32,
    journal: Journal,
    /// By their names.
    lost: HashMap<Box<str>, Lost, RandomState>,
    /// How long they are kept, in milliseconds.
    window_ms: u64,
}

impl<T: Endpoint> Shard<T> {
    /// An empty shard for the worker whose inbox is at `worker` in the hub.
    pub fn new(hub: Arc<Hub>, worker: usize, encoder: Box<dyn Encoder>) -> Self {
        Self {
            inbox: hub.inboxes()[worker].clone(),
            settings: hub.settings(),
            hub,
            worker,
            encoder,
            connections: Slab::new(),
            generation: 0,
            by_id: HashMap::default(),
            channels: Slab::new(),
            by_name: HashMap::default(),
            touched: Vec::new(),
            dirty: VecDeque::new(),
            vacant: VecDeque::new(),
            letters: Vec::new(),
            reads: 0,
            numbers: 0,
            journal: Journal::default(),
            lost: HashMap::default(),
            window_ms: 0,
        }
    }

    /// Adds a connection. It gets nothing from its user's channel before [`Shard::admit`].
    pub fn open(&mut self, identity: Identity, endpoint: T) -> Slot {
        self.generation = self.generation.wrapping_add(1);
        let form = endpoint.form();
        self.hub.counters().of(&identity.app).connections.of(form).fetch_add(1, Ordering::Relaxed);
        let id = identity.connection.clone();
        let index = self.connections.insert(Box::new(Connection {
            identity,
            endpoint,
            outbox: Default::default(),
            generation: self.generation,
            form,
            subscriptions: SmallVec::new(),
            bucket: Default::default(),
            pace: Default::default(),
            strikes: 0,
            blocking: 0,
            publishing: 0,
            announced: Announced::NotYet,
            catching: 0,
            dirty: false,
            lost: false,
            closing: None,
            scopes: Vec::new(),
            watched: false,
            may_repeat: false,
            asked: 0,
            confirmed: 0,
        })) as u32;
        self.by_id.insert(id, index);
        Slot { index, generation: self.generation }
    }

    /// Says who a connection is from now on, and lets it have its user's messages.
    pub fn admit(&mut self, slot: Slot, identity: Identity, now: Now) {
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        let form = connection.form;
        let before = std::mem::replace(&mut connection.identity, identity);
        let (id, app) = (connection.identity.connection.clone(), connection.identity.app.clone());
        let user = connection.identity.user.clone();
        if before.connection != id {
            self.forget_id(&before.connection, slot.index);
            self.by_id.insert(id, slot.index);
        }
        if before.app != app {
            self.hub.counters().of(&before.app).connections.of(form).fetch_sub(1, Ordering::Relaxed);
            self.hub.counters().of(&app).connections.of(form).fetch_add(1, Ordering::Relaxed);
        }
        if let Some(user) = user
            && before.user.as_ref() != Some(&user)
        {
            self.join_user_channel(slot, ChannelName::of_user(&user), now);
            self.name_in_presence(slot, now);
        }
        self.tell_connected(slot);
    }

    /// A connection that comes for one request and is nobody's: the observer is not told of it. To be called before
    /// [`Shard::admit`].
    pub fn keep_quiet(&mut self, slot: Slot) {
        if let Some(connection) = self.get_mut(slot) {
            connection.announced = Announced::Never;
        }
    }

    /// The connection, while it is there.
    pub fn get(&self, slot: Slot) -> Option<&Connection<T>> {
        let connection = self.connections.get(slot.index as usize)?;
        (connection.generation == slot.generation).then_some(connection)
    }

    /// The connection, while it is there.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Connection<T>> {
        let connection = self.connections.get_mut(slot.index as usize)?;
        (connection.generation == slot.generation).then_some(connection)
    }

    /// The connection with this id.
    pub fn find(&self, id: &ConnectionId) -> Option<Slot> {
        self.by_id.get(id).map(|index| self.slot(*index))
    }

    /// All connections.
    pub fn slots(&self) -> Vec<Slot> {
        self.connections.iter().map(|(index, c)| Slot { index: index as u32, generation: c.generation }).collect()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The shared half.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The rules and limits in force in this turn.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Ends a connection: it leaves its channels now, its good-bye is written, and the worker removes it when that is
    /// with the socket. A second call changes nothing.
    pub fn close(&mut self, slot: Slot, reason: CloseReason, now: Now) {
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        if connection.closing.is_some() {
            return;
        }
        connection.closing = Some(reason);
        connection.lost = is_lost(reason);
        connection.outbox.drop_queue();
        let Connection { endpoint, outbox, .. } = connection;
        endpoint.close(reason, outbox);
        self.mark_dirty(slot.index);
        self.leave_scopes(slot.index, may_come_back(reason), now);
        self.leave_all(slot.index, now);
    }

    /// Forgets a connection whose transport is gone, and gives back what belonged to it. `reason` counts unless the
    /// connection was being closed for another one.
    pub fn remove(&mut self, slot: Slot, reason: CloseReason, now: Now) -> Option<(Identity, T)> {
        let connection = self.get_mut(slot)?;
        connection.lost = is_lost(connection.closing.unwrap_or(reason));
        self.leave_scopes(slot.index, may_come_back(reason), now);
        self.leave_all(slot.index, now);
        let connection = *self.connections.remove(slot.index as usize);
        self.forget_id(&connection.identity.connection, slot.index);
        let counters = self.hub.counters().of(&connection.identity.app);
        counters.connections.of(connection.form).fetch_sub(1, Ordering::Relaxed);
        let reason = connection.closing.unwrap_or(reason);
        counters.count_close(reason);
        self.tell_disconnected(&connection, reason, now.unix_ms);
        if self.connections.is_empty() {
            self.give_memory_back();
        }
        Some((connection.identity, connection.endpoint))
    }

    /// Takes a token for one message of this connection. `false`: refuse the message, and count a strike; after too
    /// many in a row the connection is being closed.
    pub fn admit_message(&mut self, slot: Slot, now: Now) -> bool {
        let Self { connections, settings, hub, .. } = self;
        let connection = connections.get_mut(slot.index as usize).filter(|it| it.generation == slot.generation);
        let Some(connection) = connection else {
            return false;
        };
        let limits = &settings.limits;
        let identity = &connection.identity;
        if connection.bucket.take(now, limits.messages_per_second, limits.burst)
            && hub.take_shared_tokens(limits, &identity.app, identity.user.as_ref(), now)
        {
            connection.strikes = 0;
            return true;
        }
        connection.strikes += 1;
        let struck_out = connection.strikes > limits.strikes && !connection.endpoint.forgives();
        hub.counters().of(&identity.app).rate_limited.fetch_add(1, Ordering::Relaxed);
        if struck_out {
            self.close(slot, CloseReason::TooManyRequests, now);
        }
        false
    }

    /// Takes the next connection whose outbox has something new, or that is to be closed: the one that has waited
    /// longest. Each waits once, and what it is given meanwhile is taken with the rest.
    pub fn next_dirty(&mut self) -> Option<Slot> {
        let slot = self.dirty.pop_front()?;
        if let Some(connection) = self.get_mut(slot) {
            connection.dirty = false;
            connection.outbox.offer_to_socket();
        }
        Some(slot)
    }

    /// How many connections wait for [`Shard::next_dirty`].
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Goes on with a connection whose socket took something: queued messages follow, then the log that it still
    /// reads. Returns whether there is something new to write.
    pub fn drained(&mut self, slot: Slot, now: Now) -> bool {
        let settings = self.settings.clone();
        let Some(connection) = self.get_mut(slot) else {
            return false;
        };
        if connection.closing.is_some() {
            return false;
        }
        let before = connection.outbox.wire_bytes();
        let Connection { endpoint, outbox, .. } = connection;
        while let Some(notice) = outbox.release(&settings.backpressure) {
            endpoint.notify(&notice, outbox);
        }
        if connection.catching > 0 && connection.outbox.is_flowing(&settings.backpressure) {
            self.continue_reading(slot, now);
        }
        self.get(slot).is_some_and(|connection| connection.outbox.wire_bytes() > before)
    }

    /// Reads the inbox: messages are put aside for [`Shard::deliver`], everything else happens now.
    pub fn read_inbox(&mut self, now: Now) {
        let settings = self.hub.settings();
        if !Arc::ptr_eq(&settings, &self.settings) {
            self.settings = settings;
            self.follow_rules();
        }
        let mut letters = std::mem::take(&mut self.letters);
        self.inbox.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Message(broadcast) => {
                    let key = ChannelRef { app: &broadcast.message.app, channel: &broadcast.message.channel };
                    if let Some(&index) = self.by_name.get(&key) {
                        self.channels[index as usize].incoming.push(broadcast);
                        self.touch(index);
                    }
                }
                Letter::Presence(event) => {
                    let key = ChannelRef { app: &event.app, channel: &event.channel };
                    if let Some(&index) = self.by_name.get(&key) {
                        self.channels[index as usize].presence.push(event);
                        self.touch(index);
                    }
                }
                // What was put aside came first, and must reach the members before what this letter brings.
                Letter::Control(app, control) => {
                    self.deliver(now);
                    self.control(&app, control, now);
                }
                Letter::Emit(app, connection, emission, told) => {
                    self.deliver(now);
                    told(self.emit(&app, &connection, *emission));
                }
                Letter::Resync => {
                    self.deliver(now);
                    self.resync_all(now);
                }
                Letter::Completed(completion) => {
                    self.deliver(now);
                    self.complete(*completion, now);
                }
                Letter::Seek(sought) => {
                    self.deliver(now);
                    let (seek, entering, from) = *sought;
                    self.answer_seek(seek, entering, from, now);
                }
                Letter::Query(app, query, answer) => answer(self.answer_query(&app, &query)),
            }
        }
        if letters.capacity() > 4096 {
            letters.shrink_to(1024);
        }
        self.letters = letters;
    }

    /// Gives up channels that nobody has needed for a while. Call it about once a second.
    pub fn tick(&mut self, now: Now) {
        self.expire_lost(now);
        for _ in 0..self.vacant.len() {
            let Some(index) = self.vacant.pop_front() else {
                break;
            };
            let Some(channel) = self.channels.get_mut(index as usize) else {
                continue;
            };
            let Some(since) = channel.vacant_since else {
                continue;
            };
            if !channel.is_vacant() {
                channel.vacant_since = None;
            } else if now.micros < since + VACANCY_MICROS {
                self.vacant.push_back(index);
            } else {
                self.give_up(index);
            }
        }
        if self.channels.is_empty() && self.connections.is_empty() {
            self.give_memory_back();
        }
    }

    fn give_up(&mut self, index: u32) {
        let channel = self.channels.remove(index as usize);
        self.by_name.remove(&channel.key);
        self.hub.interest().remove(&channel.key, self.worker);
        for _ in 0..channel.wishes {
            let ended = self.hub.engine().interest(&channel.key.app, &channel.key.channel, false);
            if let Pending::Later(future) = ended {
                self.hub.spawn(Box::pin(async move {
                    // An engine that is away has no interest to end.
                    let _ = future.await;
                }));
            }
        }
    }

    fn give_memory_back(&mut self) {
        self.connections.shrink_to_fit();
        self.by_id.shrink_to_fit();
        self.channels.shrink_to_fit();
        self.by_name.shrink_to_fit();
        self.touched = Vec::new();
        self.dirty.shrink_to_fit();
        self.vacant.shrink_to_fit();
    }

    /// Unless the id belongs to another connection by now: a session that moved to a new transport keeps it.
    fn forget_id(&mut self, id: &ConnectionId, index: u32) {
        if self.by_id.get(id) == Some(&index) {
            self.by_id.remove(id);
        }
    }

    fn slot(&self, index: u32) -> Slot {
        Slot { index, generation: self.connections[index as usize].generation }
    }

    fn mark_dirty(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(Slot { index, generation: connection.generation });
        }
    }

    fn touch(&mut self, channel: u32) {
        let entry = &mut self.channels[channel as usize];
        if !entry.touched {
            entry.touched = true;
            self.touched.push(channel);
        }
    }

    /// The channel's place in the table; it is made if need be.
    fn channel(&mut self, key: ChannelKey) -> u32 {
        if let Some(&index) = self.by_name.get(&key) {
            return index;
        }
        let rule = self.settings.rule(&key.app, &key.channel).cloned();
        let counters = self.hub.counters().of(&key.app);
        let index = self.channels.insert(Channel::new(key.clone(), rule, counters)) as u32;
        self.numbers = self.numbers.wrapping_add(1);
        self.channels[index as usize].number = self.numbers;
        self.hub.interest().add(&key, self.worker);
        self.by_name.insert(key, index);
        index
    }

    /// Has the channels that are there follow rules that were changed. Members stay members.
    fn follow_rules(&mut self) {
        let indices: Vec<u32> = self.channels.iter().map(|(index, _)| index as u32).collect();
        for index in indices {
            let channel = &mut self.channels[index as usize];
            channel.rule = self.settings.rule(&channel.key.app, &channel.key.channel).cloned();
            if channel.history().is_none() {
                self.forget_log(index);
            }
        }
    }

    /// Notes that a channel lost a member.
    fn note_vacancy(&mut self, index: u32, now: Now) {
        let channel = &mut self.channels[index as usize];
        if channel.is_vacant() && channel.vacant_since.is_none() {
            channel.vacant_since = Some(now.micros);
            self.vacant.push_back(index);
        }
    }

    fn answer(&mut self, slot: Slot, tag: &Tag, reply: Reply) {
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        if connection.closing.is_some() {
            return;
        }
        let Connection { endpoint, outbox, .. } = connection;
        endpoint.answer(tag, reply, outbox);
        self.mark_dirty(slot.index);
    }

    /// Tells a connection something that it did not ask for.
    pub fn notify(&mut self, slot: Slot, notice: &Notice) {
        if self.get(slot).is_none_or(|connection| connection.closing.is_some()) {
            return;
        }
        let marked = self.marked(slot.index, notice);
        let Connection { endpoint, outbox, .. } = self.connections[slot.index as usize].as_mut();
        endpoint.notify(marked.as_ref().unwrap_or(notice), outbox);
        self.mark_dirty(slot.index);
    }

    /// Takes a connection out of all its channels.
    fn leave_all(&mut self, index: u32, now: Now) {
        let subscriptions = std::mem::take(&mut self.connections[index as usize].subscriptions);
        for subscription in subscriptions {
            self.leave(index, subscription, now);
        }
    }

    /// Takes a connection out of one channel, its subscription being removed from its list already.
    fn leave(&mut self, index: u32, subscription: Subscription, now: Now) {
        let channel = &mut self.channels[subscription.channel as usize];
        match subscription.place {
            // The completion finds the subscription gone, and gives its place up.
            Place::Joining => channel.joining -= 1,
            Place::Catching => {
                channel.catching.retain(|catching| catching.connection != index);
                self.connections[index as usize].catching -= 1;
            }
            Place::Live(place) => {
                channel.live.swap_remove(place as usize);
                if let Some(&moved) = channel.live.get(place as usize)
                    && let Some(other) = self.connections[moved as usize].subscription(subscription.channel)
                {
                    other.place = Place::Live(place);
                }
                if channel.live.is_empty() {
                    channel.live = Vec::new();
                } else if channel.live.capacity() > 64 && channel.live.len() < channel.live.capacity() / 4 {
                    channel.live.shrink_to(channel.live.len() * 2);
                }
            }
        }
        if subscription.place != Place::Joining && !subscription.implicit {
            channel.counters.members.fetch_sub(1, Ordering::Relaxed);
        }
        if subscription.watching {
            channel.watchers.retain(|watcher| watcher.connection != index);
            self.forget_events(subscription.channel);
        }
        if subscription.present {
            let channel = &self.channels[subscription.channel as usize];
            let connection = &self.connections[index as usize];
            let id = connection.identity.connection.clone();
            let grace = channel.grace().filter(|_| connection.lost);
            let change = match grace {
                Some(grace) => PresenceChange::Linger { connection: id, until: now.unix_ms + grace.as_millis() as u64 },
                None => PresenceChange::Leave(id),
            };
            self.end_presence(&channel.key, change);
        }
        if subscription.place != Place::Joining && !subscription.implicit {
            self.tell_left(index, &self.channels[subscription.channel as usize].key);
        }
        let has_log = self.channels[subscription.channel as usize].history().is_some();
        self.connections[index as usize].may_repeat |= has_log;
        if matches!(subscription.place, Place::Live(_)) {
            self.note_own(index, Some(subscription.channel), Deed::Left, None);
        }
        self.note_vacancy(subscription.channel, now);
    }

    fn leave_presence(&self, key: &ChannelKey, connection: ConnectionId) {
        self.end_presence(key, PresenceChange::Leave(connection));
    }

    fn end_presence(&self, key: &ChannelKey, change: PresenceChange) {
        let left = self.hub.engine().presence(&key.app, &key.channel, change);
        if let Pending::Later(future) = left {
            self.hub.spawn(Box::pin(async move {
                // An engine that is away drops the entry when its lease ends.
                let _ = future.await;
            }));
        }
    }

    /// Runs `then` with the answer of a seam: at once, or when it is there, the connection being looked at no further
    /// meanwhile.
    fn when<R: Send + 'static>(
        &mut self,
        slot: Slot,
        pending: Pending<R>,
        then: impl FnOnce(R) -> Outcome + Send + 'static,
        now: Now,
    ) {
        if matches!(pending, Pending::Later(_))
            && let Some(connection) = self.get_mut(slot)
        {
            connection.blocking += 1;
        }
        self.await_outcome(slot, pending, then, Waiting::Blocked, now);
    }

    /// Like `when`, but the connection's own requests go on meanwhile.
    fn aside<R: Send + 'static>(
        &mut self,
        slot: Slot,
        pending: Pending<R>,
        then: impl FnOnce(R) -> Outcome + Send + 'static,
        now: Now,
    ) {
        self.await_outcome(slot, pending, then, Waiting::GoingOn, now);
    }

    fn await_outcome<R: Send + 'static>(
        &mut self,
        slot: Slot,
        pending: Pending<R>,
        then: impl FnOnce(R) -> Outcome + Send + 'static,
        waiting: Waiting,
        now: Now,
    ) {
        match pending {
            Pending::Ready(answer) => self.finish(slot, then(answer), now),
            Pending::Later(future) => {
                let inbox = self.inbox.clone();
                self.hub.spawn(Box::pin(async move {
                    let outcome = then(future.await);
                    inbox.post(Letter::Completed(Box::new(Completion { slot, outcome, waiting })));
                }));
            }
        }
    }

    /// Has [`Shard::next_dirty`] name the connection, because something was put into its outbox from outside.
    pub fn touch_connection(&mut self, slot: Slot) {
        if self.get(slot).is_some() {
            self.mark_dirty(slot.index);
        }
    }

    /// Gives a connection what members get alike in another form from now on; what waits for it is replaced.
    pub fn change_form(&mut self, slot: Slot, form: Form, mut rewrite: impl FnMut(Bytes) -> Bytes) {
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        let before = std::mem::replace(&mut connection.form, form);
        connection.outbox.rewrite(&mut rewrite);
        let counters = self.hub.counters().of(&self.connections[slot.index as usize].identity.app);
        counters.connections.of(before).fetch_sub(1, Ordering::Relaxed);
        counters.connections.of(form).fetch_add(1, Ordering::Relaxed);
        self.mark_dirty(slot.index);
    }

    /// The wire form that a connection gets its channels' messages in.
    pub fn form_of(&self, slot: Slot) -> Option<Form> {
        self.get(slot).map(|connection| connection.form)
    }
}

/// Whether a session whose connection ended so may be gone on with: one that its client left is over already.
fn may_come_back(reason: CloseReason) -> bool {
    is_lost(reason) || reason == CloseReason::Normal
}

/// Whether a client whose connection ended so did not mean to leave: it is expected back, and `grace` is for it.
fn is_lost(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Lost
        | CloseReason::HeartbeatTimeout
        | CloseReason::SlowConsumer
        | CloseReason::Drain
        | CloseReason::Internal => true,
        CloseReason::Normal
        | CloseReason::ProtocolError
        | CloseReason::InvalidMessage
        | CloseReason::InvalidText
        | CloseReason::TooLarge
        | CloseReason::AuthRequired
        | CloseReason::TokenExpired
        | CloseReason::Forbidden
        | CloseReason::TooManyRequests => false,
    }
}
