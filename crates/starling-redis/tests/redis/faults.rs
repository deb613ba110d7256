//! What happens when the server is restarted, killed, paused, emptied.

use std::time::{Duration, Instant};

use starling_core::EngineError;
use starling_testkit::block_on;

use crate::rig::{Bench, POLICY, Server, engine_on, ids, run, wait_until};

/// Restarts the server, and waits until the engine has found it again.
async fn restart(server: &mut Server, bench: &Bench) {
    server.stop();
    bench.wait_until_up(false);
    server.restart();
    bench.wait_for_resyncs(1).await;
    bench.wait_until_up(true);
}

#[test]
fn a_restart_without_persistence_begins_a_new_epoch() {
    run(async {
        let mut server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let before = bench.publish("a").await;
        bench.sink.wait_for_messages("room", 1).await;
        restart(&mut server, &bench).await;
        let page = bench.history().await.expect("read");
        assert_ne!(page.head.epoch, before.epoch);
        assert_eq!((page.head.offset, page.messages.len()), (0, 0));
        assert_eq!(bench.publish("b").await.offset, 1);
        let messages = bench.sink.wait_for_messages("room", 2).await;
        assert_eq!(ids(&messages), ["a", "b"], "the subscription is back by itself");
    });
}

#[test]
fn a_restart_with_persistence_keeps_the_log() {
    run(async {
        let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let bench = Bench::new(server.url(), "room").await;
        let before = bench.publish("a").await;
        bench.sink.wait_for_messages("room", 1).await;
        restart(&mut server, &bench).await;
        let after = bench.publish("b").await;
        assert_eq!((&after.epoch, after.offset), (&before.epoch, 2));
        assert_eq!(ids(&bench.history().await.unwrap().messages), ["a", "b"]);
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "b"]);
    });
}

/// The worst of all: the server comes back with an older state, and somebody who does not know publishes first.
#[test]
fn a_server_that_comes_back_with_less_begins_a_new_epoch() {
    run(async {
        let mut server = Server::start(&["--dbfilename", "dump.rdb"]);
        let bench = Bench::new(server.url(), "room").await;
        let stranger = Bench::uninterested(engine_on(server.url()), "room");
        bench.publish("a").await;
        server.cli(&["SAVE"]);
        let lost = bench.publish("lost").await;
        bench.sink.wait_for_messages("room", 2).await;
        server.kill();
        bench.wait_until_up(false);
        server.restart();
        // Whichever of the two is there first.
        wait_until("the stranger to publish", || block_on(stranger.try_publish("b", Some(POLICY))).is_ok());
        bench.wait_for_resyncs(1).await;
        let page = bench.history().await.expect("read");
        assert_ne!(page.head.epoch, lost.epoch, "the message that members saw is not in this log");
        assert!(!ids(&page.messages).contains(&"lost"));
    });
}

#[test]
fn while_the_server_is_away_nothing_is_promised() {
    run(async {
        let mut server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        bench.publish("a").await;
        bench.sink.wait_for_messages("room", 1).await;
        server.kill();
        bench.wait_until_up(false);
        let begin = Instant::now();
        for history in [None, Some(POLICY)] {
            let refused = bench.try_publish("b", history).await;
            assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
        }
        assert!(bench.history().await.is_err());
        assert!(bench.engine.claim("x", Duration::from_secs(1)).wait().await.is_err());
        assert!(bench.engine.members(&bench.app, &bench.channel).wait().await.is_err());
        let other = Bench::uninterested(bench.engine.clone(), "other");
        assert!(other.want().await.is_err(), "a wish that cannot be fulfilled is not taken");
        assert!(begin.elapsed() < Duration::from_secs(15), "refused at once, took {:?}", begin.elapsed());
        server.restart();
        bench.wait_for_resyncs(1).await;
        bench.publish("c").await;
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "c"]);
    });
}

#[test]
fn an_engine_can_start_before_its_server() {
    run(async {
        let mut server = Server::start(&[]);
        server.kill();
        let bench = Bench::uninterested(engine_on(server.url()), "room");
        assert!(!bench.engine.is_up());
        assert!(bench.want().await.is_err());
        server.restart();
        bench.wait_for_resyncs(1).await;
        bench.wait_until_up(true);
        bench.want().await.expect("interest is taken");
        bench.publish("a").await;
        bench.sink.wait_for_messages("room", 1).await;
    });
}

/// A server that neither answers nor closes: nothing hangs, nothing is acknowledged, and all is well when it goes on.
#[test]
fn a_server_that_is_paused_is_noticed() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        bench.publish("a").await;
        server.pause();
        let begin = Instant::now();
        let refused = bench.try_publish("b", Some(POLICY)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        bench.wait_until_up(false);
        server.resume();
        bench.wait_for_resyncs(1).await;
        bench.wait_until_up(true);
        bench.publish("c").await;
        // Whether `b` was published is not known; that it is not lost between the others is.
        let page = bench.history().await.unwrap();
        let offsets: Vec<u64> = page.messages.iter().map(|message| message.position.as_ref().unwrap().offset).collect();
        assert_eq!(offsets, (1..=page.head.offset).collect::<Vec<_>>());
    });
}

#[test]
fn a_server_that_forgets_its_scripts_is_told_them_again() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        bench.publish("a").await;
        server.cli(&["SCRIPT", "FLUSH"]);
        assert_eq!(bench.publish("b").await.offset, 2);
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "b"]);
    });
}

#[test]
fn an_emptied_server_begins_new_epochs() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let before = bench.publish("a").await;
        server.cli(&["FLUSHALL"]);
        let after = bench.publish("b").await;
        assert_ne!(after.epoch, before.epoch);
        assert_eq!(after.offset, 1);
    });
}

/// A stream without its head, as an eviction leaves it, is not taken for a log.
#[test]
fn a_log_whose_head_is_gone_is_another_log() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let before = bench.publish("a").await;
        server.cli(&["DEL", "starling:{1:room}:log"]);
        let after = bench.publish("b").await;
        assert_ne!(after.epoch, before.epoch);
        assert_eq!(ids(&bench.history().await.unwrap().messages), ["b"]);
    });
}

#[test]
fn a_log_whose_messages_are_gone_says_so() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        bench.publish("a").await;
        bench.publish("b").await;
        server.cli(&["DEL", "starling:{1:room}:stream"]);
        let page = bench.history().await.unwrap();
        assert_eq!((page.messages.len(), page.head.offset, page.oldest), (0, 2, 3));
        assert_eq!(bench.publish("c").await.offset, 3);
    });
}

#[test]
fn many_publishes_at_once_all_get_their_answers() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let waiting: Vec<_> = (0..5000)
            .map(|n| {
                let history = (n % 2 == 0).then_some(POLICY);
                let (engine, id) = (&bench, n.to_string());
                Box::pin(async move { engine.try_publish(&id, history).await })
            })
            .collect();
        for answer in waiting {
            answer.await.expect("published");
        }
        let messages = bench.sink.wait_for_messages("room", 5000).await;
        assert_eq!(ids(&messages), (0..5000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(bench.history().await.unwrap().head.offset, 2500);
    });
}
