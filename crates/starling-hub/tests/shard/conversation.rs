//! Subscribing, publishing, unsubscribing.

use starling_core::{MessageId, Publish, Request};

use crate::rig::*;

#[test]
fn subscribe_publish_unsubscribe() {
    let mut rig = Rig::ruled([open("*")]);
    let (ann, bob) = (rig.user("ann"), rig.anonymous());
    assert_eq!(rig.does(ann, subscribe("room")), ["#1 subscribed room -"]);
    assert_eq!(rig.does(bob, subscribe("room")), ["#2 subscribed room -"]);
    assert_eq!(rig.does(bob, publish("room", "hello")), ["#3 published -", "room - hello"]);
    assert_eq!(rig.seen(ann), ["room - hello"]);
    assert_eq!(rig.does(ann, unsubscribe("room")), ["#4 unsubscribed room"]);
    rig.does(bob, publish("room", "alone"));
    assert_eq!(rig.seen(ann), [""; 0]);
    assert_eq!(rig.does(ann, unsubscribe("room")), ["#6 refused NOT_SUBSCRIBED"]);
}

#[test]
fn with_history_answers_and_messages_have_positions() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let ann = rig.user("ann");
    assert_eq!(rig.does(ann, subscribe("room")), ["#1 subscribed room a:0"]);
    assert_eq!(rig.does(ann, publish("room", "one")), ["#2 published a:1", "room a:1 one"]);
    assert_eq!(rig.does(ann, history("room", 10, None)), ["#3 history a:1 [one]"]);
}

#[test]
fn a_second_subscription_is_refused() {
    let mut rig = Rig::ruled([open("*")]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    assert_eq!(rig.does(ann, subscribe("room")), ["#2 refused ALREADY_SUBSCRIBED"]);
}

#[test]
fn without_echo_the_sender_gets_nothing_and_others_do() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let (ann, bob) = (rig.user("ann"), rig.user("ann"));
    rig.does(ann, subscribe("room"));
    rig.does(bob, subscribe("room"));
    rig.seen(bob);
    rig.ask(ann, publish("room", "loud"));
    rig.ask(ann, publish_quietly("room", "quiet"));
    rig.ask(ann, publish("room", "loud again"));
    rig.settle();
    let heard: Vec<_> = rig.seen(ann).into_iter().filter(|line| line.starts_with("room")).collect();
    assert_eq!(heard, ["room a:1 loud", "room a:3 loud again"]);
    assert_eq!(rig.seen(bob), ["room a:1 loud", "room a:2 quiet", "room a:3 loud again"]);
}

#[test]
fn the_same_message_id_is_delivered_once_and_answered_twice() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    let once = || Request::Publish(Publish { message_id: Some(MessageId::from("mine")), ..says("room", "once") });
    assert_eq!(rig.does(ann, once()), ["#2 published a:1", "room a:1 once"]);
    assert_eq!(rig.does(ann, once()), ["#3 published a:1"]);
}

#[test]
fn members_on_all_workers_get_every_message_in_order() {
    let mut rig = Rig::new(Setup { rules: vec![kept("*", 1000)], workers: 3, ..Setup::default() });
    let members: Vec<_> = (0..9).map(|n| rig.connect(n % 3, None, None)).collect();
    for member in &members {
        rig.does(*member, subscribe("room"));
    }
    rig.say_many("room", 1..=50);
    rig.settle();
    for member in members {
        assert_eq!(rig.seen(member), numbered("room", 'a', 1..=50));
    }
}

#[test]
fn members_may_leave_in_any_order() {
    // Leaving moves the last member into the place of the one that leaves.
    for leaving in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let mut rig = Rig::ruled([open("*")]);
        let members: Vec<_> = (0..4).map(|_| rig.anonymous()).collect();
        for member in &members {
            rig.does(*member, subscribe("room"));
        }
        let mut left = Vec::new();
        for index in leaving {
            rig.does(members[index], unsubscribe("room"));
            left.push(index);
            rig.say("room", "still");
            rig.settle();
            for (index, member) in members.iter().enumerate() {
                let expected: &[&str] = if left.contains(&index) { &[] } else { &["room - still"] };
                assert_eq!(rig.seen(*member), expected, "{index} after {left:?} left");
            }
        }
    }
}

#[test]
fn user_channels_reach_every_connection_of_the_user_and_nobody_else() {
    // Whatever the rules say: user channels have none, and keep nothing.
    for rule in [open("*"), kept("*", 100), open("room"), attended("*")] {
        let mut rig = Rig::ruled([rule]);
        let (first, second, other) = (rig.user("ann"), rig.user("ann"), rig.user("bob"));
        rig.say("#user:ann", "mail");
        rig.settle();
        assert_eq!(rig.seen(first), ["#user:ann - mail"]);
        assert_eq!(rig.seen(second), ["#user:ann - mail"]);
        assert_eq!(rig.seen(other), [""; 0]);
    }
}

#[test]
fn a_connection_that_is_admitted_again_still_gets_its_messages_once() {
    let mut rig = Rig::ruled([open("*")]);
    let ann = rig.user("ann");
    let now = rig.now;
    let (shard, slot) = rig.shard_of(ann);
    let identity = shard.get(slot).unwrap().identity.clone();
    shard.admit(slot, identity, now);
    rig.say("#user:ann", "mail");
    rig.settle();
    assert_eq!(rig.seen(ann), ["#user:ann - mail"]);
}

#[test]
fn channels_without_a_rule_are_refused_for_all() {
    let mut rig = Rig::ruled([open("room:*")]);
    let ann = rig.user("ann");
    assert_eq!(rig.does(ann, subscribe("x")), ["#1 refused FORBIDDEN"]);
    assert_eq!(rig.does(ann, publish("x", "1")), ["#2 refused FORBIDDEN"]);
    assert_eq!(rig.does(ann, history("x", 1, None)), ["#3 refused FORBIDDEN"]);
    let published = rig.hub.publish(&app(), says("x", "1"), None, 0);
    assert!(matches!(published, starling_core::Pending::Ready(Err(_))));
}

#[test]
fn what_comes_before_a_member_was_written_to_leaves_together() {
    let mut rig = Rig::new(Setup::default());
    let members: Vec<Client> = (0..3).map(|_| rig.anonymous()).collect();
    for &member in &members {
        rig.does(member, subscribe("room"));
        rig.seen(member);
    }
    rig.say("room", "1");
    rig.turn_writing(0, 1);
    assert_eq!(rig.shards[0].dirty(), 2);
    rig.say("room", "2");
    rig.turn_writing(0, 2);
    // The two that had waited have both messages, and the first waits for the second one.
    let seen: Vec<_> = members.iter().map(|&member| rig.seen(member)).collect();
    assert_eq!(seen, [vec!["room - 1"], vec!["room - 1", "room - 2"], vec!["room - 1", "room - 2"]]);
    assert_eq!(rig.shards[0].dirty(), 1);
    rig.turn(0);
    assert_eq!(rig.seen(members[0]), ["room - 2"]);
    assert_eq!(rig.shards[0].dirty(), 0);
}
