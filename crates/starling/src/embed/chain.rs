//! Several applications as one.

use std::sync::Arc;

use starling_core::{
    Admission, AppId, Application, Caller, ChannelName, CloseReason, Decision, Effects, Payload, Pending, Publish,
    RawJson, Refusal, Subscribe,
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

    fn accepts(&self, app: &AppId, scope: &ChannelName) -> bool {
        self.links.iter().any(|link| link.accepts(app, scope))
    }

    fn enter(
        &self,
        caller: &Caller,
        scope: Option<&ChannelName>,
        params: Option<&RawJson>,
    ) -> Pending<Result<Effects, Refusal>> {
        let total = (caller.clone(), scope.cloned(), params.cloned(), Effects::default());
        let entered = in_turn(
            self.links.clone(),
            0,
            total,
            |link, (caller, scope, params, _)| link.enter(caller, scope.as_ref(), params.as_ref()),
            |(_, _, _, total), effects| merge_effects(total, effects),
        );
        entered.map(|entered| entered.map(|(_, _, _, effects)| effects))
    }

    fn exited(&self, caller: &Caller, scope: Option<&ChannelName>) {
        for link in &*self.links {
            link.exited(caller, scope);
        }
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

    fn members_only(&self, channel: &ChannelName, event: &str) -> bool {
        self.links.iter().any(|link| link.members_only(channel, event))
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

#[cfg(test)]
mod tests {
    use starling_core::{ConnectionId, Protocol, UserId};

    use super::*;

    /// Adds its name to what is published, and refuses what it is told to; at once, or later.
    struct Link {
        name: &'static str,
        refuses: bool,
        waits: bool,
    }

    impl Link {
        fn answer<T: Send + 'static>(&self, answer: T) -> Pending<Result<T, Refusal>> {
            let answer = if self.refuses { Err(Refusal::custom(self.name, "no")) } else { Ok(answer) };
            if self.waits { Pending::later(async move { answer }) } else { Pending::Ready(answer) }
        }
    }

    impl Application for Link {
        fn connect(&self, caller: &Caller) -> Pending<Result<Admission, Refusal>> {
            let known = caller.user.as_ref().map_or("nobody", UserId::as_str);
            let user = UserId::new(format!("{}>{known}", self.name));
            self.answer(Admission { user: Some((user, None)), effects: Effects::default() })
        }

        fn publish(&self, _: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
            let Payload::Json(text) = &publish.payload else { unreachable!("the test publishes JSON") };
            let text = format!("{}{}", text.as_str(), self.name);
            let payload = Some(Payload::Json(RawJson::from_valid(text)));
            self.answer(Decision { payload, reply: Some(publish.payload.clone()), ..Decision::default() })
        }

        fn event(
            &self,
            _: &Caller,
            _: Option<&ChannelName>,
            event: &str,
            payload: &Payload,
        ) -> Option<Pending<Result<Decision, Refusal>>> {
            (event == self.name).then(|| self.answer(Decision { reply: Some(payload.clone()), ..Decision::default() }))
        }
    }

    fn chain(links: [Link; 3]) -> Chain {
        Chain::new(links.into_iter().map(|link| Arc::new(link) as Arc<dyn Application>))
    }

    fn links(waits: bool, refuses: bool) -> [Link; 3] {
        let link = |name| Link { name, refuses: false, waits: false };
        [link("1"), Link { name: "2", refuses, waits }, link("3")]
    }

    fn caller() -> Caller {
        let (app, connection) = (AppId::from("1"), ConnectionId::from("c"));
        Caller { app, connection, user: None, info: None, protocol: Protocol("test"), query: None }
    }

    fn number(text: &'static str) -> Payload {
        Payload::Json(RawJson::from_valid(text))
    }

    #[tokio::test]
    async fn each_is_asked_in_turn_about_what_the_one_before_made_of_it() {
        for waits in [false, true] {
            let chain = chain(links(waits, false));
            let publish = Publish::new(ChannelName::parse("c").unwrap(), "e", number("0"));
            let decided = chain.publish(&caller(), &publish);
            assert_eq!(matches!(decided, Pending::Later(_)), waits, "no task switch as long as answers are ready");
            let decision = decided.wait().await.unwrap();
            assert_eq!((decision.payload, decision.reply), (Some(number("0123")), Some(number("0"))));
            let admission = chain.connect(&caller()).wait().await.unwrap();
            assert_eq!(admission.user.unwrap().0.as_str(), "1>nobody", "the first to name a user counts");
        }
    }

    #[tokio::test]
    async fn the_first_refusal_counts_and_events_have_one_handler() {
        for waits in [false, true] {
            let chain = chain(links(waits, true));
            assert_eq!(chain.connect(&caller()).wait().await.unwrap_err().code, "2");
            let answered = chain.event(&caller(), None, "3", &number("7")).expect("the third handles it");
            assert_eq!(answered.wait().await.unwrap().reply, Some(number("7")));
            assert!(chain.event(&caller(), None, "4", &number("7")).is_none());
        }
    }
}
