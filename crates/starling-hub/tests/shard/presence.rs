//! Presence as connections follow it.

use starling_core::Pending;
use starling_core::PresenceAction::{Enter, Get, Leave, Update};
use starling_hub::Identity;

use crate::rig::*;

#[test]
fn state_first_then_differences() {
    let mut rig = Rig::ruled([attended("*")]);
    let (ann, bob) = (rig.user("ann"), rig.user("bob"));
    assert_eq!(
        rig.does(ann, attend("room", Some("{\"n\":1}"))),
        ["#1 subscribed room -", "present room [c1{\"n\":1}]"]
    );
    assert_eq!(rig.does(bob, attend("room", Some("{}"))), ["#2 subscribed room -", "present room [c1{\"n\":1} c2{}]"]);
    assert_eq!(rig.seen(ann), ["diff room +c2{}"]);
    assert_eq!(rig.does(bob, presence("room", Update(json("{\"n\":2}")))), ["#3 done", "diff room +c2{\"n\":2}"]);
    assert_eq!(rig.seen(ann), ["diff room +c2{\"n\":2}"]);
    assert_eq!(rig.does(ann, presence("room", Get)), ["#4 members [c1{\"n\":1} c2{\"n\":2}]"]);
    rig.does(bob, presence("room", Leave));
    assert_eq!(rig.seen(ann), ["diff room -c2{\"n\":2}"]);
    rig.does(bob, presence("room", Enter(None)));
    assert_eq!(rig.seen(ann), ["diff room +c2{}"]);
    rig.does(bob, unsubscribe("room"));
    assert_eq!(rig.seen(ann), ["diff room -c2{}"]);
}

#[test]
fn who_gets_a_user_later_is_present_as_that_user() {
    let mut rig = Rig::ruled([attended("*")]);
    let (ann, bob) = (rig.user("ann"), rig.anonymous());
    rig.does(ann, attend("room", None));
    rig.does(bob, attend("room", Some("{\"n\":1}")));
    rig.seen(ann);
    let now = rig.now;
    let (shard, slot) = rig.shard_of(bob);
    let identity = shard.get(slot).unwrap().identity.clone();
    shard.admit(slot, Identity { user: Some("bob".into()), ..identity }, now);
    rig.settle();
    assert_eq!(rig.seen(ann), ["diff room +c2{\"n\":1}"]);
    let Pending::Ready(Ok(snapshot)) = rig.hub.members(&app(), &name("room")) else { panic!("it is in memory") };
    let users: Vec<_> = snapshot.members.iter().map(|entry| entry.user.as_ref().map(|user| user.to_string())).collect();
    assert_eq!(users, [Some("bob".to_owned())]);
}

#[test]
fn a_connection_that_is_lost_leaves() {
    for closed in [false, true] {
        let mut rig = Rig::ruled([attended("*")]);
        let (ann, bob) = (rig.user("ann"), rig.user("ann"));
        rig.does(ann, attend("room", None));
        rig.does(bob, attend("room", Some("{}")));
        rig.seen(ann);
        if closed {
            let now = rig.now;
            let (shard, slot) = rig.shard_of(bob);
            shard.close(slot, starling_core::CloseReason::Normal, now);
        } else {
            rig.lose(bob);
        }
        rig.settle();
        assert_eq!(rig.seen(ann), ["diff room -c2{}"], "closed: {closed}");
        assert_eq!(rig.does(ann, presence("room", Get)), ["#3 members []"]);
    }
}

#[test]
fn watchers_that_join_in_the_middle_see_each_change_once() {
    let mut rig = Rig::new(Setup { rules: vec![attended("*")], workers: 2, ..Setup::default() });
    let early = rig.connect(1, None, None);
    rig.does(early, attend("room", None));
    rig.seen(early);
    let (x, y) = (rig.connect(0, None, None), rig.connect(0, None, None));
    rig.ask(x, attend("room", Some("{}")));
    // The event of x waits in both inboxes, the state of the new watcher has it already.
    let late = rig.connect(1, None, None);
    rig.ask(late, attend("room", None));
    rig.ask(y, attend("room", Some("{}")));
    rig.settle();
    assert_eq!(rig.seen(early), ["diff room +c2{} +c3{}"]);
    assert_eq!(rig.seen(late), ["#3 subscribed room -", "present room [c2{}]", "diff room +c3{}"]);
}

#[test]
fn those_who_do_not_watch_are_told_nothing() {
    let mut rig = Rig::ruled([attended("*")]);
    let (ann, bob) = (rig.user("ann"), rig.user("bob"));
    rig.does(ann, subscribe("room"));
    rig.does(bob, attend("room", Some("{}")));
    assert_eq!(rig.seen(ann), [""; 0]);
    assert_eq!(rig.does(ann, presence("room", Get)), ["#3 members [c2{}]"]);
}

#[test]
fn only_members_can_be_present() {
    let mut rig = Rig::ruled([attended("*")]);
    let ann = rig.user("ann");
    for action in [Enter(None), Update(json("{}")), Leave] {
        let lines = rig.does(ann, presence("room", action));
        assert!(lines[0].ends_with("refused NOT_SUBSCRIBED"), "{lines:?}");
    }
}

#[test]
fn data_defaults_to_the_tokens_info() {
    let mut rig = Rig::ruled([attended("*")]);
    let grants = starling_hub::Grants { info: Some(json("{\"name\":\"Ann\"}")), ..Default::default() };
    let ann = rig.connect(0, Some("ann"), Some(grants));
    rig.does(ann, subscribe("room"));
    rig.does(ann, presence("room", Enter(None)));
    assert_eq!(rig.does(ann, presence("room", Get)), ["#3 members [c1{\"name\":\"Ann\"}]"]);
}
