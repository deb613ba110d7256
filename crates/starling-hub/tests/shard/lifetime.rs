//! Connections and channels that come and go.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use starling_core::{CloseReason, Form};

use crate::rig::*;

#[test]
fn a_closed_connection_says_good_bye_once_and_gets_nothing_more() {
    let mut rig = Rig::ruled([open("*")]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    let now = rig.now;
    let (shard, slot) = rig.shard_of(ann);
    shard.close(slot, CloseReason::Drain, now);
    shard.close(slot, CloseReason::Internal, now);
    rig.ask(ann, publish("room", "too late"));
    rig.say("room", "too late");
    rig.say("#user:ann", "too late");
    rig.settle();
    assert_eq!(rig.seen(ann), ["close drain"]);
    let counters = rig.hub.counters().of(&app());
    assert_eq!(counters.closed(CloseReason::Drain), 1);
    assert_eq!(counters.closed(CloseReason::Internal), 0);
    assert_eq!(counters.members.load(Relaxed), 0);
    assert_eq!(counters.connections.of(Form(0)).load(Relaxed), 0);
}

#[test]
fn an_old_slot_is_never_valid_again() {
    let mut rig = Rig::ruled([open("*")]);
    let ann = rig.user("ann");
    rig.lose(ann);
    let bob = rig.user("bob");
    assert_eq!(rig.clients[ann.0].slot.index, rig.clients[bob.0].slot.index);
    rig.ask(ann, subscribe("room"));
    let now = rig.now;
    let (shard, slot) = rig.shard_of(ann);
    assert!(shard.get(slot).is_none());
    assert!(shard.remove(slot, CloseReason::Lost, now).is_none());
    shard.close(slot, CloseReason::Lost, now);
    rig.settle();
    assert_eq!(rig.seen(bob), [""; 0]);
    assert_eq!(rig.does(bob, subscribe("room")), ["#2 subscribed room -"]);
}

#[test]
fn a_connection_id_that_moved_to_a_new_transport_stays_known() {
    let mut rig = Rig::ruled([open("*")]);
    let old = rig.connect_as("same", 0, Some("ann"), None);
    let new = rig.connect_as("same", 0, Some("ann"), None);
    rig.lose(old);
    let (shard, slot) = rig.shard_of(new);
    assert_eq!(shard.find(&"same".into()), Some(slot));
    rig.lose(new);
    let (shard, _) = rig.shard_of(new);
    assert_eq!(shard.find(&"same".into()), None);
}

#[test]
fn a_vacant_channel_is_given_up_and_comes_back() {
    let (mut rig, engine) = Rig::remote([kept("*", 100)]);
    let ann = rig.anonymous();
    for round in 1..=3 {
        rig.ask(ann, subscribe("room"));
        rig.settle_with(&engine);
        let lines = rig.seen(ann);
        assert!(lines[0].contains("subscribed room"), "{lines:?}");
        rig.say("room", "hello");
        rig.settle_with(&engine);
        assert_eq!(rig.seen(ann), [format!("room a:{round} hello")]);
        rig.ask(ann, unsubscribe("room"));
        rig.settle_with(&engine);
        rig.seen(ann);
        assert!(engine.wishes(&app(), &name("room")) > 0);
        rig.pass(Duration::from_secs(3));
        rig.settle_with(&engine);
        assert_eq!(engine.wishes(&app(), &name("room")), 0);
    }
}

#[test]
fn a_quick_return_keeps_the_channel() {
    let (mut rig, engine) = Rig::remote([kept("*", 100)]);
    let ann = rig.anonymous();
    for _ in 0..5 {
        rig.ask(ann, subscribe("room"));
        rig.settle_with(&engine);
        rig.pass(Duration::from_secs(1));
        rig.ask(ann, unsubscribe("room"));
        rig.settle_with(&engine);
        rig.pass(Duration::from_secs(1));
        assert!(engine.wishes(&app(), &name("room")) > 0);
    }
    rig.ask(ann, subscribe("room"));
    rig.settle_with(&engine);
    rig.pass(Duration::from_secs(100));
    rig.settle_with(&engine);
    assert!(engine.wishes(&app(), &name("room")) > 0);
}

#[test]
fn a_place_in_the_channel_table_is_used_again_by_another_channel() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let (ann, bob) = (rig.anonymous(), rig.anonymous());
    rig.does(bob, subscribe("stays"));
    for n in 0..20 {
        let channel = format!("c{n}");
        rig.does(ann, subscribe(&channel));
        rig.say(&channel, "x");
        rig.ask(ann, unsubscribe(&channel));
        rig.pass(Duration::from_millis(2500));
        rig.say(&channel, "nobody");
        rig.say("stays", "y");
        rig.settle();
    }
    let lines = rig.seen(ann);
    assert!(lines.iter().all(|line| !line.ends_with("nobody")), "{lines:?}");
    let heard = rig.seen(bob).iter().filter(|line| line.ends_with(" y")).count();
    assert_eq!(heard, 20);
}

#[test]
fn rules_may_change_under_the_members() {
    use starling_core::{Limits, RuleSet};
    use starling_hub::Settings;
    let mut rig = Rig::ruled([open("*")]);
    let reconfigure = |rig: &mut Rig, rule| {
        rig.hub.reconfigure(Settings { rules: RuleSet::new([rule]), limits: Limits::default(), ..Settings::default() });
        rig.settle();
    };
    let ann = rig.anonymous();
    rig.does(ann, subscribe("room"));
    reconfigure(&mut rig, kept("*", 10));
    rig.say_many("room", 1..=3);
    rig.settle();
    assert_eq!(rig.seen(ann), numbered("room", 'a', 1..=3), "history was added");
    let bob = rig.anonymous();
    assert_eq!(rig.does(bob, rewind("room", 1)), ["#2 subscribed room a:3", "room a:3 3"]);
    reconfigure(&mut rig, open("*"));
    rig.say("room", "4");
    rig.settle();
    for client in [ann, bob] {
        assert_eq!(rig.seen(client), ["room - 4"], "history was taken away");
    }
    reconfigure(&mut rig, attended("*"));
    assert_eq!(rig.does(ann, unsubscribe("room")), ["#3 unsubscribed room"]);
    assert_eq!(
        rig.does(ann, attend("room", Some("{}"))),
        ["#4 subscribed room -", "present room [c1{}]"],
        "presence was added"
    );
}

#[test]
fn an_empty_frame_is_no_frame() {
    let mut outbox = starling_hub::Outbox::default();
    outbox.push(bytes::Bytes::new());
    assert!(outbox.is_empty());
}
