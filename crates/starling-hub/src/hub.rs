//! What all workers share: rules and limits, the engine, the routes from the engine to the workers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use arc_swap::ArcSwap;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_core::{
    Answer, AppId, Application, Backpressure, BoxFuture, ChannelName, ConnectionId, Control, Emission, Engine,
    EngineError, ErrorCode, Happening, HistoryPage, HistoryPolicy, HistoryRange, Limits, Message, MessageId, Observer,
    Pending, PresenceEntry, PresenceEvent, PresenceSnapshot, Publication, Publish, Published, Query, Refusal, Rule,
    RuleSet, Sink, UserId,
};

use crate::broadcast::Broadcast;
use crate::counters::Counters;
use crate::inbox::{Inbox, Letter};
use crate::interest::Interest;
use crate::limits::{Bucket, Now};
use crate::tally::Tally;

/// What may change while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Channel rules.
    pub rules: RuleSet,
    /// Limits of each connection.
    pub limits: Limits,
    /// What may wait for each connection.
    pub backpressure: Backpressure,
}

impl Settings {
    /// The rule that decides what a channel keeps, whoever asks.
    pub fn rule(&self, app: &AppId, channel: &ChannelName) -> Option<&Arc<Rule>> {
        self.rules.for_channel(app, channel.as_str())
    }
}

/// What a hub is made of.
pub struct HubOptions {
    /// The rules and limits to start with.
    pub settings: Settings,
    /// Logs, presence, and the other nodes.
    pub engine: Arc<dyn Engine>,
    /// The user's code; none: the rules decide alone.
    pub application: Option<Arc<dyn Application>>,
    /// One inbox for each worker, at most 64.
    pub inboxes: Vec<Arc<Inbox>>,
    /// Runs a future to its end, away from the workers.
    pub spawn: Box<dyn Fn(BoxFuture<()>) + Send + Sync>,
}

/// The shared half of the hub.
pub struct Hub {
    pub(crate) application: Option<Arc<dyn Application>>,
    settings: ArcSwap<Settings>,
    engine: Arc<dyn Engine>,
    router: Arc<Router>,
    counters: Counters,
    tally: Tally,
    over: AtomicBool,
    ids: MessageIds,
    spawn: Box<dyn Fn(BoxFuture<()>) + Send + Sync>,
    /// Only filled where such a limit is configured.
    users: Mutex<HashMap<(AppId, UserId), Bucket, RandomState>>,
    apps: Mutex<HashMap<AppId, Bucket, RandomState>>,
}

/// Where the engine delivers.
struct Router {
    interest: Interest,
    inboxes: Vec<Arc<Inbox>>,
    on_control: OnceLock<OnControl>,
    on_relayed: OnceLock<OnRelayed>,
    on_resync: OnceLock<Box<dyn Fn() + Send + Sync>>,
    observer: OnceLock<Arc<dyn Observer>>,
}

type OnRelayed = Box<dyn Fn(Bytes) -> Pending<Bytes> + Send + Sync>;
type OnControl = Box<dyn Fn(&AppId, &Control) + Send + Sync>;

impl Hub {
    /// Puts a hub together and attaches the engine to it.
    ///
    /// # Panics
    /// With more than 64 inboxes.
    pub fn new(options: HubOptions) -> Arc<Self> {
        assert!(options.inboxes.len() <= 64, "a hub has at most 64 workers");
        let router = Arc::new(Router {
            interest: Interest::new(),
            inboxes: options.inboxes,
            on_control: OnceLock::new(),
            on_relayed: OnceLock::new(),
            on_resync: OnceLock::new(),
            observer: OnceLock::new(),
        });
        options.engine.attach(router.clone());
        Arc::new(Self {
            application: options.application,
            settings: ArcSwap::from_pointee(options.settings),
            engine: options.engine,
            router,
            counters: Counters::default(),
            tally: Tally::default(),
            over: AtomicBool::new(false),
            ids: MessageIds::new(),
            spawn: options.spawn,
            users: Mutex::default(),
            apps: Mutex::default(),
        })
    }

    /// The rules and limits in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Puts other rules and limits in force. Members keep their memberships.
    pub fn reconfigure(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The user's code, if there is any.
    pub fn application(&self) -> Option<&Arc<dyn Application>> {
        self.application.as_ref()
    }

    /// Numbers for the operator.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The workers' inboxes.
    pub fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.router.inboxes
    }

    /// Has `f` called for each [`Control`] that reaches this node, before the workers learn of it. May be set once.
    pub fn on_control(&self, f: impl Fn(&AppId, &Control) + Send + Sync + 'static) {
        let _ = self.router.on_control.set(Box::new(f));
    }

    /// Has `f` called when the engine may have missed something for this node, orders of other nodes among it. May be
    /// set once.
    pub fn on_resync(&self, f: impl Fn() + Send + Sync + 'static) {
        let _ = self.router.on_resync.set(Box::new(f));
    }

    /// Has `observer` told what happens from now on. May be set once, before the first connection: members are only
    /// counted while somebody observes.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let _ = self.router.observer.set(observer);
    }

    /// Who is told what happens, if anybody is.
    pub fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.router.observer.get()
    }

    /// The server has ended: whoever still holds the hub has nobody to speak to.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether the server has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Has `f` answer what other nodes ask this one by [`Engine::relay`]. May be set once.
    pub fn on_relayed(&self, f: impl Fn(Bytes) -> Pending<Bytes> + Send + Sync + 'static) {
        let _ = self.router.on_relayed.set(Box::new(f));
    }

    /// Publishes on behalf of the server side: the HTTP API, a handler, a hook. Permissions are not asked, but a
    /// channel needs a rule (user channels do not).
    pub fn publish(
        &self,
        app: &AppId,
        publish: Publish,
        exclude: Option<ConnectionId>,
        unix_ms: u64,
    ) -> Pending<Result<Published, Refusal>> {
        self.publish_from(app, publish, None, exclude, unix_ms)
    }

    /// Publishes like [`Hub::publish`], in the name of a user.
    pub fn publish_from(
        &self,
        app: &AppId,
        publish: Publish,
        user: Option<UserId>,
        exclude: Option<ConnectionId>,
        unix_ms: u64,
    ) -> Pending<Result<Published, Refusal>> {
        let rule = self.rule(app, &publish.channel);
        if rule.is_none() && !publish.channel.is_reserved() {
            return Pending::Ready(Err(Refusal::no_rule()));
        }
        let counters = self.counters.of(app);
        let history = rule.and_then(|rule| rule.history);
        self.publish_as(app, publish, user, exclude, history, unix_ms).map(move |result| {
            if result.is_ok() {
                counters.published_by_server.fetch_add(1, Ordering::Relaxed);
            }
            result.map_err(Refusal::from)
        })
    }

    /// Carries out on this node what was ordered while it could not hear it.
    pub fn carry_out(&self, app: &AppId, control: Control) {
        self.router.control(app, control);
    }

    /// Tells one connection of this node something. `told` is called once by each worker, from its thread, with whether
    /// it has the connection.
    pub fn emit_here(
        &self,
        app: &AppId,
        connection: &ConnectionId,
        emission: &Emission,
        told: impl Fn(bool) + Send + Clone + 'static,
    ) {
        for inbox in &self.router.inboxes {
            let emission = Box::new(emission.clone());
            inbox.post(Letter::Emit(app.clone(), connection.clone(), emission, Box::new(told.clone())));
        }
    }

    pub(crate) fn publish_as(
        &self,
        app: &AppId,
        publish: Publish,
        user: Option<UserId>,
        exclude: Option<ConnectionId>,
        history: Option<HistoryPolicy>,
        unix_ms: u64,
    ) -> Pending<Result<Published, EngineError>> {
        let deduplicate = publish.message_id.is_some();
        let message = Message {
            app: app.clone(),
            channel: publish.channel,
            id: publish.message_id.unwrap_or_else(|| self.ids.next()),
            event: publish.event,
            payload: publish.payload,
            user,
            ts: unix_ms,
            position: None,
            key: publish.key,
            exclude,
        };
        self.engine.publish(Publication { message, history, deduplicate })
    }

    /// Reads a channel's log. A page ends early when its payloads reach [`MAX_PAGE_BYTES`]; it has at least one
    /// message if there is one.
    pub fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        range: HistoryRange,
        unix_ms: u64,
    ) -> Pending<Result<HistoryPage, Refusal>> {
        let policy = self.rule(app, channel).and_then(|rule| rule.history);
        match policy {
            Some(policy) => {
                let page = self.engine.history(app, channel, policy, range, unix_ms);
                page.map(move |page| page.map(|page| bounded(page, range)).map_err(Refusal::from))
            }
            None => Pending::Ready(Err(Refusal::new(ErrorCode::NoHistory, "the channel keeps no history"))),
        }
    }

    /// Lists who is present in a channel.
    pub fn members(&self, app: &AppId, channel: &ChannelName) -> Pending<Result<PresenceSnapshot, Refusal>> {
        if self.rule(app, channel).is_none_or(|rule| rule.presence.is_none()) {
            return Pending::Ready(Err(no_presence()));
        }
        self.engine.members(app, channel).map(|members| members.map_err(Refusal::from))
    }

    /// The rule that decides what a channel keeps.
    pub fn rule(&self, app: &AppId, channel: &ChannelName) -> Option<Arc<Rule>> {
        self.settings.load().rule(app, channel).cloned()
    }

    /// Asks every worker of this node; `answer` is called once for each, from its thread.
    pub fn ask_workers(
        &self,
        app: &AppId,
        query: &Query,
        answer: impl Fn(starling_core::Answer) + Send + Clone + 'static,
    ) {
        for inbox in &self.router.inboxes {
            inbox.post(Letter::Query(app.clone(), query.clone(), Box::new(answer.clone())));
        }
    }

    /// Whether this node's budget for the user and the app has a token left; takes it.
    pub(crate) fn take_shared_tokens(&self, limits: &Limits, app: &AppId, user: Option<&UserId>, now: Now) -> bool {
        let rate = limits.per_app_messages_per_second;
        if rate > 0 && !self.apps.lock().entry(app.clone()).or_default().take(now, rate, rate) {
            return false;
        }
        let rate = limits.per_user_messages_per_second;
        match user {
            Some(user) if rate > 0 => {
                let key = (app.clone(), user.clone());
                self.users.lock().entry(key).or_default().take(now, rate, rate)
            }
            _ => true,
        }
    }

    /// Whether a message of this user, that comes without a connection, is within the limits of one connection.
    pub fn take_user_token(&self, app: &AppId, user: &UserId, now: Now) -> bool {
        let limits = &self.settings.load().limits;
        // A prefix that no user id has keeps these buckets apart from those of the line above.
        let key = (app.clone(), UserId::new(format!("\0{user}")));
        let taken = self.users.lock().entry(key).or_default().take(now, limits.messages_per_second, limits.burst);
        taken && self.take_shared_tokens(limits, app, Some(user), now)
    }

    /// Forgets what has expired. Call it about once a second.
    pub fn sweep(&self, now: Now) {
        self.engine.sweep(now.unix_ms);
        let mut users = self.users.lock();
        users.retain(|_, bucket| !bucket.is_full(now));
        if users.capacity() > 64 && users.len() < users.capacity() / 4 {
            users.shrink_to_fit();
        }
    }

    pub(crate) fn spawn(&self, future: BoxFuture<()>) {
        (self.spawn)(future);
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn interest(&self) -> &Interest {
        &self.router.interest
    }
}

/// Payload bytes of one page of history: what a client asks for with one small message stays a bounded answer.
pub const MAX_PAGE_BYTES: usize = 1 << 20;

/// Leaves out what is beyond [`MAX_PAGE_BYTES`], at the end that the reader comes to last.
fn bounded(mut page: HistoryPage, range: HistoryRange) -> HistoryPage {
    let mut left = MAX_PAGE_BYTES;
    let mut fits = |message: &Arc<Message>| {
        let fits = message.payload.len() <= left || left == MAX_PAGE_BYTES;
        left = left.saturating_sub(message.payload.len());
        fits
    };
    if range.after.is_some() {
        let count = page.messages.iter().take_while(|message| fits(message)).count();
        page.messages.truncate(count);
    } else {
        let count = page.messages.iter().rev().take_while(|message| fits(message)).count();
        page.messages.drain(..page.messages.len() - count);
    }
    page
}

pub(crate) fn no_presence() -> Refusal {
    Refusal::new(ErrorCode::NoPresence, "the channel has no presence")
}

impl Sink for Router {
    fn message(&self, message: Arc<Message>) {
        let mut workers = self.interest.workers(&message.app, &message.channel);
        if workers == 0 {
            return;
        }
        let broadcast = Arc::new(Broadcast::new(message));
        while workers != 0 {
            self.inboxes[workers.trailing_zeros() as usize].post(Letter::Message(broadcast.clone()));
            workers &= workers - 1;
        }
    }

    fn presence(&self, event: PresenceEvent) {
        if event.ours
            && let Some(observer) = self.observer.get()
        {
            tell_users(&**observer, &event);
        }
        let mut workers = self.interest.workers(&event.app, &event.channel);
        if workers == 0 {
            return;
        }
        let event = Arc::new(event);
        while workers != 0 {
            self.inboxes[workers.trailing_zeros() as usize].post(Letter::Presence(event.clone()));
            workers &= workers - 1;
        }
    }

    fn control(&self, app: &AppId, control: Control) {
        if let Some(on_control) = self.on_control.get() {
            on_control(app, &control);
        }
        for inbox in &self.inboxes {
            inbox.post(Letter::Control(app.clone(), control.clone()));
        }
    }

    fn relayed(&self, request: Bytes) -> Pending<Bytes> {
        match self.on_relayed.get() {
            Some(on_relayed) => on_relayed(request),
            None => Pending::Ready(Bytes::new()),
        }
    }

    fn surveyed(&self, app: &AppId, query: Query) -> Pending<Vec<Answer>> {
        ask(&self.inboxes, app, &query)
    }

    fn resync(&self) {
        if let Some(on_resync) = self.on_resync.get() {
            on_resync();
        }
        for inbox in &self.inboxes {
            inbox.post(Letter::Resync);
        }
    }
}

/// Tells of users who came or went with a change that this node made.
fn tell_users(observer: &dyn Observer, event: &PresenceEvent) {
    let PresenceEvent { app, channel, diff, .. } = event;
    if channel.is_reserved() {
        return;
    }
    for user in &diff.users_out {
        let last = |entry: &&PresenceEntry| entry.user.as_ref() == Some(user);
        // One who entered again as somebody else is not among the leaves.
        if let Some(entry) = diff.leaves.iter().chain(&diff.replaced).find(last) {
            observer.observe(Happening::MemberRemoved(app, channel, entry));
        }
    }
    for user in &diff.users_in {
        if let Some(entry) = diff.joins.iter().find(|entry| entry.user.as_ref() == Some(user)) {
            observer.observe(Happening::MemberAdded(app, channel, entry));
        }
    }
}

/// Asks every worker of this node, and waits for all of their answers.
fn ask(inboxes: &[Arc<Inbox>], app: &AppId, query: &Query) -> Pending<Vec<Answer>> {
    let gathered: Arc<Mutex<Gathered>> = Arc::default();
    for inbox in inboxes {
        let gathered = gathered.clone();
        let answer = move |answer| {
            let mut gathered = gathered.lock();
            gathered.answers.push(answer);
            if let Some(waker) = gathered.waker.take() {
                waker.wake();
            }
        };
        inbox.post(Letter::Query(app.clone(), query.clone(), Box::new(answer)));
    }
    let expected = inboxes.len();
    Pending::later(std::future::poll_fn(move |context| {
        let mut gathered = gathered.lock();
        if gathered.answers.len() >= expected {
            return Poll::Ready(std::mem::take(&mut gathered.answers));
        }
        gathered.waker = Some(context.waker().clone());
        Poll::Pending
    }))
}

#[derive(Default)]
struct Gathered {
    answers: Vec<Answer>,
    waker: Option<Waker>,
}

/// Ids for messages whose publisher chose none: a random word for this process, and a count.
struct MessageIds {
    prefix: String,
    count: AtomicU64,
}

impl MessageIds {
    fn new() -> Self {
        let mut random = [0; 5];
        getrandom::fill(&mut random).expect("the system has random numbers");
        Self { prefix: random.iter().map(|byte| format!("{byte:02x}")).collect(), count: AtomicU64::new(0) }
    }

    fn next(&self) -> MessageId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        MessageId::new(format!("{}-{count:x}", self.prefix))
    }
}
