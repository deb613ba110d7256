//! What can never work, and what is not ours.

use std::collections::HashMap;

use starling_core::{ConnectionId, EngineError, PresenceChange, PresenceEntry, RawJson};
use starling_redis::{ConnectError, RedisOptions};

use crate::rig::{Bench, POLICY, Server, calls, connect, ids, options, run, wait_until};

fn refused(url: String) -> ConnectError {
    connect(options(url)).err().expect("it can never work")
}

#[test]
fn wrong_urls_and_options_are_refused() {
    for url in ["redis:/x", "http://localhost", "redis://localhost/first", "redis+sentinel://localhost", "nats://x"] {
        assert!(matches!(refused(url.into()), ConnectError::Invalid(_)), "{url}");
    }
    let mut braces = RedisOptions::new("redis://127.0.0.1");
    braces.prefix = "a{b}".into();
    assert!(matches!(connect(braces).err(), Some(ConnectError::Invalid(_))));
}

#[test]
fn credentials_are_needed_and_must_be_right() {
    run(async {
        let server = Server::start(&["--requirepass", "right"]);
        let port = server.port();
        for url in [
            format!("redis://127.0.0.1:{port}"),
            format!("redis://:wrong@127.0.0.1:{port}"),
            format!("redis://somebody:right@127.0.0.1:{port}"),
        ] {
            let error = refused(url.clone());
            assert!(matches!(error, ConnectError::Credentials(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("right") || !url.contains("right"), "{error}");
        }
        let bench = Bench::new(format!("redis://:right@127.0.0.1:{port}"), "room").await;
        bench.publish("a").await;
    });
}

#[test]
fn a_user_without_rights_is_refused() {
    run(async {
        let server = Server::start(&[]);
        let url = format!("redis://poor:pw@127.0.0.1:{}", server.port());
        for rights in [
            &["+ping", "+hello", "+client"][..],
            &["~other:*", "&*", "+@all"],
            &["~*", "resetchannels", "+@all"],
            &["~*", "resetchannels", "&other:*", "+@all"],
            &["~*", "&*", "+@all", "-xadd"],
            &["~*", "&*", "+@all", "-subscribe"],
            &["~*", "&*", "+@all", "-@scripting"],
        ] {
            server.cli(&[&["ACL", "SETUSER", "poor", "reset", "on", ">pw"], rights].concat());
            let error = refused(url.clone());
            assert!(matches!(error, ConnectError::Permission(_)), "{rights:?}: {error:?}");
        }
        server.cli(&["ACL", "SETUSER", "poor", "reset", "on", ">pw", "~starling:*", "&starling:*", "+@all"]);
        let bench = Bench::new(url, "room").await;
        bench.publish("a").await;
        server.cli(&["ACL", "SETUSER", "poor", "resetkeys"]);
        bench.wait_until_up(false);
        server.cli(&["ACL", "SETUSER", "poor", "~starling:*"]);
        bench.wait_until_up(true);
        server.cli(&["ACL", "SETUSER", "poor", "resetchannels"]);
        bench.wait_until_up(false);
        server.cli(&["ACL", "SETUSER", "poor", "&starling:*"]);
        bench.wait_until_up(true);
        bench.publish("b").await;
    });
}

/// What fails in one channel only is no reason to send everybody to another node.
#[test]
fn one_channel_without_rights_is_no_fault_of_the_node() {
    run(async {
        let server = Server::start(&[]);
        server.cli(&[
            "ACL",
            "SETUSER",
            "most",
            "on",
            ">pw",
            "+@all",
            "&*",
            "~starling:{n*",
            "~starling:{p*",
            "~*room}*",
        ]);
        let url = format!("redis://most:pw@127.0.0.1:{}", server.port());
        let secret = Bench::new(url.clone(), "secret").await;
        let room = Bench::new(url, "room").await;
        assert!(secret.try_publish("a", Some(POLICY)).await.is_err());
        room.publish("b").await;
        drop(room);
        assert!(secret.try_publish("c", Some(POLICY)).await.is_err());
        // A look at the server begins with two questions. Of these, two may be the last of the other node, and two of a look
        // that had begun before; then one look is over, and the next has begun.
        let before = calls(&server, "ping");
        wait_until("the server to have been looked at", || calls(&server, "ping") >= before + 7);
        assert!(secret.engine.is_up());
    });
}

#[test]
fn urls_that_lead_to_the_wrong_place_are_refused() {
    run(async {
        let server = Server::start(&[]);
        let error = refused(format!("{}/99", server.url()));
        assert!(matches!(&error, ConnectError::Invalid(why) if why.contains("database")), "{error:?}");
        let error = refused(format!("redis+sentinel://127.0.0.1:{}/main", server.port()));
        assert!(matches!(&error, ConnectError::NotRedis(why) if why.contains("no Sentinel")), "{error:?}");
    });
}

#[test]
fn a_read_only_replica_is_refused() {
    run(async {
        let master = Server::start(&[]);
        let port = master.port().to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
        let error = refused(replica.url());
        assert!(matches!(error, ConnectError::ReadOnly(_)), "{error:?}");
        // Of several, the one that will do.
        let both = format!("redis://127.0.0.1:{},127.0.0.1:{port}", replica.port());
        Bench::new(both, "room").await.publish("a").await;
    });
}

#[test]
fn a_master_that_becomes_a_replica_takes_nothing_more() {
    run(async {
        let other = Server::start(&[]);
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        bench.publish("a").await;
        server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
        let refused = bench.try_publish("b", Some(POLICY)).await;
        assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
        bench.wait_until_up(false);
        server.cli(&["REPLICAOF", "NO", "ONE"]);
        bench.wait_until_up(true);
        bench.publish("c").await;
    });
}

/// Somebody else's data where ours should be: that channel fails, the others do not, and nothing of it is delivered.
#[test]
fn foreign_data_fails_its_channel_only() {
    run(async {
        let server = Server::start(&[]);
        let poisons: HashMap<&str, Vec<&str>> = HashMap::from([
            ("string", vec!["SET", "starling:{1:string}:log", "x"]),
            ("stream", vec!["SET", "starling:{1:stream}:stream", "x"]),
            ("numbers", vec!["HSET", "starling:{1:numbers}:log", "epoch", "e", "top", "many"]),
            ("words", vec!["HSET", "starling:{1:words}:log", "epoch", "not one word", "top", "1"]),
        ]);
        for (channel, poison) in &poisons {
            server.cli(poison);
            let bench = Bench::new(server.url(), channel).await;
            if *channel != "stream" {
                assert!(bench.history().await.is_err(), "{channel}");
                assert!(bench.try_publish("a", Some(POLICY)).await.is_err(), "{channel}");
            } else {
                // A log that begins makes room for itself.
                bench.publish("a").await;
            }
            bench.try_publish("passing", None).await.expect("without a log, nothing is in the way");
            assert!(bench.engine.is_up(), "{channel}");
        }
        let bench = Bench::new(server.url(), "entries").await;
        bench.publish("a").await;
        server.cli(&["XADD", "starling:{1:entries}:stream", "2-0", "m", "foreign"]);
        assert!(bench.history().await.is_err(), "an entry that nobody published");
        let bench = Bench::new(server.url(), "present").await;
        server.cli(&["HSET", "starling:{1:present}:here", "c1", "foreign"]);
        assert!(bench.engine.members(&bench.app, &bench.channel).wait().await.is_err());
        let entry = PresenceEntry {
            user: None,
            connection: ConnectionId::from("c1"),
            data: RawJson::empty_object(),
            revision: 0,
        };
        let entered = bench.engine.presence(&bench.app, &bench.channel, PresenceChange::Enter(entry)).wait().await;
        assert!(entered.is_err());
        assert!(bench.engine.is_up());
    });
}

#[test]
fn foreign_messages_are_left_out() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        for foreign in ["hello", "\u{2}M", "\u{1}M", "\u{1}Mabc x y", "\u{1}m", "\u{1}P", "\u{1}?", ""] {
            for topic in ["starling:{1:room}", "starling:{control}"] {
                server.cli(&["PUBLISH", topic, foreign]);
            }
        }
        bench.publish("a").await;
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 1).await), ["a"]);
        assert!(bench.engine.is_up());
    });
}

#[test]
fn two_prefixes_are_two_hubs() {
    run(async {
        let server = Server::start(&[]);
        let ours = Bench::new(server.url(), "room").await;
        let mut theirs = options(server.url());
        theirs.prefix = "other".into();
        let theirs = Bench::uninterested(connect(theirs).expect("it works"), "room");
        theirs.publish("theirs").await;
        ours.publish("ours").await;
        assert_eq!(ids(&ours.sink.wait_for_messages("room", 1).await), ["ours"]);
        assert_eq!(ids(&theirs.history().await.unwrap().messages), ["theirs"]);
    });
}

/// A full server refuses writes: publishes with history fail, and are not delivered.
#[test]
fn a_full_server_refuses() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        bench.publish("a").await;
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        assert!(bench.try_publish("b", Some(POLICY)).await.is_err());
        bench.wait_until_up(false);
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(bench.publish("c").await.offset, 2);
        bench.wait_until_up(true);
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "c"]);
    });
}

/// Also where nobody publishes: the node tries by itself.
#[test]
fn a_server_with_too_few_replicas_is_not_up() {
    run(async {
        let server = Server::start(&["--min-replicas-to-write", "1"]);
        let bench = Bench::new(server.url(), "room").await;
        assert!(!bench.engine.is_up(), "it is connected, and cannot do its work");
        assert!(bench.try_publish("a", Some(POLICY)).await.is_err());
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
        bench.wait_until_up(true);
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        bench.wait_until_up(false);
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
        bench.wait_until_up(true);
        assert_eq!(bench.publish("b").await.offset, 1);
    });
}
