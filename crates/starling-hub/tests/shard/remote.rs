//! A remote engine: answers that come later and in any order, deliveries that are lost or repeated, an engine that goes
//! away and comes back.

use starling_core::{ChannelName, ConnectionId, PresenceAction, PresenceChange, Request, Subscribe};
use starling_testkit::RemoteEngine;

use crate::rig::*;

fn room() -> ChannelName {
    name("room")
}

fn elsewhere_many(engine: &RemoteEngine, numbers: std::ops::RangeInclusive<u64>) {
    let policy = kept("*", 100).history;
    for n in numbers {
        engine.publish_elsewhere(elsewhere("room", &n.to_string()), policy);
    }
}

/// A rig with one member of `room`, which kept `size` messages.
fn with_member(size: usize) -> (Rig, std::sync::Arc<RemoteEngine>, Client) {
    let (mut rig, engine) = Rig::remote([kept("*", size)]);
    let ann = rig.anonymous();
    rig.ask(ann, subscribe("room"));
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), ["#1 subscribed room a:0"]);
    (rig, engine, ann)
}

#[test]
fn a_connection_waits_for_its_answers() {
    let (mut rig, engine) = Rig::remote([kept("*", 10)]);
    let ann = rig.anonymous();
    let blocked = |rig: &mut Rig| {
        let (shard, slot) = rig.shard_of(ann);
        shard.get(slot).unwrap().is_blocked()
    };
    rig.ask(ann, subscribe("room"));
    assert!(blocked(&mut rig));
    rig.settle();
    assert_eq!(engine.held(), ["interest room on"], "the log is read after interest is there");
    engine.answer("interest");
    rig.settle();
    assert_eq!(engine.held(), ["history room newest 0"]);
    assert!(blocked(&mut rig));
    engine.answer("history");
    rig.settle();
    assert!(!blocked(&mut rig));
    assert_eq!(rig.seen(ann), ["#1 subscribed room a:0"]);
}

#[test]
fn publishes_of_one_connection_overlap_up_to_a_bound() {
    let (mut rig, engine) = Rig::remote([open("*")]);
    let ann = rig.anonymous();
    let blocked = |rig: &mut Rig| {
        let (shard, slot) = rig.shard_of(ann);
        shard.get(slot).unwrap().is_blocked()
    };
    for n in 1..=64 {
        assert!(!blocked(&mut rig), "{n}");
        rig.ask(ann, publish("room", "x"));
    }
    assert!(blocked(&mut rig));
    // What is refused at once was never under way.
    engine.go_down();
    for _ in 0..10 {
        rig.ask(ann, publish("room", "x"));
    }
    rig.settle();
    assert!(blocked(&mut rig), "64 are still under way");
    engine.come_back();
    engine.answer("publish");
    rig.settle();
    assert!(!blocked(&mut rig));
    engine.answer_all();
    rig.settle();
    let lines = rig.seen(ann);
    let refused = lines.iter().filter(|line| line.ends_with("ENGINE_UNAVAILABLE")).count();
    let published = lines.iter().filter(|line| line.ends_with("published -")).count();
    assert_eq!((refused, published), (10, 64));
}

#[test]
fn messages_published_while_joining_are_neither_lost_nor_repeated() {
    let (mut rig, engine) = Rig::remote([kept("*", 100)]);
    let ann = rig.anonymous();
    elsewhere_many(&engine, 1..=1);
    engine.lose_all();
    rig.ask(ann, rewind("room", 100));
    rig.settle();
    engine.answer("interest");
    rig.settle();
    elsewhere_many(&engine, 2..=2);
    engine.perform("history");
    elsewhere_many(&engine, 3..=3);
    engine.deliver_all();
    rig.settle();
    engine.answer("history");
    rig.settle_with(&engine);
    elsewhere_many(&engine, 4..=4);
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann)[1..], numbered("room", 'a', 1..=4));
}

#[test]
fn a_lost_delivery_is_read_from_the_log() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=3);
    engine.deliver();
    engine.lose();
    engine.deliver();
    rig.settle();
    assert_eq!(rig.seen(ann), ["room a:1 1"]);
    elsewhere_many(&engine, 4..=5);
    engine.deliver_all();
    rig.settle();
    assert_eq!(engine.held(), ["history room after 1"], "it is read once");
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), numbered("room", 'a', 2..=5));
}

#[test]
fn a_repeated_delivery_is_delivered_once() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=2);
    engine.deliver_and_keep();
    engine.deliver_and_keep();
    engine.deliver_all();
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), numbered("room", 'a', 1..=2));
}

#[test]
fn what_the_log_lost_meanwhile_is_told_as_a_gap() {
    let (mut rig, engine, ann) = with_member(100);
    let policy = kept("*", 3).history;
    for n in 1..=10 {
        engine.publish_elsewhere(elsewhere("room", &n.to_string()), policy);
    }
    for _ in 0..9 {
        engine.lose();
    }
    rig.settle_with(&engine);
    let mut expected = vec!["gap room 7".to_owned()];
    expected.extend(numbered("room", 'a', 8..=10));
    assert_eq!(rig.seen(ann), expected);
}

#[test]
fn a_hole_of_several_pages_is_filled() {
    let (mut rig, engine) = Rig::remote([kept("*", 2000)]);
    let ann = rig.anonymous();
    rig.ask(ann, subscribe("room"));
    rig.settle_with(&engine);
    rig.seen(ann);
    let policy = kept("*", 2000).history;
    for n in 1..=1000 {
        engine.publish_elsewhere(elsewhere("room", &n.to_string()), policy);
    }
    for _ in 0..999 {
        engine.lose();
    }
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), numbered("room", 'a', 1..=1000));
}

#[test]
fn what_is_not_kept_comes_also_behind_a_hole() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=2);
    engine.publish_elsewhere(elsewhere("room", "3"), None);
    engine.lose();
    engine.deliver_all();
    rig.settle_with(&engine);
    let mut seen = rig.seen(ann);
    seen.sort_unstable();
    assert_eq!(seen, ["room - 3", "room a:1 1", "room a:2 2"]);
}

#[test]
fn after_a_resync_nothing_is_missing() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=3);
    engine.lose_all();
    engine.go_down();
    rig.settle();
    engine.come_back();
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), numbered("room", 'a', 1..=3));
}

#[test]
fn a_resync_during_a_read_reads_again() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=2);
    engine.lose();
    engine.deliver_all();
    rig.settle();
    engine.perform("history room after 0");
    elsewhere_many(&engine, 3..=3);
    engine.lose_all();
    engine.come_back();
    rig.settle();
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), numbered("room", 'a', 1..=3));
}

#[test]
fn without_history_a_resync_is_a_gap_of_unknown_size() {
    let (mut rig, engine) = Rig::remote([open("*")]);
    let ann = rig.anonymous();
    rig.ask(ann, subscribe("room"));
    rig.settle_with(&engine);
    rig.seen(ann);
    engine.come_back();
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), ["gap room 0"]);
}

#[test]
fn a_lost_log_is_told_and_the_new_one_is_read_from_its_start() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=10);
    rig.settle_with(&engine);
    rig.seen(ann);
    engine.lose_log(&app(), &room());
    elsewhere_many(&engine, 1..=3);
    engine.lose();
    rig.settle_with(&engine);
    let mut expected = vec!["gap room 0".to_owned()];
    expected.extend(numbered("room", 'b', 1..=3));
    assert_eq!(rig.seen(ann), expected);
}

#[test]
fn messages_of_the_old_log_that_come_during_the_read_do_not_stop_it() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=3);
    engine.deliver();
    engine.lose();
    engine.deliver();
    rig.settle();
    assert_eq!(engine.held(), ["history room after 1"]);
    elsewhere_many(&engine, 4..=4);
    engine.deliver_all();
    engine.lose_log(&app(), &room());
    elsewhere_many(&engine, 1..=2);
    engine.deliver_all();
    rig.settle();
    for _ in 0..10 {
        rig.settle();
        if !engine.answer_all() {
            break;
        }
    }
    assert_eq!(engine.held(), [""; 0], "it reads again and again");
    elsewhere_many(&engine, 3..=3);
    rig.settle_with(&engine);
    let lines = rig.seen(ann);
    assert_eq!(lines[0], "room a:1 1");
    assert!(lines.contains(&"gap room 0".to_owned()), "{lines:?}");
    let new: Vec<_> = lines.iter().filter(|line| line.starts_with("room b")).cloned().collect();
    assert_eq!(new, numbered("room", 'b', 1..=3));
}

#[test]
fn a_member_that_waits_in_the_new_log_is_not_left_behind() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=5);
    rig.settle_with(&engine);
    engine.lose_log(&app(), &room());
    elsewhere_many(&engine, 1..=3);
    engine.lose_all();
    let bob = rig.anonymous();
    rig.ask(bob, rewind("room", 2));
    rig.settle_with(&engine);
    elsewhere_many(&engine, 4..=5);
    rig.settle_with(&engine);
    elsewhere_many(&engine, 6..=6);
    rig.settle_with(&engine);
    rig.seen(ann);
    assert_eq!(rig.seen(bob)[1..], numbered("room", 'b', 2..=6));
}

#[test]
fn an_order_to_clear_that_comes_late_repeats_nothing() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=2);
    rig.settle_with(&engine);
    rig.seen(ann);
    let cleared = rig.hub.engine().clear_history(&app(), &room());
    engine.perform("clear");
    drop(cleared);
    elsewhere_many(&engine, 1..=1);
    // What was published behind the order comes before it.
    engine.postpone();
    engine.deliver();
    rig.settle();
    engine.answer("history");
    rig.settle();
    engine.deliver();
    rig.settle();
    elsewhere_many(&engine, 2..=3);
    rig.settle_with(&engine);
    let lines = rig.seen(ann);
    let new: Vec<_> = lines.into_iter().filter(|line| line.starts_with("room")).collect();
    assert_eq!(new, numbered("room", 'b', 1..=3));
}

#[test]
fn a_read_for_members_that_left_does_not_turn_back_those_who_came() {
    let (mut rig, engine, ann) = with_member(100);
    elsewhere_many(&engine, 1..=5);
    rig.settle_with(&engine);
    elsewhere_many(&engine, 6..=8);
    engine.lose();
    engine.deliver_all();
    rig.settle();
    engine.perform("history room after 5");
    elsewhere_many(&engine, 9..=12);
    engine.lose_all();
    rig.ask(ann, unsubscribe("room"));
    let bob = rig.anonymous();
    rig.ask(bob, subscribe("room"));
    rig.settle();
    engine.answer("interest");
    rig.settle();
    engine.answer("history room newest 0");
    rig.settle();
    assert_eq!(rig.seen(bob), ["#3 subscribed room a:12"]);
    rig.settle_with(&engine);
    elsewhere_many(&engine, 13..=13);
    rig.settle_with(&engine);
    assert_eq!(rig.seen(bob), numbered("room", 'a', 13..=13));
}

#[test]
fn an_engine_that_is_away_is_told_as_such() {
    let (mut rig, engine) = Rig::remote([kept("*", 100)]);
    let ann = rig.anonymous();
    engine.go_down();
    for request in [subscribe("room"), publish("room", "x"), history("room", 1, None)] {
        let lines = rig.does(ann, request);
        assert!(lines[0].ends_with("refused ENGINE_UNAVAILABLE"), "{lines:?}");
    }
    engine.come_back();
    rig.settle_with(&engine);
    rig.ask(ann, subscribe("room"));
    rig.settle_with(&engine);
    assert_eq!(rig.seen(ann), ["#4 subscribed room a:0"]);
}

#[test]
fn a_wish_that_failed_is_not_taken_back() {
    for (fails, after) in [("interest", None), ("history", Some("interest"))] {
        let (mut rig, engine) = Rig::remote([kept("*", 100)]);
        let ann = rig.anonymous();
        rig.ask(ann, subscribe("room"));
        rig.settle();
        if let Some(after) = after {
            engine.answer(after);
            rig.settle();
        }
        engine.fail(fails);
        rig.settle();
        assert_eq!(rig.seen(ann), ["#1 refused ENGINE_UNAVAILABLE"]);
        rig.pass(std::time::Duration::from_secs(3));
        rig.settle_with(&engine);
        assert_eq!(engine.wishes(&app(), &room()), 0, "{fails} failed");
    }
}

#[test]
fn a_user_whose_wish_failed_gets_messages_when_the_engine_is_back() {
    let (mut rig, engine) = Rig::remote([open("*")]);
    engine.go_down();
    let ann = rig.user("ann");
    rig.settle();
    engine.come_back();
    rig.settle_with(&engine);
    assert!(engine.wishes(&app(), &name("#user:ann")) > 0);
    rig.lose(ann);
    rig.settle_with(&engine);
    rig.pass(std::time::Duration::from_secs(3));
    rig.settle_with(&engine);
    assert_eq!(engine.wishes(&app(), &name("#user:ann")), 0);
}

#[test]
fn answers_for_a_connection_that_left_reach_nobody() {
    let (mut rig, engine) = Rig::remote([kept("*", 100)]);
    let ann = rig.anonymous();
    rig.ask(ann, publish("room", "x"));
    rig.ask(ann, subscribe("room"));
    rig.settle();
    rig.lose(ann);
    let bob = rig.anonymous();
    assert_eq!(rig.clients[ann.0].slot.index, rig.clients[bob.0].slot.index);
    rig.ask(bob, subscribe("room"));
    rig.settle();
    // Answers to the first are released while the second, in the same place, waits for its own.
    engine.answer("publish");
    engine.answer("interest");
    rig.settle();
    engine.answer("history");
    rig.settle();
    assert_eq!(rig.seen(bob), [""; 0]);
    let (shard, slot) = rig.shard_of(bob);
    assert!(shard.get(slot).unwrap().is_blocked());
    rig.settle_with(&engine);
    assert_eq!(rig.seen(bob), ["#3 subscribed room a:1"]);
}

#[test]
fn presence_of_a_connection_that_left_before_the_answer_does_not_stay() {
    for how in ["lost", "closed", "unsubscribed"] {
        let (mut rig, engine) = Rig::remote([attended("*")]);
        let ann = rig.anonymous();
        rig.ask(ann, subscribe("room"));
        rig.settle_with(&engine);
        rig.ask(ann, presence("room", PresenceAction::Enter(None)));
        rig.settle();
        let now = rig.now;
        match how {
            "lost" => rig.lose(ann),
            "closed" => {
                let (shard, slot) = rig.shard_of(ann);
                shard.close(slot, starling_core::CloseReason::Normal, now);
            }
            _ => rig.ask(ann, unsubscribe("room")),
        }
        rig.settle_with(&engine);
        assert_eq!(engine.present(&app(), &room()), [], "{how}");
    }
}

#[test]
fn changes_between_the_state_and_its_answer_are_told() {
    let (mut rig, engine) = Rig::remote([attended("*")]);
    let ann = rig.anonymous();
    rig.ask(ann, attend("room", None));
    rig.settle();
    engine.answer("interest");
    rig.settle();
    engine.presence_elsewhere(&app(), &room(), entered("x"));
    engine.perform("members");
    engine.presence_elsewhere(&app(), &room(), entered("y"));
    engine.presence_elsewhere(&app(), &room(), PresenceChange::Leave(ConnectionId::from("x")));
    engine.deliver_all();
    rig.settle();
    assert_eq!(rig.seen(ann), ["#1 subscribed room -"]);
    engine.answer("members");
    rig.settle();
    assert_eq!(rig.seen(ann), ["present room [x{}]", "diff room +y{} -x{}"]);
}

/// Subscribed is subscribed; that nobody sees it there is told apart.
#[test]
fn who_could_not_be_made_present_is_told() {
    let (mut rig, engine) = Rig::remote([attended("*")]);
    let ann = rig.anonymous();
    rig.ask(ann, Request::Subscribe(Subscribe { enter: Some(json("{}")), ..Subscribe::live(name("room")) }));
    rig.settle();
    engine.answer("interest");
    rig.settle();
    let entering = engine.held().into_iter().find(|held| held.starts_with("presence room +")).expect("it enters");
    engine.fail(&entering);
    rig.settle();
    assert_eq!(rig.seen(ann), ["#1 subscribed room -", "error ENGINE_UNAVAILABLE"]);
}

#[test]
fn repeated_presence_events_are_told_once() {
    let (mut rig, engine) = Rig::remote([attended("*")]);
    let ann = rig.anonymous();
    rig.ask(ann, attend("room", None));
    rig.settle_with(&engine);
    rig.seen(ann);
    engine.presence_elsewhere(&app(), &room(), entered("x"));
    engine.deliver_and_keep();
    rig.settle();
    engine.deliver_all();
    rig.settle();
    assert_eq!(rig.seen(ann), ["diff room +x{}"]);
}

#[test]
fn a_state_for_the_one_before_does_not_count_for_the_one_in_its_place() {
    let (mut rig, engine) = Rig::remote([attended("*")]);
    let ann = rig.anonymous();
    rig.ask(ann, attend("room", None));
    rig.settle();
    engine.answer("interest");
    rig.settle();
    engine.perform("members");
    rig.lose(ann);
    engine.presence_elsewhere(&app(), &room(), entered("x"));
    let bob = rig.anonymous();
    rig.ask(bob, attend("room", None));
    rig.settle();
    engine.answer("interest");
    rig.settle();
    engine.answer("members");
    engine.deliver_all();
    rig.settle();
    rig.settle_with(&engine);
    assert_eq!(rig.seen(bob), ["#2 subscribed room -", "present room [x{}]"]);
}

#[test]
fn after_a_resync_watchers_are_given_the_state_again() {
    let (mut rig, engine) = Rig::remote([attended("*")]);
    let ann = rig.anonymous();
    rig.ask(ann, attend("room", None));
    rig.settle_with(&engine);
    engine.presence_elsewhere(&app(), &room(), entered("x"));
    engine.lose_all();
    engine.come_back();
    rig.settle_with(&engine);
    engine.presence_elsewhere(&app(), &room(), entered("y"));
    rig.settle_with(&engine);
    let lines = rig.seen(ann);
    assert!(lines.contains(&"present room [x{}]".into()), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "diff room +y{}");
}
