//! Sentinel: the master is found by its name, and found again after a failover.

use starling_testkit::Broker;

use crate::rig::{Bench, Server, engine_on, ids, options, run};

fn sentinel(master: &Server) -> Server {
    let master = master.port();
    Server(Broker::start("redis-server", |port, folder| {
        let file = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        );
        std::fs::write(&file, text).expect("a file in the folder");
        vec![file.to_string_lossy().into_owned(), "--sentinel".into()]
    }))
}

#[test]
fn a_failover_is_followed() {
    run(async {
        let mut master = Server::start(&[]);
        let port = master.port().to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
        crate::rig::wait_until("the replica to follow", || {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinel = sentinel(&master);
        crate::rig::wait_until("the Sentinel to know the replica", || {
            sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port().to_string())
        });
        let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
        let bench = Bench::new(url, "room").await;
        let before = bench.publish("a").await;
        crate::rig::wait_until("the replica to have it", || {
            replica.cli(&["HGET", "starling:{1:room}:log", "top"]).trim() == "1"
        });
        bench.sink.wait_for_messages("room", 1).await;
        master.kill();
        bench.wait_until_up(false);
        bench.wait_for_resyncs(1).await;
        bench.wait_until_up(true);
        let after = bench.publish("b").await;
        assert_eq!((&after.epoch, after.offset), (&before.epoch, 2), "nothing was lost, and the log goes on");
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "b"]);
    });
}

/// Sentinel demotes the old master when all others follow the new one; this one never, because it does not know how.
#[test]
fn a_planned_failover_is_followed_while_the_old_master_still_takes_everything() {
    run(async {
        let old = Server::start(&["--rename-command", "SLAVEOF", "NOSUCH"]);
        let port = old.port().to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
        let sentinels = [sentinel(&old), sentinel(&old)];
        for sentinel in &sentinels {
            crate::rig::wait_until("the Sentinel to know the replica", || {
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", "main"]);
                replicas.contains(&replica.port().to_string()) && replicas.contains("master-link-status\nok")
            });
        }
        let [one, two] = [&sentinels[0], &sentinels[1]].map(|sentinel| sentinel.port());
        let bench = Bench::new(format!("redis+sentinel://127.0.0.1:{one},127.0.0.1:{two}/main"), "room").await;
        bench.publish("a").await;
        crate::rig::wait_until("the replica to have it", || {
            replica.cli(&["HGET", "starling:{1:room}:log", "top"]).trim() == "1"
        });
        sentinels[1].cli(&["SENTINEL", "FAILOVER", "main"]);
        bench.wait_for_resyncs(1).await;
        bench.wait_until_up(true);
        assert_eq!(bench.publish("b").await.offset, 2);
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "b"]);
        assert_eq!(replica.cli(&["HGET", "starling:{1:room}:log", "top"]).trim(), "2");
        assert_eq!(old.cli(&["HGET", "starling:{1:room}:log", "top"]).trim(), "1");
        assert!(old.cli(&["ROLE"]).contains("master"), "nobody demoted it");
    });
}

#[test]
fn an_unknown_master_is_waited_for() {
    run(async {
        let master = Server::start(&[]);
        let sentinel = sentinel(&master);
        let engine = engine_on(format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port()));
        assert!(!engine.is_up());
        // A Sentinel is no server for data.
        let error = crate::rig::connect(options(sentinel.url())).err().expect("it can never work");
        assert!(error.to_string().contains("Sentinel"), "{error}");
    });
}
