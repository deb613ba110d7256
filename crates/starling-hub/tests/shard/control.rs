//! Acts of the API on connections, and questions about them.

use std::sync::{Arc, Mutex};

use starling_core::{
    Answer, ConnectionId, Control, Occupancy, Query, Request, Start, Subscribe, SubscribeMore, Target, UserId,
};
use starling_hub::Grants;

use crate::rig::*;

fn order(rig: &mut Rig, control: Control) {
    let _ = rig.hub.engine().control(&app(), control);
    rig.settle();
}

fn ann() -> UserId {
    UserId::from("ann")
}

#[test]
fn disconnecting_a_user_closes_all_its_connections() {
    let mut rig = Rig::new(Setup { workers: 2, ..Setup::default() });
    let (one, two) = (rig.connect(0, Some("ann"), None), rig.connect(1, Some("ann"), None));
    let (bob, nobody) = (rig.user("bob"), rig.anonymous());
    order(&mut rig, Control::Disconnect { target: Target::User(ann()) });
    for client in [one, two] {
        assert_eq!(rig.seen(client), ["error FORBIDDEN", "close forbidden"]);
        assert!(rig.clients[client.0].gone);
    }
    for client in [bob, nobody] {
        assert_eq!(rig.seen(client), [""; 0]);
    }
}

#[test]
fn disconnecting_one_connection() {
    let mut rig = Rig::ruled([open("*")]);
    let (one, two) = (rig.user("ann"), rig.user("ann"));
    let connection = ConnectionId::from("c1");
    let other = starling_core::AppId::from("2");
    let control = Control::Disconnect { target: Target::Connection(connection) };
    let _ = rig.hub.engine().control(&other, control.clone());
    rig.settle();
    assert_eq!(rig.seen(one), [""; 0], "another app's order");
    order(&mut rig, control);
    assert_eq!(rig.seen(one), ["error FORBIDDEN", "close forbidden"]);
    assert_eq!(rig.seen(two), [""; 0]);
}

#[test]
fn revoking_closes_connections_of_older_tokens() {
    let mut rig = Rig::ruled([open("*")]);
    let mut with = |issued_at: Option<u64>| {
        let grants = Grants { issued_at, ..Grants::default() };
        rig.connect(0, Some("ann"), Some(grants))
    };
    let before = 1_700_000_000;
    let (older, same, newer, unknown) =
        (with(Some((before - 1) * 1000)), with(Some(before * 1000)), with(Some((before + 1) * 1000)), with(None));
    order(&mut rig, Control::Revoke { user: ann(), before });
    for (client, closed) in [(older, true), (same, false), (newer, false), (unknown, true)] {
        assert_eq!(rig.clients[client.0].gone, closed, "{client:?}");
    }
}

#[test]
fn subscribing_and_unsubscribing_a_user() {
    let mut rig = Rig::ruled([kept("*", 10)]);
    let (one, two, bob) = (rig.user("ann"), rig.user("ann"), rig.user("bob"));
    rig.does(two, subscribe("room"));
    rig.seen(two);
    let channel = name("room");
    order(&mut rig, Control::Subscribe { target: Target::User(ann()), channel: channel.clone() });
    rig.say("room", "hello");
    rig.settle();
    assert_eq!(rig.seen(one), ["subscribed room a:0", "room a:1 hello"]);
    assert_eq!(rig.seen(two), ["room a:1 hello"], "it was a member already");
    assert_eq!(rig.seen(bob), [""; 0]);
    order(&mut rig, Control::Unsubscribe { target: Target::User(ann()), channel });
    rig.say("room", "nobody there");
    rig.settle();
    for client in [one, two] {
        assert_eq!(rig.seen(client), ["unsubscribed room FORBIDDEN"]);
    }
}

#[test]
fn what_the_server_side_gave_becomes_the_clients_own_once() {
    let mut rig = Rig::ruled([kept("*", 10)]);
    let client = rig.user("ann");
    order(&mut rig, Control::Subscribe { target: Target::User(ann()), channel: name("room") });
    rig.say("room", "hello");
    rig.settle();
    assert_eq!(rig.seen(client), ["subscribed room a:0", "room a:1 hello"]);
    assert_eq!(rig.does(client, subscribe("room")), ["#1 refused ALREADY_SUBSCRIBED"]);
    let more = SubscribeMore { adopts: true, ..SubscribeMore::default() };
    let own = Subscribe { start: Start::Rewind(1), more: Some(Box::new(more)), ..Subscribe::live(name("room")) };
    let adopted = rig.does(client, Request::Subscribe(own.clone()));
    assert_eq!(adopted, ["#2 subscribed room a:1", "room a:1 hello"]);
    assert_eq!(rig.does(client, Request::Subscribe(own)), ["#3 refused ALREADY_SUBSCRIBED"]);
    rig.say("room", "once");
    rig.settle();
    assert_eq!(rig.seen(client), ["room a:2 once"]);
}

#[test]
fn a_guest_in_a_users_channel_is_not_the_user() {
    let mut rig = Rig::ruled([open("*")]);
    let (ann_client, bob) = (rig.user("ann"), rig.user("bob"));
    let channel = name("#user:ann");
    order(&mut rig, Control::Subscribe { target: Target::User("bob".into()), channel });
    order(&mut rig, Control::Disconnect { target: Target::User(ann()) });
    assert!(rig.clients[ann_client.0].gone);
    assert!(!rig.clients[bob.0].gone);
}

fn ask(rig: &mut Rig, query: Query) -> Vec<Answer> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let into = answers.clone();
    rig.hub.ask_workers(&app(), &query, move |answer| into.lock().unwrap().push(answer));
    rig.settle();
    Arc::try_unwrap(answers).unwrap().into_inner().unwrap()
}

#[test]
fn every_worker_answers_for_its_own() {
    let mut rig = Rig::new(Setup { workers: 2, ..Setup::default() });
    let one = rig.connect(0, Some("ann"), None);
    let two = rig.connect(0, Some("ann"), None);
    let other = rig.connect(1, None, None);
    for (client, channel) in [(one, "room:1"), (two, "room:1"), (one, "hall"), (other, "room:1")] {
        rig.does(client, subscribe(channel));
    }
    let occupancy =
        |members, users: &[&str]| Occupancy { members, users: users.iter().map(|user| UserId::from(*user)).collect() };
    let answers = ask(&mut rig, Query::Channels { prefix: "room:".into() });
    assert_eq!(
        answers,
        [
            Answer::Channels(vec![(name("room:1"), occupancy(2, &["ann"]))]),
            Answer::Channels(vec![(name("room:1"), occupancy(1, &[]))]),
        ]
    );
    let answers = ask(&mut rig, Query::Channel { channel: name("hall") });
    assert_eq!(answers, [Answer::Channels(vec![(name("hall"), occupancy(1, &["ann"]))]), Answer::Channels(vec![]),]);
    let answers = ask(&mut rig, Query::Stats);
    assert_eq!(
        answers,
        [
            Answer::Stats { connections: 2, channels: 2, members: 3 },
            Answer::Stats { connections: 1, channels: 1, members: 1 },
        ]
    );
    let answers = ask(&mut rig, Query::Connection { connection: "c1".into() });
    let Answer::Connection(Some(survey)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(survey.channels, [name("room:1"), name("hall")]);
    assert_eq!(survey.user, Some(ann()));
    assert_eq!(answers[1], Answer::Connection(None));
}
