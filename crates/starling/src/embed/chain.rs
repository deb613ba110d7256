//! Several applications as one.

use std::sync::Arc;

use starling_core::{
    Admission, Application, Caller, ChannelName, CloseReason, Decision, Effects, Payload, Pending, Publish, Refusal,
    Subscribe,
};

/// Applications that are asked one after the other: Rust handlers, then hooks. The rules stand before all of them.
///
/// - Connections, subscriptions and publishes: each is asked, and the first refusal counts. What they want to happen is
///   added up; the first to name a user, to answer, or to have somebody enter presence, counts; what one makes of a
///   publish's payload is what the next is asked about.
/// - Events: the first that handles one answers it.
/// - What is over is told to all.
///
/// ```
/// use std::sync::Arc;
///
/// use starling::Chain;
/// use starling::core::RulesOnly;
///
/// let both = Chain::new([Arc::new(RulesOnly) as _, Arc::new(RulesOnly) as _]);
/// # let _: Chain = both;
/// ```
pub struct Chain {
    links: Arc<[Arc<dyn Application>]>,
}

impl Chain {
    /// These, in this order.
    pub fn new(links: impl IntoIterator<Item = Arc<dyn Application>>) -> Self {
        Self { links: links.into_iter().collect() }
    }
}

/// Asks one after the other, without a task switch as long as answers are ready.
fn in_turn<T, A>(
    links: Arc<[Arc<dyn Application>]>,
    mut at: usize,
    mut total: T,
    ask: fn(&dyn Application, &T) -> Pending<Result<A, Refusal>>,
    add: fn(&mut T, A),
) -> Pending<Result<T, Refusal>>
where
    T: Send + Sync + 'static,
    A: Send + 'static,
{
    while let Some(link) = links.get(at) {
        at += 1;
        match ask(&**link, &total) {
            Pending::Ready(Ok(answer)) => add(&mut total, answer),
            Pending::Ready(Err(refusal)) => return Pending::Ready(Err(refusal)),
            Pending::Later(future) => {
                return Pending::later(async move {
                    add(&mut total, future.await?);
                    in_turn(links, at, total, ask, add).wait().await
                });
            }
        }
    }
    Pending::Ready(Ok(total))
}

/// A request on its way along the chain, and what was decided so far.
struct Asked<R> {
    caller: Caller,
    request: R,
    decision: Decision,
}

fn merge(total: &mut Decision, decision: Decision) {
    total.granted |= decision.granted;
    total.reply = total.reply.take().or(decision.reply);
    total.present = total.present.take().or(decision.present);
    if decision.payload.is_some() {
        total.payload = decision.payload;
    }
    merge_effects(&mut total.effects, decision.effects);
}

fn merge_effects(total: &mut Effects, effects: Effects) {
    total.join.extend(effects.join);
    total.leave.extend(effects.leave);
    total.publish.extend(effects.publish);
    total.emit.extend(effects.emit);
}

impl Application for Chain {
    fn connect(&self, caller: &Caller) -> Pending<Result<Admission, Refusal>> {
        let total = (caller.clone(), Admission::default());
        let admitted = in_turn(
            self.links.clone(),
            0,
            total,
            |link, (caller, _)| link.connect(caller),
            |(caller, total), admission| {
                if total.user.is_none()
                    && let Some((user, info)) = admission.user
                {
                    // Whoever is asked next is asked about the user.
                    caller.user = Some(user.clone());
                    caller.info = info.clone().or(caller.info.take());
                    total.user = Some((user, info));
                }
                merge_effects(&mut total.effects, admission.effects);
            },
        );
        admitted.map(|admitted| admitted.map(|(_, admission)| admission))
    }

    fn subscribe(&self, caller: &Caller, subscribe: &Subscribe) -> Pending<Result<Decision, Refusal>> {
        let total = Asked { caller: caller.clone(), request: subscribe.clone(), decision: Decision::default() };
        let decided = in_turn(
            self.links.clone(),
            0,
            total,
            |link, asked| link.subscribe(&asked.caller, &asked.request),
            |asked, decision| merge(&mut asked.decision, decision),
        );
        decided.map(|decided| decided.map(|asked| asked.decision))
    }

    fn publish(&self, caller: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
        let total = Asked { caller: caller.clone(), request: publish.clone(), decision: Decision::default() };
        let decided = in_turn(
            self.links.clone(),
            0,
            total,
            |link, asked| link.publish(&asked.caller, &asked.request),
            |asked, decision| {
                if let Some(payload) = &decision.payload {
                    asked.request.payload = payload.clone();
                }
                merge(&mut asked.decision, decision);
            },
        );
        decided.map(|decided| decided.map(|asked| asked.decision))
    }

    fn event(
        &self,
        caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        self.links.iter().find_map(|link| link.event(caller, channel, event, payload))
    }

    fn acknowledged(&self, caller: &Caller, ack: u64, payload: Payload) {
        for link in &*self.links {
            link.acknowledged(caller, ack, payload.clone());
        }
    }

    fn left(&self, caller: &Caller, channel: &ChannelName) {
        for link in &*self.links {
            link.left(caller, channel);
        }
    }

    fn disconnected(&self, caller: &Caller, reason: CloseReason) {
        for link in &*self.links {
            link.disconnected(caller, reason);
        }
    }
}
