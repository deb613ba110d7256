//! A hub without sockets: connections whose every line a test can read, workers that turn when the test says so, and
//! a clock that the test moves.
//!
//! What a connection receives is lines of text:
//!
//! ```text
//! #1 subscribed room a:5 recovered      the answer to the request with tag 1; epochs are named a, b, … as they appear
//! #2 refused FORBIDDEN
//! room a:6 hello                        a message with its position, or `-`
//! gap room 3                            a notice
//! diff room +c1{} -c2{}                 a difference of presence
//! close slow_consumer                   the good-bye
//! ```

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::{
    Access, AppId, Application, Backpressure, ChannelName, CloseReason, ConnectionId, Delivery, Engine, Epoch, Form,
    HistoryPolicy, HistoryRange, Limits, Message, MessageId, Notice, Outgoing, Pattern, Payload, Position,
    PresenceAction, PresenceChange, PresenceEntry, PresencePolicy, Protocol, Publish, PublishAccess, RawJson, Reply,
    Request, Rule, RuleSet, Start, Subscribe, Tag, UserId,
};
use starling_hub::{
    Encoder, Endpoint, Grants, Hub, HubOptions, Identity, Inbox, MemoryEngine, Now, Outbox, Settings, Shard, Slot,
};
use starling_testkit::{RemoteEngine, Tasks};

pub const APP: &str = "1";

/// Writes lines of text.
pub struct Lines(pub Form);

pub struct LineEncoder;

impl Encoder for LineEncoder {
    fn encode(&mut self, form: Form, outgoing: &Outgoing<'_>) -> Bytes {
        let text = match outgoing {
            Outgoing::Message(message) => message_line(message),
            Outgoing::PresenceDiff(channel, diff) => {
                let joins = entries(&diff.joins).map(|entry| format!(" +{entry}"));
                let leaves = entries(&diff.leaves).map(|entry| format!(" -{entry}"));
                let changes: String = joins.chain(leaves).collect();
                format!("diff {channel}{changes}")
            }
        };
        line(form, &text)
    }
}

fn line(form: Form, text: &str) -> Bytes {
    // Lines of another form than 0 are marked.
    let mark = if form.0 == 0 { "" } else { "~" };
    Bytes::from(format!("{mark}{text}\n"))
}

fn entries(list: &[PresenceEntry]) -> impl Iterator<Item = String> {
    let mut list: Vec<_> = list.iter().map(|entry| format!("{}{}", entry.connection, entry.data.as_str())).collect();
    list.sort();
    list.into_iter()
}

fn at(position: &Option<Position>) -> String {
    position.as_ref().map_or("-".into(), |position| format!("<{}>:{}", position.epoch, position.offset))
}

fn text_of(payload: &Payload) -> String {
    match payload {
        Payload::Json(json) => json.as_str().trim_matches('"').to_owned(),
        Payload::Binary(bytes) => format!("{bytes:?}"),
    }
}

fn message_line(message: &Message) -> String {
    format!("{} {} {}", message.channel, at(&message.position), text_of(&message.payload))
}

impl Endpoint for Lines {
    fn form(&self) -> Form {
        self.0
    }

    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Outbox) {
        let text = match reply {
            Reply::Subscribed { channel, position, recovered, response, follows: _ } => {
                let recovered = match recovered {
                    None => "",
                    Some(true) => " recovered",
                    Some(false) => " lost",
                };
                let response = response.map_or(String::new(), |r| format!(" {}", text_of(&r)));
                format!("subscribed {channel} {}{recovered}{response}", at(&position))
            }
            Reply::Unsubscribed { channel } => format!("unsubscribed {channel}"),
            Reply::Published { position, .. } => format!("published {}", at(&position)),
            Reply::History(page) => {
                let texts: Vec<_> = page.messages.iter().map(|message| text_of(&message.payload)).collect();
                format!("history {} [{}]", at(&Some(page.head)), texts.join(" "))
            }
            Reply::Members(members) => {
                let members: Vec<_> = entries(&members).collect();
                format!("members [{}]", members.join(" "))
            }
            Reply::Done => "done".into(),
            Reply::Unanswered => "unanswered".into(),
            Reply::Event(payload) => {
                format!("event {}", payload.map_or("-".into(), |p| text_of(&p)))
            }
            Reply::Refused { refusal, .. } => format!("refused {}", refusal.code),
            Reply::Entered { recovered, .. } => format!("entered{}", if recovered { " again" } else { "" }),
            Reply::Authenticated { .. } => "authenticated".into(),
        };
        let tag = String::from_utf8_lossy(&tag.0);
        out.push(line(self.0, &format!("#{tag} {text}")));
    }

    fn notify(&mut self, notice: &Notice, out: &mut Outbox) {
        let text = match notice {
            Notice::Event { event, payload, .. } => format!("event {event} {payload:?}"),
            Notice::Gap { channel, missed } => format!("gap {channel} {missed}"),
            Notice::Unsubscribed { channel, refusal } => {
                format!("unsubscribed {channel} {}", refusal.code)
            }
            Notice::Subscribed { channel, position } => {
                format!("subscribed {channel} {}", at(position))
            }
            Notice::PresenceState { channel, members } => {
                let members: Vec<_> = entries(members).collect();
                format!("present {channel} [{}]", members.join(" "))
            }
            Notice::Drain { .. } => "drain".into(),
            Notice::Error { refusal } => format!("error {}", refusal.code),
        };
        out.push(line(self.0, &text));
    }

    fn close(&mut self, reason: CloseReason, out: &mut Outbox) {
        out.push(line(self.0, &format!("close {}", reason.as_str())));
    }
}

/// A connection of the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub usize);

/// The far end of a connection.
pub struct Far {
    pub worker: usize,
    pub slot: Slot,
    /// Bytes that its socket still takes; `None`: any number.
    pub room: Option<usize>,
    pub received: Vec<u8>,
    pub gone: bool,
}

pub struct Rig {
    pub hub: Arc<Hub>,
    pub shards: Vec<Shard<Lines>>,
    pub now: Now,
    pub tasks: Arc<Tasks>,
    pub clients: Vec<Far>,
    pub tags: u32,
    epochs: Vec<String>,
}

/// What a hub is tried with.
pub struct Setup {
    pub rules: Vec<Rule>,
    pub workers: usize,
    pub limits: Limits,
    pub backpressure: Backpressure,
    pub application: Option<Arc<dyn Application>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rules: vec![open("*")],
            workers: 1,
            limits: Limits::default(),
            backpressure: Backpressure::default(),
            application: None,
        }
    }
}

/// A rule that lets everybody do everything, without history and presence.
pub fn open(pattern: &str) -> Rule {
    Rule { subscribe: Access::Anyone, publish: PublishAccess::Anyone, ..Rule::new(Pattern::parse(pattern).unwrap()) }
}

/// The same, with history of this many messages for an hour.
pub fn kept(pattern: &str, size: usize) -> Rule {
    Rule { history: Some(HistoryPolicy { size, ttl: Duration::from_secs(3600) }), ..open(pattern) }
}

/// The same, with presence and no history.
pub fn attended(pattern: &str) -> Rule {
    Rule { presence: Some(PresencePolicy::default()), ..open(pattern) }
}

pub fn with_delivery(rule: Rule, delivery: Delivery) -> Rule {
    Rule { delivery, ..rule }
}

pub fn name(channel: &str) -> ChannelName {
    ChannelName::parse(channel).unwrap()
}

pub fn app() -> AppId {
    AppId::from(APP)
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        Self::over(Arc::new(MemoryEngine::new(Duration::from_secs(120))), setup)
    }

    /// One worker, and these rules.
    pub fn ruled(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::new(Setup { rules: rules.into_iter().collect(), ..Setup::default() })
    }

    /// Over a remote engine.
    pub fn remote(rules: impl IntoIterator<Item = Rule>) -> (Self, Arc<RemoteEngine>) {
        let engine = RemoteEngine::new();
        let setup = Setup { rules: rules.into_iter().collect(), ..Setup::default() };
        (Self::over(engine.clone(), setup), engine)
    }

    pub fn over(engine: Arc<dyn Engine>, setup: Setup) -> Self {
        let tasks = Arc::new(Tasks::default());
        let spawner = tasks.clone();
        let hub = Hub::new(HubOptions {
            settings: Settings {
                rules: RuleSet::new(setup.rules),
                limits: setup.limits,
                backpressure: setup.backpressure,
            },
            engine,
            application: setup.application,
            inboxes: (0..setup.workers).map(|_| Arc::new(Inbox::new(|| ()))).collect(),
            spawn: Box::new(move |future| spawner.spawn(future)),
        });
        let shards = (0..setup.workers).map(|worker| Shard::new(hub.clone(), worker, Box::new(LineEncoder))).collect();
        Self {
            hub,
            shards,
            now: Now { micros: 1_000_000, unix_ms: 1_700_000_000_000 },
            tasks,
            clients: Vec::new(),
            tags: 0,
            epochs: Vec::new(),
        }
    }

    /// An anonymous connection on the first worker.
    pub fn anonymous(&mut self) -> Client {
        self.connect(0, None, None)
    }

    /// A connection of a user on the first worker.
    pub fn user(&mut self, user: &str) -> Client {
        self.connect(0, Some(user), None)
    }

    pub fn connect(&mut self, worker: usize, user: Option<&str>, grants: Option<Grants>) -> Client {
        let id = format!("c{}", self.clients.len() + 1);
        self.connect_as(&id, worker, user, grants)
    }

    pub fn connect_as(&mut self, id: &str, worker: usize, user: Option<&str>, grants: Option<Grants>) -> Client {
        self.place(id, worker, user, grants, false)
    }

    /// A connection that comes for one request.
    pub fn quiet(&mut self, user: &str) -> Client {
        let id = format!("c{}", self.clients.len() + 1);
        self.place(&id, 0, Some(user), None, true)
    }

    fn place(&mut self, id: &str, worker: usize, user: Option<&str>, grants: Option<Grants>, is_quiet: bool) -> Client {
        let identity = Identity {
            app: app(),
            connection: ConnectionId::from(id),
            protocol: Protocol("native"),
            user: None,
            grants: None,
            connected_at: self.now.unix_ms,
            query: None,
        };
        let shard = &mut self.shards[worker];
        let slot = shard.open(identity.clone(), Lines(Form(0)));
        if is_quiet {
            shard.keep_quiet(slot);
        }
        let admitted = Identity { user: user.map(UserId::from), grants: grants.map(Box::new), ..identity };
        shard.admit(slot, admitted, self.now);
        self.clients.push(Far { worker, slot, room: None, received: Vec::new(), gone: false });
        Client(self.clients.len() - 1)
    }

    pub fn shard_of(&mut self, client: Client) -> (&mut Shard<Lines>, Slot) {
        let far = &self.clients[client.0];
        (&mut self.shards[far.worker], far.slot)
    }

    /// Asks without a turn: nothing is delivered yet. Tags count from 1.
    pub fn ask(&mut self, client: Client, request: Request) {
        self.tags += 1;
        let tag = Tag(Bytes::from(self.tags.to_string()));
        let now = self.now;
        let (shard, slot) = self.shard_of(client);
        shard.request(slot, tag, request, now);
    }

    /// Asks, lets everything happen, and returns what the asker received.
    pub fn does(&mut self, client: Client, request: Request) -> Vec<String> {
        self.ask(client, request);
        self.settle();
        self.seen(client)
    }

    /// One turn of one worker.
    pub fn turn(&mut self, worker: usize) {
        self.turn_writing(worker, usize::MAX);
    }

    /// One turn of one worker that writes to so many connections at most.
    pub fn turn_writing(&mut self, worker: usize, most: usize) {
        let now = self.now;
        self.shards[worker].read_inbox(now);
        self.shards[worker].deliver(now);
        for _ in 0..self.shards[worker].dirty().min(most) {
            let Some(slot) = self.shards[worker].next_dirty() else { return };
            let far = self.clients.iter().position(|far| far.worker == worker && far.slot == slot && !far.gone);
            if let Some(far) = far {
                self.write(Client(far));
            }
        }
    }

    /// Writes to the socket what it takes, as a worker does.
    pub fn write(&mut self, client: Client) {
        let now = self.now;
        let far = &mut self.clients[client.0];
        let shard = &mut self.shards[far.worker];
        loop {
            let Some(connection) = shard.get_mut(far.slot) else {
                far.gone = true;
                return;
            };
            let waiting = connection.outbox.wire_bytes();
            let taken = waiting.min(far.room.unwrap_or(usize::MAX));
            if taken == 0 {
                if waiting == 0 && connection.closing().is_some() {
                    shard.remove(far.slot, CloseReason::Lost, now);
                    far.gone = true;
                    return;
                }
                if waiting > 0 || connection.outbox.is_empty() {
                    return;
                }
            }
            let mut slices = [IoSlice::new(&[]); 4096];
            let filled = connection.outbox.slices(&mut slices);
            let mut left = taken;
            for slice in &slices[..filled] {
                let part = slice.len().min(left);
                far.received.extend_from_slice(&slice[..part]);
                left -= part;
            }
            assert_eq!(left, 0, "the slices hold less than the outbox counts");
            connection.outbox.advance(taken);
            if let Some(room) = &mut far.room {
                *room -= taken;
            }
            shard.drained(far.slot, now);
        }
    }

    /// A client's socket takes nothing more.
    pub fn stall(&mut self, client: Client) {
        self.clients[client.0].room = Some(0);
    }

    /// A client's socket takes so many bytes more.
    pub fn take(&mut self, client: Client, bytes: usize) {
        let room = self.clients[client.0].room.get_or_insert(0);
        *room += bytes;
        self.write(client);
    }

    /// A client's socket takes everything again.
    pub fn resume(&mut self, client: Client) {
        self.clients[client.0].room = None;
        self.write(client);
    }

    /// Lets everything happen that needs no answer from a remote engine.
    pub fn settle(&mut self) {
        loop {
            for worker in 0..self.shards.len() {
                self.turn(worker);
                // What was posted to a worker that had its turn.
                self.turn(worker);
            }
            if !self.tasks.poll() {
                break;
            }
        }
        for worker in 0..self.shards.len() {
            self.turn(worker);
        }
    }

    /// Lets everything happen, with a remote engine that answers and delivers at once.
    pub fn settle_with(&mut self, engine: &RemoteEngine) {
        loop {
            self.settle();
            let answered = engine.answer_all();
            let delivered = engine.waiting() > 0;
            engine.deliver_all();
            if !answered && !delivered {
                break;
            }
        }
        self.settle();
    }

    /// What a client received since the last look.
    pub fn seen(&mut self, client: Client) -> Vec<String> {
        let lines = self.lines(client);
        lines.iter().map(|line| self.with_names(line)).collect()
    }

    /// The same, with epochs as the engine calls them.
    pub fn seen_raw(&mut self, client: Client) -> Vec<String> {
        let lines = self.lines(client);
        lines.iter().map(|line| line.replacen('<', "", 1).replacen('>', "", 1)).collect()
    }

    fn lines(&mut self, client: Client) -> Vec<String> {
        let received = &mut self.clients[client.0].received;
        let whole = received.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text = String::from_utf8(received.drain(..whole).collect()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn with_names(&mut self, line: &str) -> String {
        let Some((before, rest)) = line.split_once('<') else {
            return line.to_owned();
        };
        let (epoch, after) = rest.split_once('>').expect("epochs stand in brackets");
        let at = self.epochs.iter().position(|known| known == epoch).unwrap_or_else(|| {
            self.epochs.push(epoch.to_owned());
            self.epochs.len() - 1
        });
        format!("{before}{}{after}", (b'a' + at as u8) as char)
    }

    /// The epoch that is called `name` in the lines seen so far.
    pub fn epoch(&self, name: char) -> Epoch {
        Epoch::from(self.epochs[(name as u8 - b'a') as usize].as_str())
    }

    pub fn recover(&self, channel: &str, epoch: char, offset: u64) -> Request {
        recover_from(channel, self.epoch(epoch), offset)
    }

    /// The client's transport is gone.
    pub fn lose(&mut self, client: Client) {
        let now = self.now;
        let (shard, slot) = self.shard_of(client);
        shard.remove(slot, CloseReason::Lost, now);
        self.clients[client.0].gone = true;
    }

    /// Publishes as the server side, without a turn.
    pub fn say(&self, channel: &str, text: &str) {
        let _ = self.hub.publish(&app(), says(channel, text), None, self.now.unix_ms);
    }

    pub fn say_many(&self, channel: &str, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|n| self.say(channel, &n.to_string()));
    }

    /// Lets time pass, with a tick of every worker at the end.
    pub fn pass(&mut self, time: Duration) {
        self.now.micros += time.as_micros() as u64;
        self.now.unix_ms += time.as_millis() as u64;
        let now = self.now;
        self.shards.iter_mut().for_each(|shard| shard.tick(now));
        self.hub.sweep(now);
        self.settle();
    }
}

pub fn subscribe(channel: &str) -> Request {
    start(channel, Start::Live)
}

pub fn rewind(channel: &str, count: u32) -> Request {
    start(channel, Start::Rewind(count))
}

pub fn recover_from(channel: &str, epoch: Epoch, offset: u64) -> Request {
    start(channel, Start::Recover(Position { epoch, offset }))
}

pub fn recover_or_rewind(channel: &str, epoch: Epoch, offset: u64, count: u32) -> Request {
    start(channel, Start::RecoverOrRewind(Position { epoch, offset }, count))
}

fn start(channel: &str, start: Start) -> Request {
    Request::Subscribe(Subscribe { start, ..Subscribe::live(name(channel)) })
}

/// Subscribes with presence events, and enters with `data` if there is any.
pub fn attend(channel: &str, data: Option<&str>) -> Request {
    Request::Subscribe(Subscribe { presence: true, enter: data.map(json), ..Subscribe::live(name(channel)) })
}

pub fn json(text: &str) -> RawJson {
    RawJson::parse(text).unwrap()
}

pub fn unsubscribe(channel: &str) -> Request {
    Request::Unsubscribe { channel: name(channel) }
}

pub fn says(channel: &str, text: &str) -> Publish {
    Publish {
        channel: name(channel),
        event: "message".into(),
        payload: Payload::Json(RawJson::of(text).unwrap()),
        message_id: None,
        key: None,
        echo: true,
        vouched: false,
    }
}

pub fn publish(channel: &str, text: &str) -> Request {
    Request::Publish(says(channel, text))
}

pub fn publish_quietly(channel: &str, text: &str) -> Request {
    Request::Publish(Publish { echo: false, ..says(channel, text) })
}

pub fn history(channel: &str, limit: usize, after: Option<u64>) -> Request {
    Request::History { channel: name(channel), range: HistoryRange { limit, before: None, after } }
}

pub fn presence(channel: &str, action: PresenceAction) -> Request {
    Request::Presence { channel: name(channel), action }
}

/// A message as another node would publish it.
pub fn elsewhere(channel: &str, text: &str) -> Message {
    Message {
        app: app(),
        channel: name(channel),
        id: MessageId::from(text),
        event: "message".into(),
        payload: Payload::Json(RawJson::of(text).unwrap()),
        user: None,
        ts: 1_700_000_000_000,
        position: None,
        key: None,
        exclude: None,
    }
}

pub fn entered(connection: &str) -> PresenceChange {
    PresenceChange::Enter(PresenceEntry {
        user: None,
        connection: ConnectionId::from(connection),
        data: RawJson::empty_object(),
        revision: 0,
    })
}

/// The lines of messages `from..=to` whose text is their number.
pub fn numbered(channel: &str, epoch: char, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|n| format!("{channel} {epoch}:{n} {n}")).collect()
}
