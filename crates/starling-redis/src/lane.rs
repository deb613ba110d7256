//! The way to one master: commands are pipelined to it, subscriptions kept alive, lost connections made anew.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::error::Elapsed;

use crate::address;
use crate::broker::Shared;
use crate::delivery;
use crate::failure::Failure;
use crate::link::{Link, LinkError};
use crate::options::ConnectError;
use crate::topology::Place;
use crate::writes::Writes;

/// Commands that wait for a lane, at most; further ones fail.
const MAX_WAITING: usize = 16_384;

/// Bytes of commands that wait for a lane, at most; further ones fail.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Commands in one pipeline, at most, and their bytes.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 256 << 10;

/// Pipelines under way at a time. While they are, commands gather: the busier the server, the larger the batches.
const PIPELINES: usize = 4;

/// Between two attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Why it cannot be used is written again after so long, if it is still the same.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A command on its way.
struct Order {
    cmd: Cmd,
    size: usize,
    answer: oneshot::Sender<Result<Value, Failure>>,
}

/// A wish for a topic, or no longer.
pub(crate) struct Subscription {
    pub topic: String,
    pub wanted: bool,
}

/// See the module's documentation.
pub(crate) struct Lane {
    /// Tells lanes apart, also one from its successor.
    pub id: u64,
    pub place: Place,
    orders: mpsc::Sender<Order>,
    waiting: AtomicUsize,
    /// Bounded by the table of interest: of each topic at most one wish per lag waits here.
    subscriptions: mpsc::UnboundedSender<Subscription>,
    inputs: Mutex<Option<Inputs>>,
    is_connected: AtomicBool,
    /// Whether what is subscribed stays subscribed.
    is_subscribed: AtomicBool,
    is_up: AtomicBool,
    /// Whether the server takes writes.
    pub writes: Writes,
    /// Whether everybody was told that it is up.
    is_settled: AtomicBool,
    /// Which link is in use: a late word of an earlier one changes nothing.
    generation: AtomicU64,
    /// Which server that link leads to.
    linked: Mutex<Option<(u64, String)>>,
    /// The link whose server is known to be a master no longer: what it still answers counts for nothing.
    superseded: AtomicU64,
    lost: Notify,
    /// It may be worth while to connect now.
    hope: Notify,
    stopped: Notify,
    is_stopped: AtomicBool,
}

struct Inputs {
    orders: mpsc::Receiver<Order>,
    subscriptions: mpsc::UnboundedReceiver<Subscription>,
}

impl Lane {
    pub fn new(place: Place) -> Arc<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let (orders, orders_in) = mpsc::channel(MAX_WAITING);
        let (subscriptions, subscriptions_in) = mpsc::unbounded_channel();
        Arc::new(Self {
            id: COUNT.fetch_add(1, Ordering::Relaxed),
            place,
            orders,
            waiting: AtomicUsize::new(0),
            subscriptions,
            inputs: Mutex::new(Some(Inputs { orders: orders_in, subscriptions: subscriptions_in })),
            is_connected: AtomicBool::new(false),
            is_subscribed: AtomicBool::new(false),
            is_up: AtomicBool::new(false),
            writes: Writes::default(),
            is_settled: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            linked: Mutex::new(None),
            superseded: AtomicU64::new(0),
            lost: Notify::new(),
            hope: Notify::new(),
            stopped: Notify::new(),
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Whether commands would be taken now, and what is subscribed arrives.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Whether it is up, and nobody will be told so any more.
    pub fn is_settled(&self) -> bool {
        self.is_up() && self.is_settled.load(Ordering::Acquire)
    }

    /// Whether a new wish for a topic can be fulfilled.
    pub fn is_subscribed(&self) -> bool {
        self.is_subscribed.load(Ordering::Acquire)
    }

    /// Sends a command behind those that were sent before. The answer comes by itself, whoever waits.
    pub fn send(&self, cmd: Cmd) -> oneshot::Receiver<Result<Value, Failure>> {
        let (answer, answered) = oneshot::channel();
        let size: usize =
            cmd.args_iter().map(|arg| if let redis::Arg::Simple(bytes) = arg { bytes.len() } else { 0 }).sum();
        if !self.is_connected.load(Ordering::Acquire) {
            let _ = answer.send(Err(Failure::unavailable("redis is not connected")));
            return answered;
        }
        if self.waiting.fetch_add(size, Ordering::Relaxed) > MAX_WAITING_BYTES {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            let _ = answer.send(Err(Failure::unavailable("too much waits for redis")));
            return answered;
        }
        if let Err(refused) = self.orders.try_send(Order { cmd, size, answer }) {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            let order = refused.into_inner();
            let _ = order.answer.send(Err(Failure::unavailable("too many commands wait for redis")));
        }
        answered
    }

    /// Subscribes or unsubscribes, behind what was asked before.
    pub fn subscribe(&self, subscription: Subscription) {
        let _ = self.subscriptions.send(subscription);
    }

    /// A link is of no use any more.
    pub fn lose(&self, generation: u64) {
        if self.is_current(generation) {
            self.is_up.store(false, Ordering::Release);
            self.lost.notify_one();
        }
    }

    /// The Sentinels name a master. A lane that is connected to another one leaves it at once.
    pub fn follow(&self, master: &str, is_new: bool) {
        let linked = self.linked.lock().clone();
        match linked.filter(|(generation, _)| self.is_current(*generation)) {
            Some((generation, server)) => {
                let is_another = server != master;
                if is_another && self.superseded.swap(generation, Ordering::AcqRel) != generation {
                    tracing::warn!(from = %server, to = %master, "the Sentinels name another master: changing over");
                    self.is_connected.store(false, Ordering::Release);
                    self.lose(generation);
                }
            }
            None if is_new => self.hope.notify_one(),
            None => {}
        }
    }

    fn is_superseded(&self, generation: u64) -> bool {
        self.superseded.load(Ordering::Acquire) == generation
    }

    /// Whether a link is the one in use.
    pub fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// The lane is not needed any more.
    pub fn stop(&self) {
        self.is_up.store(false, Ordering::Release);
        self.is_stopped.store(true, Ordering::Release);
        self.stopped.notify_one();
    }

    /// Connects once. What it is told before the lane is up is for nobody.
    pub async fn link(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<Link, LinkError> {
        let candidates = self.place.candidates(&shared.options).await?;
        let mut never: Option<ConnectError> = None;
        let mut not_now = None;
        for candidate in &candidates {
            let (lane, delivery) = (Arc::downgrade(self), Arc::downgrade(shared));
            let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
            let link = Link::establish(candidate, &shared.options, &shared.keys, move |info| {
                if let (Some(lane), Some(shared)) = (lane.upgrade(), delivery.upgrade()) {
                    delivery::pushed(&shared, &lane, generation, info);
                }
            });
            match link.await {
                Ok(link) => {
                    *self.linked.lock() = Some((generation, address::name(candidate)));
                    self.writes.begin_again();
                    self.writes.tried(&self.place.to_string(), link.refused.as_ref());
                    return Ok(link);
                }
                Err(LinkError::Never(error)) => never = Some(error),
                Err(LinkError::NotNow(error)) => not_now = Some(error),
            }
        }
        match (not_now, never) {
            (Some(error), _) => Err(LinkError::NotNow(error)),
            (None, Some(error)) => Err(LinkError::Never(error)),
            (None, None) => Err(LinkError::NotNow("no server is known".into())),
        }
    }

    /// Keeps the lane going until it is stopped. The first link may be there already.
    pub async fn run(self: Arc<Self>, shared: Arc<Shared>, mut link: Option<Link>) {
        let Some(mut inputs) = self.inputs.lock().take() else { return };
        let mut backoff = BACKOFF.0;
        let mut said: Option<(String, Instant)> = None;
        while !self.is_stopped.load(Ordering::Acquire) {
            let linked = match link.take() {
                Some(link) => Ok(link),
                None => self.refusing(&mut inputs, self.link(&shared)).await,
            };
            match linked {
                Ok(link) if link.is_cluster && !shared.topology.is_cluster() => {
                    // What was one server is a Cluster: its masters get lanes of their own.
                    shared.topology.enter_cluster(&shared);
                    return;
                }
                Ok(link) => {
                    said = None;
                    let began = Instant::now();
                    let generation = self.generation.load(Ordering::Acquire);
                    self.serve(&shared, &mut inputs, link).await;
                    if !self.is_stopped.load(Ordering::Acquire) && !self.is_superseded(generation) {
                        tracing::warn!(server = %self.place, "lost the connection to redis");
                    }
                    if began.elapsed() >= BACKOFF.1 {
                        backoff = BACKOFF.0;
                        shared.topology.look_again();
                        continue;
                    }
                }
                Err(error) => {
                    let why = match &error {
                        LinkError::Never(error) => error.to_string(),
                        LinkError::NotNow(error) => error.clone(),
                    };
                    if said.as_ref().is_none_or(|(known, at)| *known != why || at.elapsed() >= SAY_AGAIN) {
                        tracing::warn!(server = %self.place, error = %why, "redis cannot be used; trying on");
                        said = Some((why, Instant::now()));
                    }
                }
            }
            shared.topology.look_again();
            let pause = tokio::time::timeout(backoff, self.hope.notified());
            let is_hopeful = self.refusing(&mut inputs, pause).await.is_ok();
            backoff = if is_hopeful { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
        }
    }

    /// Waits for `future`, or for the lane to be stopped; meanwhile commands are refused.
    async fn refusing<T>(&self, inputs: &mut Inputs, future: impl Future<Output = T>) -> T
    where
        T: Refusable,
    {
        tokio::pin!(future);
        loop {
            tokio::select! {
                value = &mut future => return value,
                () = self.stopped.notified() => return T::stopped(),
                Some(order) = inputs.orders.recv() => self.refuse(order),
            }
        }
    }

    fn refuse(&self, order: Order) {
        self.waiting.fetch_sub(order.size, Ordering::Relaxed);
        let _ = order.answer.send(Err(Failure::unavailable("the connection to redis is lost")));
    }

    /// Works with one link until it is lost.
    async fn serve(self: &Arc<Self>, shared: &Arc<Shared>, inputs: &mut Inputs, link: Link) {
        while inputs.subscriptions.try_recv().is_ok() {}
        let Inputs { orders, subscriptions } = inputs;
        self.is_connected.store(true, Ordering::Release);
        let start = async {
            if self.start(shared, &link).await.is_err() {
                return;
            }
            tokio::select! {
                () = self.change_subscriptions(shared, subscriptions, &link) => {}
                () = self.watch(shared, &link) => {}
            }
        };
        tokio::select! {
            () = self.pump(orders, &link) => {}
            () = start => {}
            () = self.lost.notified() => {}
            () = self.stopped.notified() => {}
        }
        self.is_up.store(false, Ordering::Release);
        self.is_settled.store(false, Ordering::Release);
        self.is_connected.store(false, Ordering::Release);
        self.is_subscribed.store(false, Ordering::Release);
        shared.interest.lane_lost(self.id);
        shared.presence.lane_lost();
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(link);
        while let Ok(order) = orders.try_recv() {
            self.refuse(order);
        }
        // That it was lost is known.
        let _ = poll_once(std::pin::pin!(self.lost.notified())).await;
    }

    /// Subscribes to what is wanted, proves what is known, and only then lets messages through.
    async fn start(self: &Arc<Self>, shared: &Arc<Shared>, link: &Link) -> Result<(), ()> {
        let topics = shared.topics_of(self);
        for topics in topics.chunks(BATCH) {
            let wanted = |topic: &String| Subscription { topic: topic.clone(), wanted: true };
            self.change(shared, topics.iter().map(wanted).collect(), link).await?;
        }
        self.is_subscribed.store(true, Ordering::Release);
        shared.prove(&topics).await?;
        shared.restore_presence(self).await?;
        self.is_up.store(true, Ordering::Release);
        tracing::info!(server = %self.place, "connected to redis");
        shared.came_up();
        self.is_settled.store(true, Ordering::Release);
        Ok(())
    }

    async fn change_subscriptions(
        &self,
        shared: &Shared,
        subscriptions: &mut mpsc::UnboundedReceiver<Subscription>,
        link: &Link,
    ) {
        let mut batch = Vec::new();
        while subscriptions.recv_many(&mut batch, BATCH).await > 0 {
            if self.change(shared, std::mem::take(&mut batch), link).await.is_err() {
                return;
            }
        }
    }

    /// One command for each topic, because each is answered on its own.
    async fn change(&self, shared: &Shared, batch: Vec<Subscription>, link: &Link) -> Result<(), ()> {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for subscription in &batch {
            let verb = shared.topology.verb(if subscription.wanted { "SUBSCRIBE" } else { "UNSUBSCRIBE" });
            pipeline.cmd(&verb).arg(&subscription.topic);
        }
        let mut pushes = link.pushes.clone();
        let answers = pushes.send_packed_commands(&pipeline, 0, batch.len()).await.map_err(|_| ())?;
        for (subscription, answer) in batch.iter().zip(answers) {
            if !subscription.wanted {
                continue;
            }
            match answer {
                Value::ServerError(error) => {
                    tracing::warn!(topic = %subscription.topic, code = error.code(), "redis refuses a subscription");
                    shared.topology.look_again();
                    shared.interest.refused(&subscription.topic, self.id);
                }
                _ => shared.interest.subscribed(&subscription.topic, self.id),
            }
        }
        Ok(())
    }

    /// Sends orders in batches, in their order.
    async fn pump(self: &Arc<Self>, orders: &mut mpsc::Receiver<Order>, link: &Link) {
        let pipelines = Arc::new(Semaphore::new(PIPELINES));
        let generation = self.generation.load(Ordering::Acquire);
        loop {
            // The order is taken after the place, so that none is lost between the two.
            let Ok(permit) = pipelines.clone().acquire_owned().await else { return };
            let Some(first) = orders.recv().await else { return };
            let mut batch = Pipeline::new();
            let mut answers = Vec::new();
            let mut size = 0;
            let mut next = Some(first);
            while let Some(order) = next.take() {
                size += order.size;
                batch.add_command(order.cmd);
                answers.push(order.answer);
                if answers.len() < BATCH && size < BATCH_BYTES {
                    next = orders.try_recv().ok();
                }
            }
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            let (lane, commands) = (self.clone(), link.commands.clone());
            let mut work = Box::pin(async move {
                lane.carry_out(generation, commands, batch, answers).await;
                drop(permit);
            });
            // Begun here, so that batches go out in their order; ended by itself.
            if poll_once(work.as_mut()).await.is_pending() {
                tokio::spawn(work);
            }
        }
    }

    async fn carry_out(
        &self,
        generation: u64,
        mut commands: MultiplexedConnection,
        batch: Pipeline,
        answers: Vec<oneshot::Sender<Result<Value, Failure>>>,
    ) {
        let values: RedisResult<Vec<Value>> = commands.send_packed_commands(&batch, 0, answers.len()).await;
        let values = match values {
            Ok(values) if values.len() == answers.len() && !self.is_superseded(generation) => values,
            Ok(_) => {
                self.lose(generation);
                let gone = "redis answers too little, or is a master no longer";
                return answers.into_iter().for_each(|answer| _ = answer.send(Err(Failure::unavailable(gone))));
            }
            Err(error) => {
                let why = error.to_string();
                self.lose(generation);
                answers.into_iter().for_each(|answer| _ = answer.send(Err(Failure::unavailable(&why))));
                return;
            }
        };
        for ((value, answer), cmd) in values.into_iter().zip(answers).zip(batch.cmd_iter()) {
            let outcome = match value {
                Value::ServerError(error) => {
                    if Failure::ends_the_connection(&error) {
                        self.lose(generation);
                    }
                    if let (Some("NOREPLICAS"), Place::Sentinels(sentinels)) = (self.writes.seen(&error), &self.place) {
                        sentinels.ask_now();
                    }
                    if Failure::is_for_another_try(&error) {
                        Err(Failure::Again(Box::new(cmd.clone()), error))
                    } else {
                        Err(Failure::Refused(error))
                    }
                }
                value => Ok(value),
            };
            let _ = answer.send(outcome);
        }
    }
}

async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// What becomes of waiting when the lane is stopped.
trait Refusable {
    fn stopped() -> Self;
}

impl Refusable for Result<(), Elapsed> {
    fn stopped() -> Self {
        Ok(())
    }
}

impl Refusable for Result<Link, LinkError> {
    fn stopped() -> Self {
        Err(LinkError::NotNow("it is not needed any more".into()))
    }
}
