//! Hooks against a scripted backend: what is sent, and every way in which an answer can be bad.

use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_core::{
    AppId, Application, Caller, ChannelName, ConnectionId, Decision, ErrorCode, Payload, Protocol, Publish, RawJson,
    Refusal, Subscribe, UserId,
};

use super::scripted::{Backend, ok, status};
use super::*;
use crate::auth::AppKeys;

pub(super) fn secrets() -> Arc<Secrets> {
    Arc::new(Secrets::new(&[AppKeys::new("1", "key", "secret")]))
}

pub(super) fn caller(connection: &str) -> Caller {
    Caller {
        app: AppId::from("1"),
        connection: ConnectionId::from(connection),
        user: Some(UserId::from("ann")),
        info: None,
        protocol: Protocol("native"),
        query: None,
    }
}

pub(super) fn publish(channel: &str, json: &str) -> Publish {
    let payload = Payload::Json(RawJson::from_valid(json.to_owned()));
    Publish::new(ChannelName::parse(channel).unwrap(), "message", payload)
}

fn hooks(url: &str, change: impl FnOnce(&mut HookOptions)) -> Arc<HttpHooks> {
    let mut options = HookOptions::new(url);
    options.timeout = Duration::from_secs(20);
    change(&mut options);
    HttpHooks::new(options, secrets()).unwrap()
}

async fn ask(hooks: &HttpHooks) -> Result<Decision, Refusal> {
    let subscribe = Subscribe::live(ChannelName::parse("room").unwrap());
    hooks.subscribe(&caller("c1"), &subscribe).wait().await
}

fn is_failed(answer: &Result<Decision, Refusal>) -> bool {
    answer.as_ref().is_err_and(|refusal| refusal.is(ErrorCode::HookFailed))
}

#[tokio::test]
async fn questions_are_signed_and_share_a_connection() {
    let backend = Backend::start(|_| ok("{}")).await;
    let hooks = hooks(&backend.url, |_| {});
    assert!(ask(&hooks).await.unwrap().granted);
    assert!(hooks.publish(&caller("c1"), &publish("room", "[1.0]")).wait().await.unwrap().granted);
    let heard = backend.heard(2).await;
    assert_eq!(heard[0].connection, heard[1].connection);
    for request in &heard {
        let timestamp = request.header("starling-timestamp").unwrap();
        let signed = secrets().sign(&AppId::from("1"), &[timestamp.as_bytes(), b".", request.body.as_bytes()]);
        assert_eq!(request.header("starling-signature"), Some(format!("v1={}", signed.unwrap()).as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert!(request.head.starts_with("POST /hooks HTTP/1.1"));
    }
    assert!(heard[1].body.ends_with(r#""event":"message","payload":[1.0]}"#), "{}", heard[1].body);
}

#[tokio::test]
async fn bad_answers_fail_and_the_next_question_is_asked_all_the_same() {
    let huge = |head: &str| [head.as_bytes(), &vec![b' '; 10 << 20], b"{}"].concat();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("500", status(500).unwrap()),
        ("a redirect", b"HTTP/1.1 302 X\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("201", b"HTTP/1.1 201 X\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
        ("no HTTP", b"\x16\x03\x01 hello".to_vec()),
        ("nothing", Vec::new()),
        ("half a head", b"HTTP/1.1 200 OK\r\ncont".to_vec()),
        ("half a body", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"reply\"".to_vec()),
        ("half a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n{".to_vec()),
        ("10 MB", huge("HTTP/1.1 200 OK\r\ncontent-length: 10485762\r\n\r\n")),
        ("10 MB until the end", huge("HTTP/1.1 200 OK\r\n\r\n")),
        ("no JSON", ok("<html>}").unwrap()),
        ("a wrong type", ok("{\"join\":{}}").unwrap()),
        ("not UTF-8", b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"reply\":\"\xff\"}".to_vec()),
    ];
    for (name, answer) in bad {
        let backend = Backend::start(move |_| Some(answer.clone())).await;
        let strict = hooks(&backend.url, |_| {});
        assert!(is_failed(&ask(&strict).await), "{name}");
        assert!(is_failed(&ask(&strict).await), "{name}, again");
        let lenient = hooks(&backend.url, |options| options.on_error = OnError::Allow);
        assert!(!ask(&lenient).await.unwrap().granted, "{name}: it goes ahead, and nothing is granted");
        let (_, counts) = strict.times().read(HookEvent::Subscribe, Asked::Failed);
        assert_eq!(counts.iter().sum::<u64>(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_late_answer_is_none() {
    let backend = Backend::start(|_| None).await;
    let hooks = hooks(&backend.url, |options| options.timeout = Duration::from_millis(50));
    let start = Instant::now();
    assert!(is_failed(&ask(&hooks).await));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test]
async fn beyond_the_limit_nobody_waits() {
    let backend = Backend::start(|_| None).await;
    let hooks = hooks(&backend.url, |options| options.max_concurrent = 1);
    let first = tokio::spawn({
        let hooks = hooks.clone();
        async move { ask(&hooks).await }
    });
    backend.heard(1).await;
    assert!(is_failed(&ask(&hooks).await));
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled(), "who gives up waiting gives back the place");
    let second = tokio::spawn(async move { ask(&hooks).await });
    backend.heard(2).await;
    second.abort();
}

#[tokio::test]
async fn a_dead_backend_is_left_alone_until_a_probe_succeeds() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hooks = hooks(&format!("http://{address}/"), |options| {
        options.failures_to_open = 3;
        options.pause = Duration::from_millis(20);
    });
    for _ in 0..3 {
        assert!(is_failed(&ask(&hooks).await));
    }
    assert!(hooks.is_open());
    let backend = Backend::on(tokio::net::TcpListener::bind(address).await.unwrap(), |_| ok("{}"));
    while ask(&hooks).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(!hooks.is_open());
    assert_eq!(backend.heard(1).await.len(), 1, "one probe, whose answer counted");
}

#[tokio::test]
async fn a_backend_that_answers_wrongly_is_not_dead() {
    let backend = Backend::start(|_| status(500)).await;
    let hooks = hooks(&backend.url, |options| options.failures_to_open = 2);
    for _ in 0..5 {
        assert!(is_failed(&ask(&hooks).await));
    }
    assert!(!hooks.is_open());
    assert_eq!(backend.heard(5).await.len(), 5);
}

#[test]
fn only_addresses_are_accepted() {
    for url in ["", "/hooks", "ftp://x/", "http://"] {
        assert!(matches!(HttpHooks::new(HookOptions::new(url), secrets()), Err(HooksError::Url(_))), "{url}");
    }
}
