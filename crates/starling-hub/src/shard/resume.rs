//! Sessions that lost their transport: kept for a while, and gone on with, if it can be shown that nothing is missing.
//!
//! A session lives on the worker that lost it, whose [`Journal`](crate::journal::Journal) tells what its client may not
//! have got. Its channels must keep history, so that what it missed can be read; the channel of its user does not, and
//! a message there ends it, as does any act of the server side that it would have been told of.

use std::time::Duration;

use starling_core::{
    AppId, Control, Effects, EngineError, Enter, Epoch, HistoryPage, HistoryRange, Position, Refusal, Resume, Start,
    Subscribe, Target, UserId,
};

use super::requests::Asker;
use super::*;
use crate::journal::{Deed, EVERYBODY, Note, Room, resolve};

/// Lost sessions that one worker keeps; further ones cannot be resumed.
const LOST_SESSIONS: usize = 10_000;

/// A scope that a connection is in.
#[derive(Debug)]
pub(crate) struct InScope {
    pub scope: Option<ChannelName>,
    /// The connection's names there; the first is what the client knows.
    pub ids: SmallVec<[ConnectionId; 1]>,
    /// The name by which the session can be resumed.
    pub session: Option<Box<str>>,
}

/// A session whose transport is gone.
pub(crate) struct Lost {
    app: AppId,
    user: Option<UserId>,
    scope: Option<ChannelName>,
    ids: SmallVec<[ConnectionId; 1]>,
    rooms: Vec<Room>,
    trail: Vec<Note>,
    may_repeat: bool,
    /// Its user's channel, which is kept in the table meanwhile.
    held: Option<u32>,
    /// In Unix milliseconds.
    until: u64,
}

/// Who wants to go on with which session.
pub struct Seek {
    app: AppId,
    user: Option<UserId>,
    scope: Option<ChannelName>,
    resume: Resume,
    /// Workers that were asked and do not have it. It is lost where it was last, which need not be where it began.
    asked: usize,
}

/// A request to enter that waits for the session that it goes on with.
pub struct Entering {
    pub(crate) slot: Slot,
    pub(crate) tag: Tag,
    pub(crate) enter: Box<Enter>,
    pub(crate) effects: Effects,
}

/// A session that can be gone on with.
pub(crate) struct Found {
    ids: SmallVec<[ConnectionId; 1]>,
    session: Box<str>,
    rooms: Vec<Room>,
}

impl<T: Endpoint> Shard<T> {
    /// Keeps sessions that lose their transport for so long. Zero, as it is at first: not at all.
    pub fn keep_sessions(&mut self, window: Duration) {
        self.window_ms = window.as_millis() as u64;
    }

    /// A heartbeat was written to a connection.
    pub fn heartbeat_sent(&mut self, slot: Slot) {
        let next = self.journal.next();
        if let Some(connection) = self.get_mut(slot) {
            connection.asked = next;
        }
    }

    /// The client has what was written before the last heartbeat.
    pub(super) fn confirm(&mut self, slot: Slot) {
        if let Some(connection) = self.get_mut(slot) {
            connection.confirmed = connection.asked;
        }
    }

    /// Notes what is given to one connection.
    pub(super) fn note_own(&mut self, connection: u32, channel: Option<u32>, deed: Deed, epoch: Option<Epoch>) {
        if !self.connections[connection as usize].watched {
            return;
        }
        let channel = channel.map_or(EVERYBODY, |index| self.channels[index as usize].number);
        self.journal.note(Note { channel, connection, epoch, deed });
    }

    /// Notes an event for one connection, and gives it the mark by which its client can tell that it got it. One that
    /// wants an answer has none: the official clients look for it in the last place, where such an event has its ack.
    pub(super) fn marked(&mut self, connection: u32, notice: &Notice) -> Option<Notice> {
        let Notice::Event { channel, event, payload, ack, .. } = notice else { return None };
        if !self.connections[connection as usize].watched {
            return None;
        }
        if ack.is_some() {
            self.note_own(connection, None, Deed::Told, None);
            return None;
        }
        let mark = Position { epoch: Epoch::new(format!("~{:x}", self.worker)), offset: self.journal.next() };
        self.note_own(connection, None, Deed::Marked(mark.offset), Some(mark.epoch.clone()));
        let (channel, event, payload) = (channel.clone(), event.clone(), payload.clone());
        Some(Notice::Event { channel, event, payload, ack: None, mark: Some(mark) })
    }

    /// Notes what is given to everybody in a channel.
    pub(super) fn note_spread(&mut self, index: u32, messages: &[Arc<crate::broadcast::Broadcast>]) {
        let channel = &self.channels[index as usize];
        let number = channel.number;
        let user = channel.key.channel.user().map(UserId::from);
        if let Some(user) = user
            && !self.lost.is_empty()
        {
            let app = channel.key.app.clone();
            self.give_up_lost(|lost| lost.app == app && lost.user.as_ref() == Some(&user) && lost.scope.is_none());
        }
        if !self.journal.is_kept() {
            return;
        }
        let mut notes: SmallVec<[Note; 1]> = SmallVec::new();
        for broadcast in messages {
            let Some(position) = &broadcast.message.position else {
                notes.push(Note { channel: number, connection: EVERYBODY, epoch: None, deed: Deed::Told });
                continue;
            };
            match notes.last_mut() {
                Some(Note { epoch: Some(epoch), deed: Deed::Given(_, to), .. }) if *epoch == position.epoch => {
                    *to = position.offset;
                }
                _ => notes.push(Note {
                    channel: number,
                    connection: EVERYBODY,
                    epoch: Some(position.epoch.clone()),
                    deed: Deed::Given(position.offset, position.offset),
                }),
            }
        }
        notes.into_iter().for_each(|note| self.journal.note(note));
    }

    /// A connection ends, or at least this part of it: its names are forgotten, and where it did not mean to go, what
    /// could be gone on with is kept.
    pub(super) fn leave_scopes(&mut self, index: u32, is_kept: bool, now: Now) {
        let scopes = std::mem::take(&mut self.connections[index as usize].scopes);
        for scope in scopes {
            if is_kept {
                self.keep(index, &scope, now);
            }
            self.forget_names(index, &scope);
        }
        let connection = &mut self.connections[index as usize];
        if std::mem::take(&mut connection.watched) {
            self.journal.unwatch();
        }
    }

    pub(super) fn forget_names(&mut self, index: u32, scope: &InScope) {
        let own = self.connections[index as usize].identity.connection.clone();
        for id in scope.ids.iter().filter(|id| **id != own) {
            self.forget_id(id, index);
        }
    }

    fn keep(&mut self, index: u32, scope: &InScope, now: Now) {
        let Some(session) = &scope.session else { return };
        if self.lost.len() >= LOST_SESSIONS {
            return;
        }
        let connection = &self.connections[index as usize];
        let mut rooms = Vec::new();
        let mut numbers = Vec::new();
        let mut users = None;
        for subscription in &connection.subscriptions {
            let channel = &self.channels[subscription.channel as usize];
            if subscription.implicit {
                if scope.scope.is_none() {
                    users = Some(subscription.channel);
                    numbers.push(channel.number);
                }
                continue;
            }
            if channel.key.channel.scope() != scope.scope.as_ref().map(ChannelName::as_str) {
                continue;
            }
            let (position, live) = match subscription.place {
                // It was not answered yet: the client will ask again.
                Place::Joining => continue,
                Place::Live(_) => (channel.cursor.clone(), true),
                Place::Catching => {
                    let reading = channel.catching.iter().find(|entry| entry.connection == index);
                    (reading.map(|entry| entry.position.clone()), false)
                }
            };
            // Without a log, what it misses is lost.
            let Some(position) = position.filter(|_| channel.history().is_some()) else { return };
            numbers.push(channel.number);
            let watching = subscription.watching;
            rooms.push(Room { channel: channel.key.channel.clone(), number: channel.number, position, live, watching });
        }
        let Some(trail) = self.journal.trail(index, connection.confirmed, &numbers) else { return };
        let own = &connection.identity.connection;
        let mut ids: SmallVec<[ConnectionId; 1]> = scope.ids.iter().take(1).cloned().collect();
        // Messages that were not to reach this connection name it so.
        if ids.first() != Some(own) {
            ids.push(own.clone());
        }
        let lost = Lost {
            app: connection.identity.app.clone(),
            user: connection.identity.user.clone(),
            scope: scope.scope.clone(),
            ids,
            rooms,
            trail,
            may_repeat: connection.may_repeat,
            held: users,
            until: now.unix_ms + self.window_ms,
        };
        if let Some(users) = users {
            self.channels[users as usize].joining += 1;
        }
        if let Some(before) = self.lost.insert(session.clone(), lost) {
            self.release(&before);
        }
    }

    fn release(&mut self, lost: &Lost) {
        if let Some(index) = lost.held {
            let channel = &mut self.channels[index as usize];
            channel.joining -= 1;
            if channel.is_vacant() && channel.vacant_since.is_none() {
                // Looked at, and given up, with the next tick.
                channel.vacant_since = Some(0);
                self.vacant.push_back(index);
            }
        }
    }

    fn give_up_lost(&mut self, is_over: impl Fn(&Lost) -> bool) {
        let over: Vec<Lost> = self.lost.extract_if(|_, lost| is_over(lost)).map(|(_, lost)| lost).collect();
        over.iter().for_each(|lost| self.release(lost));
    }

    /// Forgets the sessions whose time is over.
    pub(super) fn expire_lost(&mut self, now: Now) {
        if !self.lost.is_empty() {
            self.give_up_lost(|lost| lost.until <= now.unix_ms);
        } else if self.lost.capacity() > 0 {
            self.lost.shrink_to_fit();
        }
    }

    /// An act of the server side that a lost session would have been told of: it cannot go on as if nothing had been.
    pub(super) fn spoil_lost(&mut self, app: &AppId, control: &Control) {
        if self.lost.is_empty() {
            return;
        }
        match control {
            Control::Disconnect { target }
            | Control::Subscribe { target, .. }
            | Control::Unsubscribe { target, .. }
            | Control::Emit { target, .. } => self.give_up_lost(|lost| lost.app == *app && lost.is_meant(target)),
            Control::Revoke { user, .. } => {
                self.give_up_lost(|lost| lost.app == *app && lost.user.as_ref() == Some(user));
            }
            Control::HistoryCleared { .. } => {}
        }
    }

    /// A connection may enter; if it wants to go on with a session, that is looked for first.
    pub(super) fn enter_or_resume(&mut self, entering: Entering, now: Now) {
        let Some(connection) = self.get(entering.slot) else { return };
        let Some(resume) = entering.enter.resume.clone().filter(|_| self.window_ms > 0) else {
            return self.enter_as(entering, None, now);
        };
        let seek = Seek {
            app: connection.identity.app.clone(),
            user: connection.identity.user.clone(),
            scope: entering.enter.scope.clone(),
            resume,
            asked: 0,
        };
        match owner(&seek.resume.session).filter(|worker| *worker < self.hub.inboxes().len()) {
            Some(worker) if worker == self.worker && self.lost.contains_key(&seek.resume.session) => {
                self.deliver(now);
                let found = self.take_lost(&seek, now);
                self.found(entering, found, now);
            }
            Some(worker) => {
                self.connections[entering.slot.index as usize].blocking += 1;
                let from = self.worker;
                self.hub.inboxes()[worker].post(Letter::Seek(Box::new((seek, entering, from))));
            }
            None => self.enter_as(entering, None, now),
        }
    }

    /// Another worker looks for a session that this one may have.
    pub(super) fn answer_seek(&mut self, mut seek: Seek, entering: Entering, from: usize, now: Now) {
        let workers = self.hub.inboxes().len();
        seek.asked += 1;
        if seek.asked < workers && !self.lost.contains_key(&seek.resume.session) {
            let next = (self.worker + 1) % workers;
            return self.hub.inboxes()[next].post(Letter::Seek(Box::new((seek, entering, from))));
        }
        let found = self.take_lost(&seek, now);
        let slot = entering.slot;
        let outcome = Outcome::Found(Box::new((entering, found)));
        let completion = Completion { slot, outcome, waiting: Waiting::Blocked };
        self.hub.inboxes()[from].post(Letter::Completed(Box::new(completion)));
    }

    fn take_lost(&mut self, seek: &Seek, now: Now) -> Option<Found> {
        let session = &seek.resume.session;
        let lost = self.lost.get(session)?;
        // Somebody else's stays for its owner.
        if lost.app != seek.app || lost.user != seek.user || lost.scope != seek.scope || lost.until <= now.unix_ms {
            return None;
        }
        let lost = self.lost.remove(session)?;
        let always = lost.held.map(|index| self.channels[index as usize].number);
        self.release(&lost);
        let after = seek.resume.after.as_deref();
        let mut rooms = resolve(&lost.rooms, always, &lost.trail, after, lost.may_repeat)?;
        rooms.sort_by(|one, other| one.channel.cmp(&other.channel));
        Some(Found { ids: lost.ids, session: session.clone(), rooms })
    }

    pub(super) fn found(&mut self, entering: Entering, found: Option<Found>, now: Now) {
        let slot = entering.slot;
        if self.get(slot).is_none_or(|connection| connection.closing.is_some()) {
            return;
        }
        let may_all = |found: &Found| found.rooms.iter().all(|room| self.may_subscribe(slot, &room.channel).is_ok());
        let Some(found) = found.filter(may_all) else {
            return self.enter_as(entering, None, now);
        };
        let whole = self.is_whole(slot, &found.rooms, now);
        self.when(slot, whole, |whole| Outcome::Resumable(Box::new((entering, found, whole))), now);
    }

    pub(super) fn resumable(&mut self, entering: Entering, found: Found, whole: bool, now: Now) {
        self.enter_as(entering, whole.then_some(found), now);
    }

    /// Whether the logs still have everything that follows.
    fn is_whole(&self, slot: Slot, rooms: &[Room], now: Now) -> Pending<bool> {
        let app = &self.connections[slot.index as usize].identity.app;
        let mut later = Vec::new();
        for room in rooms {
            let Some(policy) = self.settings.rule(app, &room.channel).and_then(|rule| rule.history) else {
                return Pending::Ready(false);
            };
            let position = room.position.clone();
            let range = HistoryRange { limit: 1, before: None, after: Some(position.offset) };
            match self.hub.engine().history(app, &room.channel, policy, range, now.unix_ms) {
                Pending::Ready(page) if follows(&page, &position) => {}
                Pending::Ready(_) => return Pending::Ready(false),
                Pending::Later(page) => later.push((page, position)),
            }
        }
        if later.is_empty() {
            return Pending::Ready(true);
        }
        Pending::later(async move {
            for (page, position) in later {
                if !follows(&page.await, &position) {
                    return false;
                }
            }
            true
        })
    }

    /// The connection is in the scope, with the session that it goes on with or a new one.
    fn enter_as(&mut self, entering: Entering, found: Option<Found>, now: Now) {
        let Entering { slot, tag, enter, effects } = entering;
        let next = self.journal.next();
        let (worker, is_kept) = (self.worker, self.window_ms > 0);
        let Some(connection) = self.get_mut(slot).filter(|connection| connection.closing.is_none()) else { return };
        let own = connection.identity.connection.clone();
        // With a position of an earlier session, a message that is read again proves nothing.
        connection.may_repeat |= found.is_none() && enter.resume.is_some();
        let recovered = found.is_some();
        let (ids, session, rooms) = match found {
            Some(found) => (found.ids, Some(found.session), found.rooms),
            None => {
                let is_taken = connection.scopes.iter().any(|scope| scope.ids.first() == Some(&own));
                let id = if is_taken { ConnectionId::new(random_name()) } else { own.clone() };
                let session = is_kept.then(|| format!("{worker:x}.{}", random_name()).into_boxed_str());
                (SmallVec::from_iter([id]), session, Vec::new())
            }
        };
        let id = ids[0].clone();
        let begins = session.is_some() && !connection.watched;
        if begins {
            connection.watched = true;
            (connection.asked, connection.confirmed) = (next, next);
        }
        connection.scopes.push(InScope { scope: enter.scope, ids: ids.clone(), session: session.clone() });
        for alias in ids.into_iter().filter(|id| *id != own) {
            self.by_id.insert(alias, slot.index);
        }
        if begins {
            self.journal.watch();
        }
        self.answer(slot, &tag, Reply::Entered { id, session, recovered });
        for room in rooms {
            let start = Start::Recover(room.position);
            let subscribe = Subscribe { start, presence: room.watching, ..Subscribe::live(room.channel) };
            self.subscribe(slot, Asker::Server, subscribe, now);
        }
        self.apply(slot, effects, now);
    }

    /// A request to enter was decided.
    pub(super) fn enter_decided(
        &mut self,
        slot: Slot,
        tag: Tag,
        enter: Box<Enter>,
        result: Result<Effects, Refusal>,
        now: Now,
    ) {
        match result {
            Ok(effects) => self.enter_or_resume(Entering { slot, tag, enter, effects }, now),
            Err(refusal) => {
                let reply = Reply::Refused { refusal, channel: enter.scope };
                self.answer(slot, &tag, reply);
            }
        }
    }
}

impl Lost {
    fn is_meant(&self, target: &Target) -> bool {
        match target {
            Target::Connection(id) => self.ids.contains(id),
            Target::User(user) => self.user.as_ref() == Some(user),
            Target::Members { of, .. } => self.rooms.iter().any(|room| of.contains(&room.channel)),
        }
    }
}

/// Which worker gave a session its name.
fn owner(session: &str) -> Option<usize> {
    usize::from_str_radix(session.split_once('.')?.0, 16).ok()
}

fn follows(page: &Result<HistoryPage, EngineError>, position: &starling_core::Position) -> bool {
    page.as_ref().is_ok_and(|page| {
        position.epoch == page.head.epoch && position.offset <= page.head.offset && position.offset + 1 >= page.oldest
    })
}

/// A name that nobody can guess.
fn random_name() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
