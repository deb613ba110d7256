//! What the observer and the application are told afterwards.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use starling_core::{Application, Caller, ChannelName, CloseReason, Happening, Observer, PresenceAction, Request};

use crate::rig::*;

/// Writes down what happens, one line each.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Observer for Diary {
    fn observe(&self, happening: Happening<'_>) {
        let line = match happening {
            Happening::Connected(caller) => format!("connected {}", caller.connection),
            Happening::Disconnected { caller, reason, lasted } => {
                format!("disconnected {} {} {}", caller.connection, reason.as_str(), lasted.as_secs())
            }
            Happening::Occupied(_, channel) => format!("occupied {channel}"),
            Happening::Vacated(_, channel) => format!("vacated {channel}"),
            Happening::Members { channel, count, .. } => format!("members {channel} {count}"),
            Happening::MemberAdded(_, channel, entry) => format!("added {channel} {}", entry.connection),
            Happening::MemberRemoved(_, channel, entry) => format!("removed {channel} {}", entry.connection),
            Happening::ClientPublished(caller, publish) => {
                format!("published {} {}", caller.connection, publish.channel)
            }
            Happening::CacheMissed(_, channel) => format!("missed {channel}"),
        };
        self.0.lock().push(line);
    }
}

impl Application for Diary {
    fn left(&self, caller: &Caller, channel: &ChannelName) {
        self.0.lock().push(format!("left {} {channel}", caller.connection));
    }
}

fn observed(setup: Setup) -> (Rig, Arc<Diary>) {
    let rig = Rig::new(setup);
    let diary = Arc::new(Diary::default());
    rig.hub.observe(diary.clone());
    (rig, diary)
}

#[test]
fn members_are_counted_over_all_workers() {
    let (mut rig, diary) = observed(Setup { workers: 2, ..Setup::default() });
    let (ann, bob) = (rig.connect(0, Some("ann"), None), rig.connect(1, Some("bob"), None));
    assert_eq!(diary.take(), ["connected c1", "connected c2"]);
    rig.does(ann, subscribe("room"));
    rig.does(bob, subscribe("room"));
    assert_eq!(diary.take(), ["occupied room", "members room 1", "members room 2"]);
    rig.does(ann, unsubscribe("room"));
    rig.pass(Duration::from_secs(3));
    assert_eq!(diary.take(), ["members room 1"]);
    rig.lose(bob);
    rig.settle();
    assert_eq!(diary.take(), ["members room 0", "vacated room", "disconnected c2 lost 3"]);
}

#[test]
fn a_user_with_two_connections_is_one_member() {
    let (mut rig, diary) = observed(Setup { rules: vec![attended("*")], ..Setup::default() });
    let (first, second) = (rig.user("ann"), rig.user("ann"));
    rig.does(first, attend("room", Some("{}")));
    rig.does(second, attend("room", Some("{}")));
    rig.does(first, presence("room", PresenceAction::Update(json("{\"n\":1}"))));
    rig.does(first, unsubscribe("room"));
    assert_eq!(
        diary.take()[2..],
        ["occupied room", "members room 1", "added room c1", "members room 2", "members room 1"]
    );
    rig.does(second, unsubscribe("room"));
    assert_eq!(diary.take(), ["removed room c2", "members room 0", "vacated room"]);
}

#[test]
fn publishes_and_missing_caches_are_told() {
    let (mut rig, diary) = observed(Setup { rules: vec![kept("kept", 10), open("*")], ..Setup::default() });
    let ann = rig.user("ann");
    rig.does(ann, rewind("kept", 1));
    rig.does(ann, rewind("plain", 1));
    rig.does(ann, publish("kept", "hello"));
    rig.say("kept", "from the server");
    rig.settle();
    let told = diary.take();
    assert_eq!(told.iter().filter(|line| line.starts_with("missed")).collect::<Vec<_>>(), ["missed kept"]);
    assert_eq!(told.iter().filter(|line| line.starts_with("published")).collect::<Vec<_>>(), ["published c1 kept"]);
    let bob = rig.user("bob");
    rig.does(bob, rewind("kept", 1));
    assert!(!diary.take().iter().any(|line| line.starts_with("missed")));
}

#[test]
fn who_never_became_a_member_does_not_leave() {
    let diary = Arc::new(Diary::default());
    let mut rig = Rig::new(Setup { application: Some(diary.clone()), ..Setup::default() });
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    rig.does(ann, Request::Unsubscribe { channel: name("other") });
    assert_eq!(diary.take(), Vec::<String>::new());
    rig.does(ann, unsubscribe("room"));
    assert_eq!(diary.take(), ["left c1 room"]);
    rig.does(ann, subscribe("room"));
    let now = rig.now;
    let (shard, slot) = rig.shard_of(ann);
    shard.close(slot, CloseReason::Drain, now);
    rig.settle();
    assert_eq!(diary.take(), ["left c1 room"]);
}

#[test]
fn a_shard_that_is_given_up_says_good_bye() {
    let (mut rig, diary) = observed(Setup::default());
    let ann = rig.user("ann");
    rig.does(ann, subscribe("room"));
    diary.take();
    rig.shards.clear();
    assert_eq!(diary.take(), ["members room 0", "vacated room", "disconnected c1 internal 0"]);
}

#[test]
fn a_connection_for_one_request_is_nobodys() {
    let (mut rig, diary) = observed(Setup::default());
    let guest = rig.quiet("ann");
    rig.does(guest, publish("room", "hello"));
    rig.lose(guest);
    rig.settle();
    assert_eq!(diary.take(), ["published c1 room"]);
}
