//! A guest and a player of the league.

use serde_json::{Value, json};
use starling::Server;
use starling::auth::{Algorithm, AppKeys, NewToken, mint};
use starling_scripted_client::Client;

const SECRET: &str = "a secret of some length";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_join_move_and_see_each_other() {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .app(AppKeys::new("1", "key", SECRET))
        .anonymous()
        .workers(2)
        .handlers(starling_example_game::handlers())
        .start()
        .unwrap();
    let url = format!("ws://{}/ws", server.addresses()[0]);
    let token = mint(Algorithm::Hs256, SECRET.as_bytes(), &NewToken { user: "ann", ..NewToken::default() }).unwrap();
    let mut ann = Client::connect_as(&url, &token).await;
    let mut guest = Client::connect(&url).await;

    assert_eq!(guest.subscribe("game:0").await["code"], "NO_SUCH_GAME");
    assert_eq!(guest.subscribe("game:100").await["code"], "FORBIDDEN");
    assert_eq!(guest.subscribe("game:chess").await["code"], "INVALID_CHANNEL");
    assert_eq!(ann.subscribe("game:100").await["type"], "ack");
    let joined = ann.ask(json!({"type": "subscribe", "channel": "game:1", "presence": true})).await;
    assert_eq!(joined["type"], "ack", "{joined}");
    assert_eq!(guest.subscribe("game:1").await["type"], "ack");

    let came = ann.hear_where(|heard| {
        let joins = heard["joins"].as_array().or(heard["members"].as_array());
        joins.is_some_and(|joins| {
            joins.iter().any(|it| it["userId"].as_str().is_some_and(|id| id.starts_with("guest-")))
        })
    });
    let came = came.await;
    let entries = came["joins"].as_array().or(came["members"].as_array()).unwrap();
    let guest_entry = entries.iter().find(|it| it["userId"] != "ann").unwrap();
    assert_eq!(guest_entry["data"]["status"], "online");
    assert!(guest_entry["data"]["online_at"].is_u64());

    assert_eq!(guest.event_in("game:1", "move", json!({"x": 3, "y": 4})).await["type"], "ack");
    for client in [&mut ann, &mut guest] {
        let moved = client.hear_message("player_moved").await;
        assert_eq!((&moved["payload"]["x"], &moved["payload"]["y"]), (&json!(3), &json!(4)));
        assert_eq!(moved["payload"]["player"], guest_entry["userId"]);
    }
    assert_eq!(guest.event_in("game:1", "move", json!({"x": 100, "y": 4})).await["code"], "OFF_BOARD");
    assert_eq!(guest.event_in("game:1", "move", json!({"x": -1, "y": 4})).await["code"], "INVALID_MESSAGE");
    assert!(guest.event_in("game:1", "ping", Value::Null).await["payload"]["time"].is_u64());
    assert_eq!(guest.event_in("game:2", "ping", Value::Null).await["code"], "NOT_SUBSCRIBED");
    server.stop().await;
}
