//! What the engine does when the broker is restarted, loses its data, is away, or hangs.

mod server;

use std::time::{Duration, Instant};

use starling_core::{Engine, EngineError};
use starling_testkit::{Broker, kafka, wipe_kafka};

use server::room::{Node, POLICY, ids, until, wait};

fn with_broker(test: impl FnOnce(Broker)) {
    if server::is_installed() {
        test(kafka(""));
    }
}

#[test]
fn a_restarted_broker_keeps_logs_and_presence_and_nobody_misses_anything() {
    with_broker(|mut broker| {
        let (node, other) = (Node::new(server::options(&broker)), Node::new(server::options(&broker)));
        node.want("room");
        other.want("room");
        let before = node.publish("room", "a");
        node.enter("room", "c1");
        broker.kill();
        until("down", || !node.engine.is_up() && !other.engine.is_up());
        let refused = node.try_publish("room", "x", Some(POLICY));
        assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
        assert!(node.try_publish("room", "y", None).is_err(), "nobody takes it");
        broker.restart();
        until("up", || node.engine.is_up() && other.engine.is_up());
        let after = other.publish("room", "b");
        assert_eq!((&after.epoch, after.offset), (&before.epoch, before.offset + 1));
        assert_eq!(ids(&node.page("room")), ["a", "b"], "what was refused is not there");
        assert_eq!(node.heard("room", 2), ["a", "b"]);
        assert_eq!(other.heard("room", 2), ["a", "b"]);
        assert_eq!(other.present("room"), ["c1"]);
    });
}

#[test]
fn a_broker_that_lost_its_data_begins_new_epochs_and_presence_is_written_again() {
    with_broker(|mut broker| {
        let node = Node::new(server::options(&broker));
        node.want("room");
        let before = node.publish("room", "a");
        node.publish("room", "b");
        node.enter("room", "c1");
        broker.kill();
        wipe_kafka(&broker);
        broker.restart();
        until("resync", || node.resyncs() > 0);
        until("up", || node.engine.is_up());
        let page = node.page("room");
        assert_ne!(page.head.epoch, before.epoch);
        assert_eq!((ids(&page).len(), page.head.offset), (0, 0));
        let after = node.publish("room", "c");
        assert_eq!((&after.epoch, after.offset), (&page.head.epoch, 1));
        assert_eq!(node.heard("room", 3), ["a", "b", "c"]);
        until("presence", || node.present("room") == ["c1"]);
    });
}

#[test]
fn a_broker_that_hangs_makes_operations_fail_in_time_and_heals() {
    with_broker(|broker| {
        let mut options = server::options(&broker);
        options.timeout = Duration::from_secs(8);
        let node = Node::new(options);
        node.want("room");
        until("a first message", || node.try_publish("room", "a", Some(POLICY)).is_ok());
        broker.pause();
        let begin = Instant::now();
        assert!(node.try_publish("room", "b", Some(POLICY)).is_err());
        assert!(wait(node.engine.claim("x", Duration::from_secs(9)).wait()).is_err());
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        until("down", || !node.engine.is_up());
        broker.resume();
        until("up", || node.engine.is_up());
        until("a message", || node.try_publish("room", "c", Some(POLICY)).is_ok());
        let page = node.page("room");
        // What was refused may have happened; what was acknowledged did, and nothing has the same place.
        assert_eq!(page.messages.last().unwrap().id.as_str(), "c");
        let offsets: Vec<u64> = page.messages.iter().map(|m| m.position.as_ref().unwrap().offset).collect();
        assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>());
        let delivered = wait(node.sink.wait_for_messages("room", page.messages.len()));
        assert_eq!(delivered, page.messages);
    });
}

#[test]
fn a_node_that_starts_before_its_broker_waits_for_it() {
    with_broker(|mut broker| {
        broker.kill();
        let mut options = server::options(&broker);
        options.timeout = Duration::from_secs(8);
        let node = Node::without_broker(options);
        assert!(!node.engine.is_up());
        assert!(node.try_publish("room", "a", Some(POLICY)).is_err());
        broker.restart();
        until("up", || node.engine.is_up());
        node.want("room");
        until("a message", || node.try_publish("room", "b", Some(POLICY)).is_ok());
        assert_eq!(ids(&node.page("room")), ["b"]);
    });
}
