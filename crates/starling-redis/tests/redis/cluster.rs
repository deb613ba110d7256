//! A Cluster of three masters: the suites, and a slot that moves.

use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use starling_core::Engine;
use starling_testkit::nodes_suite::Node;
use starling_testkit::{Broker, free_port};

use crate::rig::{Bench, PATIENCE, Server, engine_on, ids, node_on, run, wait_until};

/// Three masters, each with a third of the slots.
struct Cluster(Vec<Server>);

impl Cluster {
    fn start() -> Self {
        let start = || {
            // The bus needs a port of its own; by default it is 10,000 above, which may be out of range.
            let bus = free_port().to_string();
            let arguments = |port: u16, _: &std::path::Path| {
                let port = port.to_string();
                let all = ["--bind", "127.0.0.1", "--save", "", "--port", &port, "--cluster-enabled", "yes"];
                let more = ["--cluster-port", &bus, "--cluster-node-timeout", "5000"];
                all.into_iter().chain(more).map(str::to_owned).collect::<Vec<String>>()
            };
            Server(Broker::start("redis-server", arguments))
        };
        let cluster = Self((0..3).map(|_| start()).collect());
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(cluster.0.iter().map(|server| format!("127.0.0.1:{}", server.port())));
        let output = create.arg("--cluster-yes").output().expect("redis-cli runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let deadline = Instant::now() + PATIENCE;
        while !cluster.0.iter().all(|server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
            assert!(Instant::now() < deadline, "the Cluster does not come together");
            thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    /// Any node will do.
    fn url(&self) -> String {
        self.0[1].url()
    }
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

fn engine() -> Arc<dyn Engine> {
    engine_on(cluster().url())
}

fn node() -> Node {
    node_on(cluster().url())
}

mod engine_suite {
    use super::{engine, run};
    starling_testkit::engine_suite!(engine, run);
}

mod nodes_suite {
    use super::{node, run};
    starling_testkit::nodes_suite!(node, run);
}

/// A slot goes to another master: its channels are found there, and members are brought up to date.
#[test]
fn a_slot_that_moves_is_followed() {
    run(async {
        let cluster = Cluster::start();
        let bench = Bench::new(cluster.url(), "room").await;
        bench.publish("a").await;
        let key = "starling:{1:room}:log";
        let slot = cluster.0[0].cli(&["CLUSTER", "KEYSLOT", key]).trim().to_owned();
        let id = |server: &Server| server.cli(&["CLUSTER", "MYID"]).trim().to_owned();
        let has = |server: &&Server| server.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).trim() != "0";
        let from = cluster.0.iter().find(has).expect("one has the slot");
        let to = cluster.0.iter().find(|server| server.port() != from.port()).unwrap();
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
        let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        let port = to.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.lines());
        assert_eq!(from.cli(&migrate).trim(), "OK");
        for server in [to, from].into_iter().chain(&cluster.0) {
            server.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
        }
        bench.wait_for_resyncs(1).await;
        wait_until("publishes to be taken by the new master", || {
            starling_testkit::block_on(bench.try_publish("b", Some(crate::rig::POLICY))).is_ok()
        });
        wait_until("messages to arrive from the new master", || {
            starling_testkit::block_on(async {
                let _ = bench.try_publish("c", Some(crate::rig::POLICY)).await;
            });
            ids(&bench.sink.messages("room")).contains(&"c")
        });
        assert_eq!(ids(&bench.history().await.unwrap().messages)[..2], ["a", "b"]);
    });
}

#[test]
fn a_cluster_without_one_master_is_not_up() {
    run(async {
        let mut cluster = Cluster::start();
        let bench = Bench::uninterested(engine_on(cluster.url()), "room");
        bench.wait_until_up(true);
        cluster.0[2].kill();
        bench.wait_until_up(false);
        cluster.0[2].restart();
        bench.wait_until_up(true);
    });
}
