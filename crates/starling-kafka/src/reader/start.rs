//! The reading thread: how it begins, goes on and ends.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use tokio::sync::oneshot;

use crate::client::{self, Consumer};
use crate::options::ConnectError;
use crate::shared::Shared;
use crate::topics::{self, Obstacle};

/// How long the thread waits for records before it looks whether it is still needed.
const TURN: Duration = Duration::from_millis(100);

/// Between attempts to begin.
const PAUSE: Duration = Duration::from_millis(250);

/// Between attempts that are hopeless unless somebody changes something at the broker.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// Reads as long as the engine is there. `started` is told when this node is up, or that it will never be.
pub(crate) fn run(shared: Weak<Shared>, started: oneshot::Sender<Result<(), ConnectError>>) {
    let Some((consumer, started)) = begin(&shared, started) else { return };
    let ends = {
        let Some(shared) = shared.upgrade() else { return };
        *shared.reader.consumer.lock() = Arc::downgrade(&consumer.0);
        shared.runtime.spawn(shared.clone().arrive(consumer.1, started));
        consumer.0
    };
    let consumer = ends;
    while let Some(shared) = shared.upgrade().filter(|shared| !shared.is_stopping()) {
        if shared.signals.misplaced.swap(false, Ordering::AcqRel) {
            match shared.place_again(&consumer) {
                Ok(None) => {}
                Ok(Some(damage)) => _ = shared.runtime.spawn(shared.clone().repair(damage)),
                Err(obstacle) => {
                    shared.signals.misplaced.store(true, Ordering::Release);
                    obstacle.tell();
                    shared.read_batch(&consumer, PAUSE);
                }
            }
        }
        shared.read_batch(&consumer, TURN);
    }
}

type Started = Option<oneshot::Sender<Result<(), ConnectError>>>;
type Begun = (Arc<Consumer>, Vec<(crate::names::Place, u64)>);

/// Tries until it works, or nobody needs it any more.
fn begin(shared: &Weak<Shared>, started: oneshot::Sender<Result<(), ConnectError>>) -> Option<(Begun, Started)> {
    let mut started = Some(started);
    let mut told = String::new();
    loop {
        let shared = shared.upgrade().filter(|shared| !shared.is_stopping())?;
        let pause = match shared.begin() {
            Ok(begun) => return Some((begun, started)),
            Err(Obstacle::Hopeless(error)) => {
                let text = error.to_string();
                // Whoever waits for the start ends with the error.
                if let Some(started) = started.take()
                    && started.send(Err(error)).is_ok()
                {
                    return None;
                }
                if std::mem::replace(&mut told, text.clone()) != text {
                    tracing::error!(error = text, "Kafka cannot be used; trying again");
                }
                LONG_PAUSE
            }
            Err(Obstacle::Passing(reason)) => {
                if told.is_empty() {
                    tracing::warn!(
                        reason,
                        detail = shared.signals.last_reason(),
                        "Kafka cannot be reached; trying again"
                    );
                    told = reason;
                }
                PAUSE
            }
        };
        drop(shared);
        thread::park_timeout(pause);
    }
}

impl Obstacle {
    fn tell(&self) {
        match self {
            Self::Hopeless(error) => tracing::error!(%error, "Kafka cannot be used; trying again"),
            Self::Passing(reason) => tracing::debug!(reason, "Kafka cannot be reached; trying again"),
        }
    }
}

impl Shared {
    fn begin(&self) -> Result<Begun, Obstacle> {
        let _ = self.signals.take_hopeless();
        let created = client::consumer(&self.options, self.writer.context());
        let consumer = created.map_err(|error| ConnectError::Invalid(error.to_string()))?;
        self.wait_for_a_broker(&consumer)?;
        topics::ensure(&self.options, &self.writer.context(), &consumer)?;
        let ends = self.place_first(&consumer)?;
        Ok((Arc::new(consumer), ends))
    }

    fn wait_for_a_broker(&self, consumer: &Consumer) -> Result<(), Obstacle> {
        let deadline = Instant::now() + self.options.timeout;
        loop {
            let answered = consumer.fetch_metadata(None, Duration::from_millis(500));
            // The library tells its troubles when it is polled.
            let _ = consumer.poll(Duration::ZERO);
            if answered.is_ok() {
                return Ok(());
            }
            if let Some(error) = self.signals.take_hopeless() {
                return Err(Obstacle::Hopeless(error));
            }
            if Instant::now() >= deadline || self.is_stopping() {
                return answered.map(drop).map_err(Obstacle::from);
            }
        }
    }

    /// This node is up when it has read what there was, and then a record of its own.
    async fn arrive(self: Arc<Self>, ends: Vec<(crate::names::Place, u64)>, started: Started) {
        for (place, end) in ends {
            self.reach(place, end).await;
        }
        while self.beat().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        self.signals.ready.store(true, Ordering::Release);
        if let Some(started) = started {
            let _ = started.send(Ok(()));
        }
    }
}
