//! Presence when Redis forgets, or a node is silent for longer than its lease.

use starling_core::{ConnectionId, PresenceChange, PresenceEntry, RawJson, UserId};
use starling_testkit::Seen;

use crate::rig::{Bench, PATIENCE, Server, connect, engine_on, options, run, wait_until};

fn entry(user: &str, connection: &str) -> PresenceEntry {
    PresenceEntry {
        user: Some(UserId::from(user)),
        connection: ConnectionId::from(connection),
        data: RawJson::empty_object(),
        revision: 0,
    }
}

impl Bench {
    async fn enter(&self, user: &str, connection: &str) {
        let change = PresenceChange::Enter(entry(user, connection));
        self.engine.presence(&self.app, &self.channel, change).wait().await.expect("entered");
    }

    fn present(&self) -> Vec<String> {
        let members = starling_testkit::block_on(self.engine.members(&self.app, &self.channel).wait());
        let mut names: Vec<String> = members
            .map(|snapshot| snapshot.members.iter().map(|entry| entry.connection.to_string()).collect())
            .unwrap_or_default();
        names.sort_unstable();
        names
    }
}

#[test]
fn entries_come_back_after_redis_lost_them() {
    run(async {
        let mut server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let other = Bench::uninterested(engine_on(server.url()), "room");
        bench.enter("ann", "c1").await;
        other.enter("bob", "c2").await;
        server.stop();
        bench.wait_until_up(false);
        server.restart();
        bench.wait_for_resyncs(1).await;
        wait_until("both to be back", || bench.present() == ["c1", "c2"]);
        server.cli(&["FLUSHALL"]);
        wait_until("both to be back again", || bench.present() == ["c1", "c2"]);
    });
}

/// What could not be done while Redis was away is done when it is back.
#[test]
fn who_leaves_while_redis_is_away_is_gone_when_it_is_back() {
    run(async {
        let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let bench = Bench::new(server.url(), "room").await;
        bench.enter("ann", "c1").await;
        bench.enter("bob", "c2").await;
        server.stop();
        bench.wait_until_up(false);
        let leave = PresenceChange::Leave(ConnectionId::from("c1"));
        assert!(bench.engine.presence(&bench.app, &bench.channel, leave).wait().await.is_err());
        let enter = PresenceChange::Enter(entry("cid", "c3"));
        assert!(bench.engine.presence(&bench.app, &bench.channel, enter).wait().await.is_err());
        server.restart();
        bench.wait_for_resyncs(1).await;
        assert_eq!(bench.present(), ["c2"], "and who was refused did not enter");
    });
}

/// The lease ran out, others cleared up, and the node lives: its entries come back.
#[test]
fn a_node_that_was_taken_for_dead_comes_back() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let other = Bench::new(server.url(), "room").await;
        bench.enter("ann", "c1").await;
        other.enter("bob", "c2").await;
        // As if the first had been silent: its lease is over, and the survivor looks.
        let owner = format!("{}.0", bench.engine.node());
        server.cli(&["ZADD", "starling:{nodes}", "1", &owner]);
        let is_back = |seen: &[Seen]| {
            let c1 = ConnectionId::from("c1");
            let entered = seen.iter().filter(|seen| match seen {
                Seen::Presence(event) => event.diff.joins.iter().any(|entry| entry.connection == c1),
                _ => false,
            });
            entered.count() >= 1
        };
        other.sink.wait_for(PATIENCE, "the entry to be told", is_back).await;
        wait_until("the node to live on as another owner", || {
            server.cli(&["ZRANGE", "starling:{nodes}", "0", "-1"]).contains(&format!("{}.1", bench.engine.node()))
        });
        wait_until("both to be there", || bench.present() == ["c1", "c2"]);
        wait_until("the dead owner to be forgotten", || {
            !server.cli(&["ZRANGE", "starling:{nodes}", "0", "-1"]).contains(&owner)
        });
        assert_eq!(bench.present(), ["c1", "c2"], "clearing up after the dead owner took nothing of the living");
    });
}

/// Joining and leaving costs the same whether there are ten or ten thousand.
#[test]
fn the_cost_of_a_join_does_not_grow_with_the_set() {
    run(async {
        let server = Server::start(&[]);
        let mut patient = options(server.url());
        patient.response_timeout = std::time::Duration::from_secs(60);
        let bench = Bench::uninterested(connect(patient).expect("it works"), "crowd");
        let cost = |label: &str| {
            server.cli(&["CONFIG", "RESETSTAT"]);
            for n in 0..200 {
                starling_testkit::block_on(bench.enter(&format!("{label}{n}"), &format!("{label}{n}")));
            }
            let stats = server.cli(&["INFO", "commandstats"]);
            let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).expect("scripts ran").to_owned();
            let per_call = line.split("usec_per_call=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
            per_call.parse::<f64>().expect("microseconds")
        };
        cost("warm");
        let few = cost("few");
        for n in 0..10_000 {
            let change = PresenceChange::Enter(entry(&format!("u{n}"), &format!("u{n}")));
            // The answers come in the order of the questions.
            let answer = bench.engine.presence(&bench.app, &bench.channel, change);
            if n % 1000 == 999 {
                answer.wait().await.expect("entered");
            }
        }
        let many = cost("many");
        assert!(many < few * 5.0, "{few} µs with few, {many} µs with ten thousand");
    });
}
