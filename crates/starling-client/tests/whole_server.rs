//! The client and a whole server: all that it can ask for, over every transport and in both encodings.

#[path = "support/real.rs"]
mod real;

use std::time::Duration;

use futures_util::StreamExt;
use real::{PATIENCE, builder, connected, start, token};
use serde::{Deserialize, Serialize};
use starling::TlsFiles;
use starling::handlers::{Answer, Connection, Handlers};
use starling_client::{
    Arrival, Builder, Client, Error, HistoryOptions, Item, Message, Payload, Publish, Request, SubscribeOptions,
    Subscription, Transport,
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
}

fn person(name: &str) -> Person {
    Person { name: name.into() }
}

async fn next_message(subscription: &mut Subscription) -> Message {
    match tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an item in time") {
        Some(Item::Message(message)) => message,
        other => panic!("expected a message, got {other:?}"),
    }
}

/// All ways to speak.
fn ways(url: &str) -> [Builder; 6] {
    let over = |transport| Client::builder(url).transports([transport]);
    [
        Client::builder(url),
        Client::builder(url).msgpack(),
        over(Transport::Sse),
        over(Transport::Sse).msgpack(),
        over(Transport::Poll),
        over(Transport::Poll).msgpack(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_and_history_keep_their_payloads_in_both_ways() {
    let (server, address) = start();
    let url = format!("http://{address}");
    let listener = Client::builder(&url).connect().await.unwrap();
    for (number, builder) in ways(&url).into_iter().enumerate() {
        let channel = format!("room:{number}");
        let client = builder.connect().await.unwrap();
        let mut room = client.subscribe(&channel, SubscribeOptions::default()).await.unwrap();
        let mut other = listener.subscribe(&channel, SubscribeOptions::default()).await.unwrap();
        let ack = client.publish(Publish::json(&channel, &person("Ann")).unwrap().event("came")).await.unwrap();
        client.publish(Publish::new(&channel, Payload::Binary(vec![0, 255].into()))).await.unwrap();
        for room in [&mut room, &mut other] {
            let came = next_message(room).await;
            assert_eq!((came.event.as_str(), came.json::<Person>().unwrap()), ("came", person("Ann")));
            assert_eq!((&came.position, &came.id), (&ack.position, &ack.message_id));
            let bytes = next_message(room).await;
            assert_eq!(bytes.payload, Payload::Binary(vec![0, 255].into()));
            assert!(matches!(bytes.json::<Person>(), Err(Error::Payload(_))));
        }
        let past = client.history(&channel, HistoryOptions::default().limit(1)).await.unwrap();
        assert_eq!(past.messages[0].payload, Payload::Binary(vec![0, 255].into()));
        assert_eq!(past.position.as_ref(), room.position());
        let first = client.history(&channel, HistoryOptions::default().before(2)).await.unwrap();
        assert_eq!(first.messages[0].json::<Person>().unwrap(), person("Ann"));
        let refused = client.history("brief:room", HistoryOptions::default()).await;
        assert!(matches!(refused, Err(Error::Refused(refusal)) if refusal.code == "NO_HISTORY"));
        room.unsubscribe().await.unwrap();
        let rewound = client.subscribe(&channel, SubscribeOptions::default().rewind(2)).await.unwrap();
        let items: Vec<Item> = rewound.take(2).collect().await;
        assert!(items.iter().all(|item| matches!(item, Item::Message(_))), "{items:?}");
        client.close().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_entered_changed_and_left() {
    let (server, address) = start();
    for (number, builder) in ways(&format!("ws://{address}")).into_iter().enumerate() {
        let channel = format!("room:{number}");
        let bob = builder.connect().await.unwrap();
        let mut room = bob.subscribe(&channel, SubscribeOptions::default().presence()).await.unwrap();
        let ann = Client::builder(format!("ws://{address}")).connect().await.unwrap();
        let here = SubscribeOptions::default().enter(&person("Ann")).unwrap();
        let _there = ann.subscribe(&channel, here).await.unwrap();
        let id = connected(&ann).await;
        let mut members = room.members();
        let mut is_there = async |name: Option<&str>| {
            let known = members.wait_for(|members| {
                let member = members.get(&id);
                member.map(|member| member.json::<Person>().unwrap().name).as_deref() == name
            });
            tokio::time::timeout(PATIENCE, known).await.expect("told").unwrap();
        };
        is_there(Some("Ann")).await;
        let presence = ann.presence(&channel);
        presence.update(&person("Anna")).await.unwrap();
        is_there(Some("Anna")).await;
        let asked = bob.presence(&channel).get().await.unwrap();
        assert_eq!((asked.len(), asked[0].json::<Person>().unwrap()), (1, person("Anna")));
        presence.leave().await.unwrap();
        is_there(None).await;
        presence.enter(&person("Ann")).await.unwrap();
        is_there(Some("Ann")).await;
        ann.close().await;
        is_there(None).await;
        assert!(matches!(room.next().await, Some(Item::Presence(change)) if change.joins.len() == 1));
        let outside = bob.presence("elsewhere").enter(&person("Bob")).await;
        assert!(matches!(&outside, Err(Error::Refused(refusal)) if refusal.code == "NOT_SUBSCRIBED"), "{outside:?}");
        bob.close().await;
    }
    server.stop().await;
}

async fn sum(_: Connection, numbers: Vec<u32>) -> Answer<u32> {
    Ok(numbers.iter().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_replies_and_is_replied_to() {
    let server = builder().handlers(Handlers::new().on("sum", sum)).start().unwrap();
    let (address, broadcaster) = (server.addresses()[0], server.broadcaster());
    for builder in ways(&format!("ws://{address}")) {
        let client = builder.token(token("ann", Duration::from_secs(600))).connect().await.unwrap();
        let reply = client.request(Request::json("sum", &[1, 2, 3]).unwrap()).await.unwrap();
        assert_eq!(reply.json::<u32>().unwrap(), 6);
        let unknown = client.request(Request::json("unknown", &()).unwrap()).await;
        assert!(matches!(unknown, Err(Error::Refused(refusal)) if refusal.code == "UNKNOWN_TYPE"));

        let mut inbox = client.inbox().await.unwrap();
        // An answer to what was asked later: the inbox is there.
        client.presence("room").get().await.unwrap();
        broadcaster.publish_to_user("ann", "note", &person("Bob")).await.unwrap();
        let Some(Arrival::Message(note)) = inbox.next().await else { panic!("a message") };
        assert_eq!((note.channel.as_str(), note.json::<Person>().unwrap()), ("#user:ann", person("Bob")));

        let id = connected(&client).await;
        let about = person("Bob");
        let asked = broadcaster.ask::<bool>(&id, "really?", &about, PATIENCE);
        let answering = async {
            let Some(Arrival::Event(question)) = inbox.next().await else { panic!("a question") };
            assert_eq!((question.event.as_str(), question.json::<Person>().unwrap()), ("really?", person("Bob")));
            question.reply(&true).await.unwrap();
        };
        let (answer, ()) = tokio::join!(asked, answering);
        assert!(answer.unwrap());
        client.close().await;
        assert!(inbox.next().await.is_none());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_its_tokens() {
    let (server, address) = start();
    let (count, mut asked) = tokio::sync::watch::channel(0);
    let fetch = move || {
        count.send_modify(|asked| *asked += 1);
        async { Ok::<_, std::io::Error>(token("ann", Duration::from_secs(4))) }
    };
    let client = Client::builder(format!("ws://{address}")).token_fn(fetch).connect().await.unwrap();
    let first = connected(&client).await;
    let mut room = client.subscribe("room", SubscribeOptions::default()).await.unwrap();
    // Each is asked for a good three seconds after the one before it: the first has expired by then.
    let renewed = asked.wait_for(|asked| *asked == 4);
    tokio::time::timeout(PATIENCE, renewed).await.expect("renewed").unwrap();
    client.publish(Publish::json("room", &1).unwrap()).await.unwrap();
    next_message(&mut room).await;
    assert_eq!(connected(&client).await, first, "the connection stays");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_takes_the_authorities_it_is_given() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let server = builder().tls(TlsFiles { cert: cert.clone(), key }).start().unwrap();
    let url = format!("https://localhost:{}", server.addresses()[0].port());
    for transport in Transport::ALL {
        let client = Client::builder(&url).transports([transport]).ca_file(&cert).connect().await.unwrap();
        let mut room = client.subscribe("room", SubscribeOptions::default()).await.unwrap();
        client.publish(Publish::json("room", &person("Ann")).unwrap()).await.unwrap();
        assert_eq!(next_message(&mut room).await.json::<Person>().unwrap(), person("Ann"), "{transport}");
        client.close().await;
    }
    server.stop().await;
}
