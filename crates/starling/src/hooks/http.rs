//! The application behind HTTP hooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_core::{
    Admission, AppId, Application, Caller, ChannelName, Decision, ErrorCode, Payload, Pending, Publish, Refusal,
    Subscribe,
};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::answer::{Answer, BadAnswer, Going};
use super::breaker::{Breaker, Change, Pass};
use super::client::{self, Backend, NoAnswer};
use super::question::Question;
use super::{Asked, HookEvent, HookOptions, HookTimes, HooksError, OnError, Secrets};
use crate::shared::unix_ms;

/// Asks a backend over HTTP. What it is not configured to be asked about is left to the rules.
///
/// Bounded in time ([`HookOptions::timeout`]), number ([`HookOptions::max_concurrent`]) and size
/// ([`HookOptions::max_answer`]); a backend that does not answer is left alone for a while
/// ([`HookOptions::failures_to_open`]). In all these cases [`HookOptions::on_error`] decides.
pub struct HttpHooks(Arc<Asker>);

struct Asker {
    options: HookOptions,
    backend: Backend,
    secrets: Arc<Secrets>,
    breaker: Breaker,
    under_way: Semaphore,
    times: HookTimes,
    complaints: Complaints,
}

/// Why there is no usable answer.
#[derive(Debug, Error)]
enum Failure {
    #[error("the backend is left alone after {0} failures in a row")]
    LeftAlone(u32),
    #[error("{0} questions are under way")]
    TooMany(usize),
    #[error("app {0} is not configured")]
    NoSecret(AppId),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error(transparent)]
    Bad(#[from] BadAnswer),
}

impl HttpHooks {
    /// Prepares to ask; questions are signed with `secrets`.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn new(options: HookOptions, secrets: Arc<Secrets>) -> Result<Arc<Self>, HooksError> {
        let backend = Backend::new(&options.url, options.timeout, options.max_concurrent)?;
        Ok(Arc::new(Self(Arc::new(Asker {
            backend,
            secrets,
            breaker: Breaker::new(options.failures_to_open, options.pause),
            under_way: Semaphore::new(options.max_concurrent.min(Semaphore::MAX_PERMITS)),
            times: HookTimes::default(),
            complaints: Complaints::default(),
            options,
        }))))
    }

    pub(crate) fn times(&self) -> &HookTimes {
        &self.0.times
    }

    /// Whether the backend is left alone because it did not answer.
    pub fn is_open(&self) -> bool {
        self.0.breaker.is_open()
    }

    fn asks(&self, hook: HookEvent) -> bool {
        self.0.options.events.contains(&hook)
    }

    /// Asks, and makes of the answer what `made` makes of one that lets the act go ahead.
    fn ask<T: Default + Send + 'static>(
        &self,
        question: &Question<'_>,
        made: fn(Going) -> T,
    ) -> Pending<Result<T, Refusal>> {
        let (hook, app) = (question.hook, question.caller.app.clone());
        // Known without a question: nobody is kept waiting, and no body is written.
        if let Err(failure) = self.0.may_ask() {
            return Pending::Ready(self.0.concluded(hook, Err(failure), Duration::ZERO, made));
        }
        let body = Bytes::from(question.body());
        let asker = self.0.clone();
        Pending::later(async move {
            let start = Instant::now();
            let answer = asker.ask(hook, &app, body).await;
            asker.concluded(hook, answer, start.elapsed(), made)
        })
    }
}

impl Asker {
    async fn ask(&self, hook: HookEvent, app: &AppId, body: Bytes) -> Result<Answer, Failure> {
        let _permit = self.under_way.try_acquire().map_err(|_| Failure::TooMany(self.options.max_concurrent))?;
        let headers = client::signed(&self.secrets, app, &body).ok_or_else(|| Failure::NoSecret(app.clone()))?;
        let pass = self.breaker.pass(Instant::now()).ok_or_else(|| self.left_alone())?;
        let answer = match self.backend.post(headers, body).await {
            Ok(response) => client::answer(response, self.options.max_answer).await,
            Err(failed) => Err(failed),
        };
        self.settle(pass, &answer);
        Ok(Answer::read(hook, &answer?)?)
    }

    fn settle(&self, pass: Pass<'_>, answer: &Result<Vec<u8>, NoAnswer>) {
        let change = match answer {
            Err(error) if error.is_dead() => pass.unanswered(Instant::now()),
            _ => pass.answered(),
        };
        let url = self.backend.address();
        match change {
            Change::None => {}
            Change::Opened => {
                let failures = self.options.failures_to_open;
                tracing::error!(%url, failures, pause = ?self.options.pause, "the hooks' backend does not answer: it is left alone and probed");
            }
            Change::Closed => tracing::info!(%url, "the hooks' backend answers again"),
        }
    }

    /// Whether a question would be asked now. When its turn comes, that is looked at again.
    fn may_ask(&self) -> Result<(), Failure> {
        if self.breaker.is_open() && self.breaker.pass(Instant::now()).is_none() {
            return Err(self.left_alone());
        }
        match self.under_way.available_permits() {
            0 => Err(Failure::TooMany(self.options.max_concurrent)),
            _ => Ok(()),
        }
    }

    fn left_alone(&self) -> Failure {
        Failure::LeftAlone(self.options.failures_to_open)
    }

    fn concluded<T: Default>(
        &self,
        hook: HookEvent,
        answer: Result<Answer, Failure>,
        took: Duration,
        made: fn(Going) -> T,
    ) -> Result<T, Refusal> {
        let asked = match &answer {
            Ok(Answer::Goes(_)) => Asked::Allowed,
            Ok(Answer::Refused(_)) => Asked::Rejected,
            Err(Failure::LeftAlone(_) | Failure::TooMany(_) | Failure::NoSecret(_)) => Asked::Skipped,
            Err(Failure::NoAnswer(_) | Failure::Bad(_)) => Asked::Failed,
        };
        self.times.record(hook, asked, took);
        match answer {
            Ok(Answer::Goes(going)) => Ok(made(going)),
            Ok(Answer::Refused(refusal)) => Err(refusal),
            Err(failure) => {
                self.complaints.tell(hook, &failure);
                match self.options.on_error {
                    OnError::Allow => Ok(T::default()),
                    OnError::Reject => {
                        Err(Refusal::new(ErrorCode::HookFailed, "the application's hook gave no usable answer"))
                    }
                }
            }
        }
    }
}

impl Application for HttpHooks {
    fn connect(&self, caller: &Caller) -> Pending<Result<Admission, Refusal>> {
        if !self.asks(HookEvent::Connect) {
            return Pending::Ready(Ok(Admission::default()));
        }
        let hook = HookEvent::Connect;
        let data = caller.info.as_ref();
        self.ask(&Question { hook, caller, channel: None, event: None, payload: None, data }, Going::admission)
    }

    fn subscribe(&self, caller: &Caller, subscribe: &Subscribe) -> Pending<Result<Decision, Refusal>> {
        if !self.asks(HookEvent::Subscribe) {
            return Pending::Ready(Ok(Decision::default()));
        }
        let params = subscribe.more.as_ref().and_then(|more| more.params.clone()).map(Payload::Json);
        let question = Question {
            hook: HookEvent::Subscribe,
            caller,
            channel: Some(&subscribe.channel),
            event: None,
            payload: params.as_ref(),
            data: subscribe.enter.as_ref(),
        };
        self.ask(&question, Going::decision)
    }

    fn publish(&self, caller: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
        if !self.asks(HookEvent::Publish) {
            return Pending::Ready(Ok(Decision::default()));
        }
        let question = Question {
            hook: HookEvent::Publish,
            caller,
            channel: Some(&publish.channel),
            event: Some(&publish.event),
            payload: Some(&publish.payload),
            data: None,
        };
        self.ask(&question, Going::decision)
    }

    fn event(
        &self,
        caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        let hook = HookEvent::Event;
        let question = Question { hook, caller, channel, event: Some(event), payload: Some(payload), data: None };
        self.asks(hook).then(|| self.ask(&question, Going::decision))
    }
}

/// Says what goes wrong, at most once a second: a dead backend under load would fill the log.
#[derive(Default)]
struct Complaints {
    /// When it was last said, in Unix milliseconds.
    last: AtomicU64,
    unsaid: AtomicU64,
}

impl Complaints {
    fn tell(&self, hook: HookEvent, failure: &Failure) {
        let (now, last) = (unix_ms(), self.last.load(Ordering::Relaxed));
        let due = now.saturating_sub(last) >= 1000;
        if !due || self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unsaid = self.unsaid.swap(0, Ordering::Relaxed);
        tracing::warn!(hook = hook.as_str(), %failure, unsaid, "a hook gave no usable answer");
    }
}
