//! What a node is subscribed to.

use starling_core::ChannelName;
use starling_testkit::block_on;

use crate::rig::{Bench, Server, calls, engine_on, ids, run, wait_until};

fn subscribers(server: &Server) -> String {
    server.cli(&["PUBSUB", "NUMSUB", "starling:{1:room}"]).split_whitespace().last().unwrap_or_default().to_owned()
}

#[test]
fn flapping_costs_nothing_and_the_end_comes_late() {
    run(async {
        let server = Server::start(&[]);
        let bench = Bench::new(server.url(), "room").await;
        let [before, ended] = ["subscribe", "unsubscribe"].map(|command| calls(&server, command));
        for _ in 0..100 {
            bench.engine.interest(&bench.app, &bench.channel, false).wait().await.unwrap();
            bench.want().await.unwrap();
        }
        bench.publish("a").await;
        bench.sink.wait_for_messages("room", 1).await;
        assert_eq!(calls(&server, "subscribe"), before);
        assert_eq!(calls(&server, "unsubscribe"), ended);
        bench.engine.interest(&bench.app, &bench.channel, false).wait().await.unwrap();
        wait_until("the subscription to end", || subscribers(&server) == "0");
        bench.want().await.unwrap();
        assert_eq!(subscribers(&server), "1");
        bench.publish("b").await;
        assert_eq!(ids(&bench.sink.wait_for_messages("room", 2).await), ["a", "b"]);
    });
}

#[test]
fn many_channels_need_one_connection_and_come_back_together() {
    run(async {
        const CHANNELS: usize = 20_000;
        let mut server = Server::start(&[]);
        let bench = Bench::uninterested(engine_on(server.url()), "room");
        let name = |n: usize| ChannelName::parse(&format!("room:{n}")).unwrap();
        let wishes: Vec<_> = (0..CHANNELS).map(|n| bench.engine.interest(&bench.app, &name(n), true)).collect();
        for wish in wishes {
            wish.wait().await.expect("interest is taken");
        }
        assert_eq!(server.cli(&["PUBSUB", "CHANNELS", "starling:{1:room:*"]).lines().count(), CHANNELS);
        let clients = server.cli(&["CLIENT", "LIST"]).lines().filter(|line| line.contains("lib-name=")).count();
        assert!(clients <= 3, "{clients} connections");
        server.stop();
        bench.wait_until_up(false);
        server.restart();
        bench.wait_for_resyncs(1).await;
        assert_eq!(server.cli(&["PUBSUB", "CHANNELS", "starling:{1:room:*"]).lines().count(), CHANNELS);
    });
}

#[test]
fn a_wish_during_an_outage_is_refused_and_can_be_made_again() {
    run(async {
        let mut server = Server::start(&[]);
        let bench = Bench::new(server.url(), "other").await;
        let room = Bench { channel: ChannelName::parse("room").unwrap(), ..bench };
        server.kill();
        room.wait_until_up(false);
        assert!(room.want().await.is_err());
        server.restart();
        room.wait_for_resyncs(1).await;
        assert_eq!(subscribers(&server), "0", "a wish that was refused does not count");
        wait_until("the wish to be taken", || block_on(room.want()).is_ok());
        assert_eq!(subscribers(&server), "1");
    });
}
