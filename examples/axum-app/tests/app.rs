//! REST and realtime on one port, with one session.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::{Value, json};
use starling_scripted_client::Client;
use tokio::sync::oneshot;

async fn login(http: &reqwest::Client, base: &str, user: &str) -> String {
    let response = http.post(format!("{base}/login")).json(&json!({"user": user})).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_one_user_over_rest_and_websocket() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (base, ws) = (format!("http://{address}"), format!("ws://{address}/ws"));
    let (router, realtime) = starling_example_axum_app::app(&[&base]).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.await;
            realtime.drain().await;
        };
        axum::serve(listener, service).with_graceful_shutdown(stop).await.unwrap();
    });

    let http = reqwest::Client::new();
    assert_eq!(http.get(&base).send().await.unwrap().text().await.unwrap(), "a to-do list");
    assert_eq!(http.get(format!("{base}/healthz")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(http.get(format!("{base}/api/todos")).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let refused = Client::connect_with(&ws, &[]).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("403"), "{refused}");
    let ann = login(&http, &base, "ann").await;
    let bob = login(&http, &base, "bob").await;
    let foreign = [("cookie", ann.as_str()), ("origin", "https://evil.example")];
    let refused = Client::connect_with(&ws, &foreign).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("403"), "{refused}");

    let mut page = Client::connect_with(&ws, &[("cookie", &ann), ("origin", &base)]).await.unwrap();
    let mut other = Client::connect_with(&ws, &[("cookie", &bob)]).await.unwrap();
    assert_eq!(page.subscribe("todos:ann").await["type"], "ack");
    assert_eq!(other.subscribe("todos:ann").await["code"], "FORBIDDEN");
    assert_eq!(page.event("count", Value::Null).await["payload"], 1);

    let added =
        http.post(format!("{base}/api/todos")).header("cookie", &ann).json(&json!("milk")).send().await.unwrap();
    assert_eq!(added.status(), StatusCode::CREATED);
    assert_eq!(page.hear_message("added").await["payload"], "milk");
    let todos = http.get(format!("{base}/api/todos")).header("cookie", &ann).send().await.unwrap();
    assert_eq!(todos.json::<Value>().await.unwrap(), json!(["milk"]));

    stop.send(()).unwrap();
    assert_eq!(page.hear("drain").await["type"], "drain");
    assert_eq!(page.hear_close().await, 1012);
    serving.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the listener is closed");
}
