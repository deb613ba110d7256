//! Who may do what: every kind of access for every kind of connection.

use std::sync::Arc;

use starling_core::{
    Access, Application, Caller, Decision, Pattern, Pending, PresenceAction, Publish, PublishAccess, Refusal, Rule,
    Subscribe,
};
use starling_hub::Grants;

use crate::rig::*;

/// Grants whatever is called `app:…`, and nothing else; refuses `no:…`.
struct GrantsApp;

impl GrantsApp {
    fn decide(channel: &str) -> Pending<Result<Decision, Refusal>> {
        if channel.starts_with("no:") {
            return Pending::Ready(Err(Refusal::custom("NO", "no")));
        }
        Pending::Ready(Ok(Decision { granted: channel.starts_with("app:"), ..Decision::default() }))
    }
}

impl Application for GrantsApp {
    fn subscribe(&self, _: &Caller, wish: &Subscribe) -> Pending<Result<Decision, Refusal>> {
        Self::decide(wish.channel.as_str())
    }

    fn publish(&self, _: &Caller, publish: &Publish) -> Pending<Result<Decision, Refusal>> {
        Self::decide(publish.channel.as_str())
    }
}

fn grants(patterns: &[&str]) -> Option<Grants> {
    let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
    Some(Grants { subscribe: patterns.clone(), publish: patterns, ..Grants::default() })
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Anonymous,
    User,
    Token,
}

fn connect(rig: &mut Rig, who: Who) -> Client {
    match who {
        Who::Anonymous => rig.connect(0, None, None),
        Who::User => rig.connect(0, Some("ann"), None),
        Who::Token => rig.connect(0, Some("ann"), grants(&["room:*"])),
    }
}

/// The code of a refusal, or `ok`.
fn code(lines: &[String]) -> &str {
    lines[0].split_once("refused ").map_or("ok", |(_, code)| code)
}

#[test]
fn subscribing() {
    use Access::*;
    use Who::*;
    for (access, who, channel, application, expected) in [
        (Anyone, Anonymous, "room:1", false, "ok"),
        (Anyone, User, "room:1", false, "ok"),
        (Authenticated, Anonymous, "room:1", false, "AUTH_REQUIRED"),
        (Authenticated, Anonymous, "app:1", true, "AUTH_REQUIRED"),
        (Authenticated, User, "room:1", false, "ok"),
        (Authenticated, Token, "other", false, "ok"),
        (Granted, Anonymous, "room:1", false, "AUTH_REQUIRED"),
        (Granted, Anonymous, "room:1", true, "FORBIDDEN"),
        (Granted, Anonymous, "app:1", true, "ok"),
        (Granted, User, "room:1", false, "FORBIDDEN"),
        (Granted, User, "room:1", true, "FORBIDDEN"),
        (Granted, User, "app:1", true, "ok"),
        (Granted, Token, "room:1", false, "ok"),
        (Granted, Token, "room:1", true, "ok"),
        (Granted, Token, "other", false, "FORBIDDEN"),
        (Granted, Token, "other", true, "FORBIDDEN"),
        (Anyone, User, "no:1", true, "NO"),
    ] {
        let mut rig = Rig::new(Setup {
            rules: vec![Rule { subscribe: access, ..open("*") }],
            application: application.then(|| Arc::new(GrantsApp) as Arc<dyn Application>),
            ..Setup::default()
        });
        let client = connect(&mut rig, who);
        let lines = rig.does(client, subscribe(channel));
        let case = format!("{access:?}, {who:?}, {channel}, application: {application}");
        assert_eq!(code(&lines), expected, "{case}");
        rig.say(channel, "secret");
        rig.settle();
        let heard = rig.seen(client).len();
        assert_eq!(heard, usize::from(expected == "ok"), "{case}");
    }
}

#[test]
fn publishing() {
    use PublishAccess::*;
    use Who::*;
    for (access, who, channel, application, expected) in [
        (Nobody, Token, "room:1", true, "FORBIDDEN"),
        (Nobody, User, "app:1", true, "FORBIDDEN"),
        (Anyone, Anonymous, "room:1", false, "ok"),
        (Authenticated, Anonymous, "room:1", false, "AUTH_REQUIRED"),
        (Authenticated, User, "room:1", false, "ok"),
        (Members, User, "room:1", false, "NOT_SUBSCRIBED"),
        (Members, Anonymous, "room:1", false, "NOT_SUBSCRIBED"),
        (Granted, Anonymous, "room:1", false, "AUTH_REQUIRED"),
        (Granted, Anonymous, "app:1", true, "ok"),
        (Granted, User, "room:1", false, "FORBIDDEN"),
        (Granted, User, "app:1", true, "ok"),
        (Granted, Token, "room:1", false, "ok"),
        (Granted, Token, "other", false, "FORBIDDEN"),
        (Anyone, User, "no:1", true, "NO"),
    ] {
        let mut rig = Rig::new(Setup {
            rules: vec![Rule { publish: access, ..open("*") }],
            application: application.then(|| Arc::new(GrantsApp) as Arc<dyn Application>),
            ..Setup::default()
        });
        let listener = rig.user("listener");
        rig.does(listener, subscribe("room:1"));
        rig.seen(listener);
        let client = connect(&mut rig, who);
        let lines = rig.does(client, publish(channel, "hello"));
        let case = format!("{access:?}, {who:?}, {channel}, application: {application}");
        assert_eq!(code(&lines), expected, "{case}");
        let heard = rig.seen(listener).len();
        assert_eq!(heard, usize::from(expected == "ok" && channel == "room:1"), "{case}");
    }
}

#[test]
fn members_publish_while_they_are_members() {
    let mut rig = Rig::ruled([Rule { publish: PublishAccess::Members, ..open("*") }]);
    let ann = rig.anonymous();
    rig.does(ann, subscribe("room"));
    assert_eq!(code(&rig.does(ann, publish("room", "1"))), "ok");
    rig.does(ann, unsubscribe("room"));
    assert_eq!(code(&rig.does(ann, publish("room", "1"))), "NOT_SUBSCRIBED");
}

#[test]
fn the_first_matching_rule_wins() {
    let closed = Rule { subscribe: Access::Granted, ..open("room:secret:*") };
    let mut rig = Rig::ruled([open("room:secret:public"), closed, open("room:*")]);
    let ann = rig.user("ann");
    for (channel, expected) in
        [("room:secret:public", "ok"), ("room:secret:other", "FORBIDDEN"), ("room:x", "ok"), ("x", "FORBIDDEN")]
    {
        assert_eq!(code(&rig.does(ann, subscribe(channel))), expected, "{channel}");
    }
}

#[test]
fn a_rule_of_another_app_does_not_count() {
    let mut rig = Rig::ruled([Rule { app: Some(starling_core::AppId::from("2")), ..open("*") }]);
    let ann = rig.user("ann");
    assert_eq!(code(&rig.does(ann, subscribe("room"))), "FORBIDDEN");
}

#[test]
fn the_user_placeholder_is_the_callers_own_id() {
    let mut rig = Rig::ruled([kept("inbox:{user}", 10)]);
    let (ann, nobody) = (rig.user("ann"), rig.anonymous());
    assert_eq!(code(&rig.does(ann, subscribe("inbox:ann"))), "ok");
    assert_eq!(code(&rig.does(ann, subscribe("inbox:bob"))), "FORBIDDEN");
    assert_eq!(code(&rig.does(ann, publish("inbox:bob", "x"))), "FORBIDDEN");
    assert_eq!(code(&rig.does(ann, history("inbox:bob", 1, None))), "FORBIDDEN");
    assert_eq!(code(&rig.does(nobody, subscribe("inbox:ann"))), "FORBIDDEN");
    // The server side is nobody's user, and the channel keeps what its rule says.
    rig.say("inbox:ann", "mail");
    rig.settle();
    assert_eq!(rig.seen(ann), ["inbox:ann a:1 mail"]);
}

#[test]
fn grants_may_name_the_user() {
    let mut rig = Rig::ruled([Rule { subscribe: Access::Granted, ..open("*") }]);
    let ann = rig.connect(0, Some("ann"), grants(&["box:{user}"]));
    assert_eq!(code(&rig.does(ann, subscribe("box:ann"))), "ok");
    assert_eq!(code(&rig.does(ann, subscribe("box:bob"))), "FORBIDDEN");
}

#[test]
fn user_channels_are_nobodys_to_ask_for_whatever_the_rules_say() {
    for rule in [open("*"), kept("*", 10), attended("*")] {
        let mut rig = Rig::ruled([rule]);
        let (ann, bob, nobody) = (rig.user("ann"), rig.user("bob"), rig.anonymous());
        for client in [ann, bob] {
            for request in
                [subscribe("#user:ann"), publish("#user:ann", "fake"), presence("#user:bob", PresenceAction::Get)]
            {
                let lines = rig.does(client, request.clone());
                let code = code(&lines);
                assert!(matches!(code, "FORBIDDEN" | "NO_PRESENCE"), "{request:?}: {code}");
            }
            let lines = rig.does(client, history("#user:ann", 10, None));
            assert!(matches!(code(&lines), "FORBIDDEN" | "NO_HISTORY"), "{lines:?}");
            assert_eq!(code(&rig.does(client, unsubscribe("#user:ann"))), "NOT_SUBSCRIBED");
        }
        assert_eq!(code(&rig.does(nobody, subscribe("#user:ann"))), "AUTH_REQUIRED");
        assert_eq!(rig.seen(ann), [""; 0], "nobody could write to ann");
    }
}

#[test]
fn reading_history_and_presence_needs_what_subscribing_needs() {
    let rule = |access| Rule { subscribe: access, presence: Some(Default::default()), ..kept("*", 10) };
    for (access, who, expected) in [
        (Access::Anyone, Who::Anonymous, "ok"),
        (Access::Authenticated, Who::Anonymous, "AUTH_REQUIRED"),
        (Access::Authenticated, Who::User, "ok"),
        (Access::Granted, Who::User, "FORBIDDEN"),
        (Access::Granted, Who::Token, "ok"),
    ] {
        let mut rig = Rig::ruled([rule(access)]);
        let client = connect(&mut rig, who);
        let read = rig.does(client, history("room:1", 10, None));
        assert_eq!(code(&read), expected, "{access:?} {who:?}");
        let listed = rig.does(client, presence("room:1", PresenceAction::Get));
        assert_eq!(code(&listed), expected, "{access:?} {who:?}");
        let entered = rig.does(client, presence("room:1", PresenceAction::Enter(None)));
        let expected = if expected == "ok" { "NOT_SUBSCRIBED" } else { expected };
        assert_eq!(code(&entered), expected, "{access:?} {who:?}");
    }
}

#[test]
fn what_a_channel_does_not_keep_is_said() {
    let mut rig = Rig::ruled([open("*")]);
    let ann = rig.user("ann");
    assert_eq!(code(&rig.does(ann, history("room", 1, None))), "NO_HISTORY");
    assert_eq!(code(&rig.does(ann, presence("room", PresenceAction::Get))), "NO_PRESENCE");
    assert_eq!(code(&rig.does(ann, attend("room", None))), "NO_PRESENCE");
    assert_eq!(rig.does(ann, recover_from("room", "x".into(), 5)), ["#4 subscribed room - lost"]);
}
