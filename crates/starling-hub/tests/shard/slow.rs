//! Members that do not keep up: what each delivery does, counted exactly.

use std::sync::atomic::Ordering::Relaxed;

use starling_core::{Backpressure, CloseReason, Delivery, Limits, Publish};

use crate::rig::*;

/// A line `room - 1000` is 12 bytes: 10 lines pass the mark (the tenth goes over it), 5 are queued.
fn small(rule: starling_core::Rule) -> Setup {
    Setup {
        rules: vec![rule],
        backpressure: Backpressure { high_water: 110, queue_messages: 5, queue_bytes: 10_000 },
        ..Setup::default()
    }
}

fn slow_and_quick(rig: &mut Rig) -> (Client, Client) {
    let (slow, quick) = (rig.anonymous(), rig.anonymous());
    for client in [slow, quick] {
        rig.does(client, subscribe("room"));
    }
    rig.seen(quick);
    rig.seen(slow);
    rig.stall(slow);
    (slow, quick)
}

fn say_apart(rig: &mut Rig, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        rig.say("room", &n.to_string());
        rig.settle();
    }
}

fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|n| format!("room - {n}")).collect()
}

#[test]
fn reliable_closes_the_slow_one_and_nobody_else() {
    let mut rig = Rig::new(small(open("*")));
    let (slow, quick) = slow_and_quick(&mut rig);
    say_apart(&mut rig, 1001..=1020);
    assert_eq!(rig.seen(quick), lines(1001..=1020));
    rig.resume(slow);
    rig.settle();
    let mut expected = lines(1001..=1010);
    expected.push("close slow_consumer".into());
    assert_eq!(rig.seen(slow), expected);
    assert!(rig.clients[slow.0].gone);
    let counters = rig.hub.counters().of(&app());
    assert_eq!(counters.closed(CloseReason::SlowConsumer), 1);
    assert_eq!(counters.members.load(Relaxed), 1);
}

#[test]
fn drop_tells_how_many_were_missed() {
    for together in [false, true] {
        let mut rig = Rig::new(small(with_delivery(open("*"), Delivery::Drop)));
        let (slow, quick) = slow_and_quick(&mut rig);
        say_apart(&mut rig, 1001..=1010);
        if together {
            rig.say_many("room", 1011..=1030);
            rig.settle();
        } else {
            say_apart(&mut rig, 1011..=1030);
        }
        let counters = rig.hub.counters().of(&app());
        assert_eq!(counters.dropped.load(Relaxed), 15, "together: {together}");
        rig.resume(slow);
        say_apart(&mut rig, 1031..=1032);
        let mut expected = lines(1001..=1015);
        expected.push("gap room 15".into());
        expected.extend(lines(1031..=1032));
        assert_eq!(rig.seen(slow), expected);
        assert_eq!(rig.seen(quick), lines(1001..=1032));
        assert_eq!(counters.delivered.of(starling_core::Form(0)).load(Relaxed), 17 + 32);
        let (shard, slot) = rig.shard_of(slow);
        assert!(shard.get(slot).unwrap().outbox.is_empty());
    }
}

#[test]
fn a_burst_in_one_turn_makes_nobody_slow() {
    // More than the high-water mark and the queue together, before the socket was offered anything.
    for delivery in [Delivery::Reliable, Delivery::Drop, Delivery::Latest] {
        let mut rig = Rig::new(small(with_delivery(open("*"), delivery)));
        let quick = rig.anonymous();
        rig.does(quick, subscribe("room"));
        for _ in 0..3 {
            rig.say_many("room", 1001..=1500);
            rig.settle();
            assert_eq!(rig.seen(quick), lines(1001..=1500), "{delivery:?}");
        }
    }
}

#[test]
fn drop_counts_what_is_dropped_while_it_drains() {
    let mut rig = Rig::new(small(with_delivery(open("*"), Delivery::Drop)));
    let (slow, _) = slow_and_quick(&mut rig);
    say_apart(&mut rig, 1001..=1020);
    let mut received = Vec::new();
    let mut said = 1020;
    for _ in 0..200 {
        if said < 1040 {
            said += 1;
            say_apart(&mut rig, said..=said);
        }
        rig.take(slow, 7);
        received.extend(rig.seen(slow));
    }
    rig.resume(slow);
    received.extend(rig.seen(slow));
    let mut next = 1001;
    let mut missed = 0;
    for line in &received {
        match line.strip_prefix("gap room ") {
            Some(gap) => {
                let gap: u64 = gap.parse().unwrap();
                missed += gap;
                next += gap;
            }
            None => {
                assert_eq!(*line, format!("room - {next}"), "in {received:#?}");
                next += 1;
            }
        }
    }
    assert_eq!(next, 1041);
    let counters = rig.hub.counters().of(&app());
    assert_eq!(counters.dropped.load(Relaxed), missed);
}

fn state(rig: &mut Rig, key: &str, text: &str) {
    let publish = Publish { key: Some(key.into()), ..says("room", text) };
    let _ = rig.hub.publish(&app(), publish, None, 0);
    rig.settle();
}

#[test]
fn latest_keeps_the_newest_state_of_each_key() {
    let mut rig = Rig::new(small(with_delivery(open("*"), Delivery::Latest)));
    let (slow, quick) = slow_and_quick(&mut rig);
    for n in 1..=30 {
        state(&mut rig, if n % 3 == 0 { "x" } else { "y" }, &(1000 + n).to_string());
    }
    assert_eq!(rig.seen(quick), lines(1001..=1030));
    rig.resume(slow);
    let received = rig.seen(slow);
    assert_eq!(received[..10], lines(1001..=1010));
    assert!(received.contains(&"room - 1029".into()), "the newest y: {received:?}");
    assert_eq!(received.last().unwrap(), "room - 1030", "the newest x");
    assert!(received.is_sorted(), "{received:?}");
    let counters = rig.hub.counters().of(&app());
    assert_eq!(counters.conflated.load(Relaxed), 30 - received.len() as u64);
    assert_eq!(counters.dropped.load(Relaxed), 0);
}

#[test]
fn latest_with_history_announces_every_hole() {
    let mut rig = Rig::new(small(with_delivery(kept("*", 100), Delivery::Latest)));
    let (slow, _) = slow_and_quick(&mut rig);
    for n in 1..=40 {
        state(&mut rig, ["x", "y", "z"][n % 3], &n.to_string());
    }
    rig.resume(slow);
    let mut next = 1;
    let mut missed = 0;
    for line in rig.seen(slow) {
        if let Some(gap) = line.strip_prefix("gap room ") {
            let gap: u64 = gap.parse().unwrap();
            next += gap;
            missed += gap;
        } else {
            assert_eq!(line, format!("room a:{next} {next}"));
            next += 1;
        }
    }
    assert_eq!(next, 41);
    let counters = rig.hub.counters().of(&app());
    assert_eq!(counters.conflated.load(Relaxed), missed);
}

#[test]
fn latest_with_more_states_than_room_closes() {
    let mut rig = Rig::new(small(with_delivery(open("*"), Delivery::Latest)));
    let (slow, _) = slow_and_quick(&mut rig);
    for n in 0..30 {
        state(&mut rig, &format!("k{n}"), &(1000 + n).to_string());
    }
    rig.resume(slow);
    rig.settle();
    assert_eq!(rig.seen(slow).last().unwrap(), "close slow_consumer");
}

#[test]
fn leaving_a_channel_forgets_what_is_queued_for_it_and_nothing_else() {
    let mut rig = Rig::new(small(with_delivery(open("*"), Delivery::Drop)));
    let (slow, _) = slow_and_quick(&mut rig);
    rig.ask(slow, subscribe("hall"));
    rig.settle();
    say_apart(&mut rig, 1001..=1008);
    rig.say("hall", "1001");
    say_apart(&mut rig, 1009..=1020);
    rig.ask(slow, unsubscribe("room"));
    rig.settle();
    rig.say("hall", "1002");
    rig.settle();
    rig.resume(slow);
    let received = rig.seen(slow);
    let answered = received.iter().position(|line| line == "#4 unsubscribed room").unwrap();
    assert!(
        received[answered..].iter().all(|line| !line.starts_with("room") && !line.starts_with("gap")),
        "{received:?}"
    );
    let hall: Vec<_> = received.iter().filter(|line| line.starts_with("hall")).collect();
    assert_eq!(hall, ["hall - 1001", "hall - 1002"]);
}

#[test]
fn too_many_messages_are_refused_and_then_the_connection_is_closed() {
    let mut rig = Rig::new(Setup {
        limits: Limits { messages_per_second: 10, burst: 5, strikes: 3, ..Limits::default() },
        ..Setup::default()
    });
    let ann = rig.user("ann");
    let mut now = rig.now;
    let admitted = |rig: &mut Rig, times: usize, now| -> Vec<bool> {
        let (shard, slot) = rig.shard_of(ann);
        (0..times).map(|_| shard.admit_message(slot, now)).collect()
    };
    assert_eq!(admitted(&mut rig, 7, now), [true, true, true, true, true, false, false]);
    now.micros += 100_000;
    assert_eq!(admitted(&mut rig, 4, now), [true, false, false, false], "a success forgives");
    let (shard, slot) = rig.shard_of(ann);
    assert_eq!(shard.get(slot).unwrap().closing(), None);
    assert_eq!(admitted(&mut rig, 1, now), [false]);
    rig.settle();
    assert_eq!(rig.seen(ann), ["close too_many_requests"]);
    let counters = rig.hub.counters().of(&app());
    assert_eq!(counters.rate_limited.load(Relaxed), 6);
    assert_eq!(counters.closed(CloseReason::TooManyRequests), 1);
}

#[test]
fn users_and_apps_may_have_limits_of_their_own() {
    let admitted = |limits: Limits, users: [Option<&str>; 2]| -> Vec<bool> {
        let mut rig = Rig::new(Setup { limits, ..Setup::default() });
        let clients = users.map(|user| rig.connect(0, user, None));
        (0..6)
            .map(|n| {
                let now = rig.now;
                let (shard, slot) = rig.shard_of(clients[n % 2]);
                shard.admit_message(slot, now)
            })
            .collect()
    };
    let per_user = || Limits { per_user_messages_per_second: 2, ..Limits::default() };
    assert_eq!(admitted(per_user(), [Some("ann"), Some("ann")]), [true, true, false, false, false, false]);
    assert_eq!(admitted(per_user(), [Some("ann"), Some("bob")]), [true, true, true, true, false, false]);
    assert_eq!(admitted(per_user(), [None, None]), [true; 6]);
    let per_app = || Limits { per_app_messages_per_second: 3, ..Limits::default() };
    assert_eq!(admitted(per_app(), [None, Some("bob")]), [true, true, true, false, false, false]);
}

#[test]
fn a_connection_has_at_most_so_many_subscriptions() {
    let mut rig = Rig::new(Setup { limits: Limits { subscriptions: 2, ..Limits::default() }, ..Setup::default() });
    let ann = rig.user("ann");
    rig.does(ann, subscribe("x"));
    rig.does(ann, subscribe("y"));
    assert_eq!(rig.does(ann, subscribe("z")), ["#3 refused LIMIT_EXCEEDED"]);
    rig.does(ann, unsubscribe("x"));
    assert_eq!(rig.does(ann, subscribe("z")), ["#5 subscribed z -"]);
}
