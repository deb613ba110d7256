//! Two friends, and somebody who is not invited.

use serde_json::json;
use starling::Server;
use starling::auth::{Algorithm, AppKeys, NewToken, mint};
use starling_scripted_client::Client;

const SECRET: &str = "a secret of some length";

async fn connect(server: &Server, user: &str) -> Client {
    let token = mint(Algorithm::Hs256, SECRET.as_bytes(), &NewToken { user, ..NewToken::default() }).unwrap();
    Client::connect_as(&format!("ws://{}/ws", server.addresses()[0]), &token).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_for_its_members() {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .app(AppKeys::new("1", "key", SECRET))
        .workers(2)
        .handlers(starling_example_chat::handlers())
        .start()
        .unwrap();
    let mut ann = connect(&server, "ann").await;
    let mut bob = connect(&server, "bob").await;
    let mut eve = connect(&server, "eve").await;

    let opened = ann.event("open_room", json!({"room": "tea", "members": ["bob"]})).await;
    assert_eq!(opened["type"], "ack", "{opened}");
    assert_eq!(ann.event("open_room", json!({"room": "tea", "members": []})).await["code"], "ROOM_EXISTS");
    assert_eq!(ann.subscribe("room:tea").await["type"], "ack");
    let joined = bob.ask(json!({"type": "subscribe", "channel": "room:tea", "presence": true})).await;
    assert_eq!(joined["type"], "ack", "{joined}");
    assert_eq!(eve.subscribe("room:tea").await["code"], "FORBIDDEN");
    assert_eq!(eve.event_in("room:tea", "say", json!({"id": "e", "text": "hi"})).await["code"], "NOT_SUBSCRIBED");

    let said = ann.event_in("room:tea", "say", json!({"id": "ann-1", "text": "hello"})).await;
    assert_eq!(said["payload"], json!({"id": "ann-1", "offset": 1}));
    let again = ann.event_in("room:tea", "say", json!({"id": "ann-1", "text": "hello"})).await;
    assert_eq!(again["payload"], said["payload"], "said twice, heard once");
    ann.event_in("room:tea", "say", json!({"id": "ann-2", "text": "tea?"})).await;
    for (id, text) in [("ann-1", "hello"), ("ann-2", "tea?")] {
        let heard = bob.hear_message("said").await;
        assert_eq!(
            (&heard["id"], &heard["payload"], &heard["userId"]),
            (&json!(id), &json!({"text": text}), &json!("ann"))
        );
    }
    assert_eq!(bob.event_in("room:tea", "say", json!({"id": "b", "text": ""})).await["code"], "BAD_TEXT");

    assert_eq!(bob.event_in("room:tea", "invite", json!({"user": "eve"})).await["type"], "ack");
    let invited = eve.hear_where(|heard| heard["event"] == "invited").await;
    assert_eq!(invited["payload"], json!({"room": "tea", "by": "bob"}));
    let entered = eve.ask(json!({"type": "subscribe", "channel": "room:tea", "rewind": 1})).await;
    assert_eq!(entered["type"], "ack");
    assert_eq!(eve.hear_message("said").await["payload"], json!({"text": "tea?"}));

    let present = bob.ask(json!({"type": "presence", "channel": "room:tea", "action": "get"})).await;
    let mut names: Vec<_> =
        present["members"].as_array().unwrap().iter().map(|it| it["data"]["name"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["ann", "bob", "eve"]);
    server.stop().await;
}
