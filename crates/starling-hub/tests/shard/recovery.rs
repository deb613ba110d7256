//! Recovery and rewind: no gap, no repeat, and an honest answer.

use std::time::Duration;

use starling_core::{Backpressure, Rule};

use crate::rig::*;

/// More than one page of the log.
const LONG: u64 = 1000;

#[test]
fn what_was_missed_follows_the_answer_and_then_live_messages() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    rig.say_many("room", 1..=7);
    rig.settle();
    let again = rig.recover("room", 'a', 3);
    rig.lose(ann);
    let ann = rig.user("ann");
    let mut expected = vec!["#2 subscribed room a:7 recovered".to_owned()];
    expected.extend(numbered("room", 'a', 4..=7));
    assert_eq!(rig.does(ann, again), expected);
    rig.say("room", "8");
    rig.settle();
    assert_eq!(rig.seen(ann), ["room a:8 8"]);
}

#[test]
fn recovery_says_whether_it_is_complete() {
    let mut rig = Rig::ruled([kept("*", 10)]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    rig.say_many("room", 1..=30);
    rig.settle();
    rig.seen(ann);
    // The log holds 21 to 30.
    for (offset, recovered, first) in [
        (30, "recovered", 31),
        (29, "recovered", 30),
        (20, "recovered", 21),
        (19, "lost", 31),
        (0, "lost", 31),
        (31, "lost", 31),
        (u64::MAX, "lost", 31),
    ] {
        let client = rig.anonymous();
        let request = rig.recover("room", 'a', offset);
        let lines = rig.does(client, request);
        let answer = format!("subscribed room a:30 {recovered}");
        assert!(lines[0].ends_with(&answer), "{offset}: {}", lines[0]);
        assert_eq!(lines[1..], numbered("room", 'a', first..=30), "{offset}");
        rig.lose(client);
    }
    let client = rig.anonymous();
    let lines = rig.does(client, recover_from("room", "unknown".into(), 5));
    assert!(lines[0].ends_with("subscribed room a:30 lost"));
    assert_eq!(lines.len(), 1);
    let counters = rig.hub.counters().of(&app());
    use std::sync::atomic::Ordering::Relaxed;
    assert_eq!((counters.recovered.load(Relaxed), counters.not_recovered.load(Relaxed)), (3, 5));
}

#[test]
fn a_rewind_follows_a_recovery_that_failed() {
    let mut rig = Rig::ruled([kept("*", 10)]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    rig.say_many("room", 1..=30);
    rig.settle();
    let known = rig.epoch('a');
    for (epoch, offset, count, answer, first) in [
        (known.clone(), 28, 3, "recovered", 29),
        (known.clone(), 30, 3, "recovered", 31),
        (known.clone(), 5, 3, "lost", 28),
        (known, 99, 3, "lost", 28),
        ("unknown".into(), 0, 3, "lost", 28),
        ("unknown".into(), 29, 3, "lost", 28),
        ("unknown".into(), 29, 100, "lost", 21),
    ] {
        let client = rig.anonymous();
        let lines = rig.does(client, recover_or_rewind("room", epoch, offset, count));
        assert!(lines[0].ends_with(&format!("subscribed room a:30 {answer}")), "{offset}: {}", lines[0]);
        assert_eq!(lines[1..], numbered("room", 'a', first..=30), "{offset}");
        rig.lose(client);
    }
}

#[test]
fn expired_messages_are_not_recovered() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    rig.say_many("room", 1..=3);
    rig.pass(Duration::from_secs(3000));
    rig.say_many("room", 4..=5);
    rig.pass(Duration::from_secs(1000));
    rig.seen(ann);
    let bob = rig.anonymous();
    let request = rig.recover("room", 'a', 2);
    assert_eq!(rig.does(bob, request), ["#2 subscribed room a:5 lost"]);
    let request = rig.recover("room", 'a', 3);
    let eve = rig.anonymous();
    assert_eq!(rig.does(eve, request), ["#3 subscribed room a:5 recovered", "room a:4 4", "room a:5 5"]);
}

#[test]
fn rewinding_gives_the_newest_messages_oldest_first() {
    for (published, kept_size, count, first) in [
        (5, 100, 0, 6),
        (5, 100, 2, 4),
        (5, 100, 100, 1),
        (0, 100, 10, 1),
        (LONG, 2000, 255, 746),
        (LONG, 2000, 256, 745),
        (LONG, 2000, 257, 744),
        (LONG, 2000, 700, 301),
        (LONG, 2000, 5000, 1),
        (LONG, 100, 5000, 901),
        (LONG, 300, 299, 702),
        (LONG, 2000, u32::MAX, 1),
    ] {
        let mut rig = Rig::ruled([kept("*", kept_size)]);
        if published > 0 {
            rig.say_many("room", 1..=published);
        }
        let ann = rig.anonymous();
        let lines = rig.does(ann, rewind("room", count));
        assert_eq!(lines[0], format!("#1 subscribed room a:{published}"));
        assert_eq!(lines[1..], numbered("room", 'a', first..=published), "{count} of {published}, {kept_size} kept");
        rig.say("room", "live");
        rig.settle();
        assert_eq!(rig.seen(ann), [format!("room a:{} live", published + 1)]);
    }
}

#[test]
fn messages_that_wait_in_the_inbox_are_neither_lost_nor_repeated() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let (ann, bob) = (rig.anonymous(), rig.anonymous());
    rig.does(ann, subscribe("room"));
    rig.seen(ann);
    rig.say_many("room", 1..=2);
    // No turn: the live member does not have them yet, the log does.
    rig.ask(bob, rewind("room", 10));
    rig.say_many("room", 3..=4);
    rig.settle();
    assert_eq!(rig.seen(ann), numbered("room", 'a', 1..=4));
    let lines = rig.seen(bob);
    assert_eq!(lines[0], "#2 subscribed room a:2");
    assert_eq!(lines[1..], numbered("room", 'a', 1..=4));
}

#[test]
fn several_members_that_wait_for_the_live_ones_all_go_on_when_those_leave() {
    // The first waiter is at 2 while the live member is at 0; the live member leaves; a second comes when the log is
    // at 3. Going live at 3 must not leave the first one behind.
    let mut rig = Rig::ruled([kept("*", 100)]);
    let (live, first, second) = (rig.anonymous(), rig.anonymous(), rig.anonymous());
    rig.does(live, subscribe("room"));
    rig.say_many("room", 1..=2);
    rig.ask(first, subscribe("room"));
    rig.ask(live, unsubscribe("room"));
    rig.say("room", "3");
    rig.ask(second, subscribe("room"));
    rig.say("room", "4");
    rig.settle();
    rig.say("room", "5");
    rig.settle();
    assert_eq!(rig.seen(first)[1..], numbered("room", 'a', 3..=5));
    assert_eq!(rig.seen(second)[1..], numbered("room", 'a', 4..=5));
}

#[test]
fn a_small_socket_paces_the_log_while_a_publisher_goes_on() {
    for (rewound, step) in [(LONG, 64), (LONG, 1000), (300, 37), (LONG, 5000)] {
        let mut rig = Rig::new(Setup {
            rules: vec![kept("*", 5000)],
            backpressure: Backpressure { high_water: 200, ..Backpressure::default() },
            ..Setup::default()
        });
        rig.say_many("room", 1..=LONG);
        let (live, ann) = (rig.anonymous(), rig.anonymous());
        rig.does(live, subscribe("room"));
        rig.seen(live);
        rig.stall(ann);
        rig.ask(ann, rewind("room", rewound as u32));
        let mut published = LONG;
        let mut lines = Vec::new();
        for round in 0..20_000 {
            if round % 7 == 0 && published < LONG + 200 {
                published += 1;
                rig.say("room", &published.to_string());
            }
            rig.turn(0);
            let (shard, slot) = rig.shard_of(ann);
            let waiting = shard.get(slot).unwrap().outbox.wire_bytes();
            assert!(waiting < 400, "{waiting} bytes: the log is not paced");
            rig.take(ann, step);
            lines.extend(rig.seen(ann));
            if published == LONG + 200 && lines.len() as u64 == rewound + 201 {
                break;
            }
        }
        assert_eq!(
            lines[1..],
            numbered("room", 'a', LONG - rewound + 1..=published),
            "{rewound} rewound, {step} bytes at a time"
        );
        assert_eq!(rig.seen(live), numbered("room", 'a', LONG + 1..=published));
    }
}

#[test]
fn several_logs_share_a_small_socket() {
    let mut rig = Rig::new(Setup {
        rules: vec![kept("*", 5000)],
        backpressure: Backpressure { high_water: 100, ..Backpressure::default() },
        ..Setup::default()
    });
    let ann = rig.anonymous();
    for channel in ["x", "y", "z"] {
        rig.say_many(channel, 1..=400);
    }
    rig.stall(ann);
    for channel in ["x", "y", "z"] {
        rig.ask(ann, rewind(channel, 400));
    }
    let mut lines = Vec::new();
    for _ in 0..2000 {
        rig.take(ann, 50);
        lines.extend(rig.seen(ann));
    }
    for (channel, epoch) in ["x", "y", "z"].iter().zip('a'..) {
        let of: Vec<_> = lines.iter().filter(|line| line.starts_with(channel)).cloned().collect();
        assert_eq!(of, numbered(channel, epoch, 1..=400));
    }
}

#[test]
fn a_reader_that_the_log_overtakes_is_closed_or_told() {
    use starling_core::Delivery::*;
    for (delivery, expected) in [(Reliable, "close slow_consumer"), (Drop, "gap room"), (Latest, "gap room")] {
        let mut rig = Rig::new(Setup {
            rules: vec![with_delivery(kept("*", 300), delivery)],
            backpressure: Backpressure { high_water: 100, ..Backpressure::default() },
            ..Setup::default()
        });
        rig.say_many("room", 1..=300);
        let ann = rig.anonymous();
        rig.stall(ann);
        rig.ask(ann, rewind("room", 300));
        rig.say_many("room", 301..=1000);
        rig.settle();
        rig.resume(ann);
        rig.settle();
        let lines = rig.seen(ann);
        let told = lines.iter().position(|line| line.starts_with(expected));
        let told = told.unwrap_or_else(|| panic!("{delivery:?}: {lines:#?}"));
        let before = (told - 1) as u64;
        assert_eq!(lines[1..told], numbered("room", 'a', 1..=before));
        if delivery != Reliable {
            let missed: u64 = lines[told].rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(missed, 700 - before, "{delivery:?}");
            assert_eq!(lines[told + 1..], numbered("room", 'a', 701..=1000));
        }
    }
}

#[test]
fn a_log_of_ones_own_quiet_messages_is_read_to_its_end() {
    // Nothing of it is written to the socket, so nothing but the log's end stops the reading.
    let mut rig = Rig::ruled([kept("*", 200_000)]);
    let ann = rig.connect_as("c1", 0, None, None);
    for n in 0..100_000 {
        rig.ask(ann, publish_quietly("room", "mine"));
        if n % 1000 == 0 {
            rig.settle();
            rig.seen(ann);
        }
    }
    rig.say("room", "theirs");
    rig.settle();
    rig.seen(ann);
    let lines = rig.does(ann, rewind("room", 200_000));
    assert_eq!(lines[1..], ["room a:100001 theirs"]);
}

#[test]
fn a_quiet_channel_loses_no_message_when_its_log_is_forgotten() {
    let mut rig = Rig::ruled([Rule {
        history: Some(starling_core::HistoryPolicy { size: 10, ttl: Duration::from_secs(60) }),
        ..open("*")
    }]);
    let ann = rig.anonymous();
    rig.does(ann, subscribe("room"));
    rig.say_many("room", 1..=3);
    rig.settle();
    rig.seen(ann);
    for _ in 0..200 {
        rig.pass(Duration::from_secs(1));
    }
    rig.say("room", "after the silence");
    rig.say("room", "and on");
    rig.settle();
    let lines = rig.seen(ann);
    let said: Vec<_> =
        lines.iter().filter(|line| !line.starts_with("gap")).map(|line| line.splitn(3, ' ').last().unwrap()).collect();
    assert_eq!(said, ["after the silence", "and on"], "{lines:?}");
}

#[test]
fn clearing_the_log_goes_on_in_a_new_epoch_without_a_gap() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let (ann, late) = (rig.anonymous(), rig.anonymous());
    rig.does(ann, subscribe("room"));
    rig.say_many("room", 1..=3);
    let _ = rig.hub.engine().clear_history(&app(), &name("room"));
    rig.ask(late, rewind("room", 10));
    rig.say("room", "1");
    rig.settle();
    let mut expected = vec!["#1 subscribed room a:0".to_owned()];
    expected.extend(numbered("room", 'a', 1..=3));
    expected.extend(numbered("room", 'b', 1..=1));
    let first = rig.seen(ann);
    assert_eq!(first, expected[1..]);
    assert_eq!(rig.seen(late), ["#2 subscribed room b:0", "room b:1 1"]);
    let eve = rig.anonymous();
    let request = rig.recover("room", 'a', 2);
    assert_eq!(rig.does(eve, request), ["#3 subscribed room b:1 lost"]);
}

#[test]
fn who_joins_the_new_log_before_the_live_members_know_of_it_gets_each_message_once() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let (ann, late) = (rig.anonymous(), rig.anonymous());
    rig.does(ann, subscribe("room"));
    let _ = rig.hub.engine().clear_history(&app(), &name("room"));
    rig.say_many("room", 1..=2);
    rig.ask(late, rewind("room", 10));
    rig.say("room", "3");
    rig.settle();
    assert_eq!(rig.seen(late)[1..], numbered("room", 'b', 1..=3));
    assert_eq!(rig.seen(ann), numbered("room", 'b', 1..=3));
}

#[test]
fn orders_to_clear_that_are_older_than_a_member_repeat_nothing_to_it() {
    for live in [false, true] {
        let mut rig = Rig::ruled([kept("*", 100)]);
        let (ann, late) = (rig.anonymous(), rig.anonymous());
        if live {
            rig.does(ann, subscribe("room"));
        }
        let clear = |rig: &Rig| _ = rig.hub.engine().clear_history(&app(), &name("room"));
        clear(&rig);
        rig.say("room", "1");
        clear(&rig);
        rig.say("room", "1");
        rig.ask(late, subscribe("room"));
        rig.say("room", "2");
        rig.settle();
        let lines = rig.seen(late);
        assert_eq!(lines.len(), 2, "live: {live}, {lines:?}");
        assert!(lines[1].ends_with(":2 2"), "{lines:?}");
        let heard: Vec<_> = rig.seen(ann).iter().map(|line| line.split_once(':').unwrap().1.to_owned()).collect();
        assert_eq!(heard, if live { vec!["1 1", "1 1", "2 2"] } else { vec![] });
    }
}

#[test]
fn a_cleared_log_keeps_its_epoch_as_long_as_any_other() {
    let mut rig = Rig::ruled([kept("*", 100)]);
    let ann = rig.anonymous();
    rig.does(ann, subscribe("room"));
    rig.say("room", "1");
    let _ = rig.hub.engine().clear_history(&app(), &name("room"));
    rig.settle();
    for _ in 0..20 {
        rig.pass(Duration::from_secs(1));
    }
    rig.say("room", "1");
    rig.settle();
    assert_eq!(rig.seen(ann), ["room a:1 1", "room b:1 1"]);
}
