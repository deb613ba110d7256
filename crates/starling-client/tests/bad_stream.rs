//! Servers of the fallbacks that do what they should not.

use std::time::Duration;

use starling_client::{Client, ConnectError, Error, Item, Publish, Status, SubscribeOptions, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longer than anything here takes, so that a broken test ends.
const PATIENCE: Duration = Duration::from_secs(60);
const READY: &str = "event: ready\ndata: {\"connectionId\":\"c1\",\"channels\":{}}\n\n";
const WELCOME: &str = r#"{"type":"auth_ack","userId":null,"connectionId":"c1"}"#;

/// What a server answers to a request: the head and what there is of the body, by method and path; `None` closes.
type Script = fn(&str, &str) -> Option<String>;

fn json(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"))
}

fn stream(events: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{events}"))
}

/// A server that goes by a script. `more` is written to every event stream that is open when it changes.
async fn serve(script: Script) -> (String, watch::Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (more, written) = watch::channel("");
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(client, script, written.clone()));
        }
    });
    (url, more)
}

async fn answer(mut client: TcpStream, script: Script, mut more: watch::Receiver<&'static str>) -> Option<()> {
    more.mark_unchanged();
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
            }
            (client.read_buf(&mut buffer).await.ok()? > 0).then_some(())?;
        };
        let length = head.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap()
        });
        while buffer.len() < length.unwrap_or(0) {
            (client.read_buf(&mut buffer).await.ok()? > 0).then_some(())?;
        }
        let body = String::from_utf8(buffer.drain(..length.unwrap_or(0)).collect()).unwrap();
        let answer = script(head.split(" HTTP/").next().unwrap(), &body)?;
        client.write_all(answer.as_bytes()).await.ok()?;
        if answer.contains("event-stream") {
            loop {
                more.changed().await.ok()?;
                let text = *more.borrow_and_update();
                client.write_all(text.as_bytes()).await.ok()?;
            }
        }
    }
}

/// A session that is welcome, and to which every subscription is granted.
fn welcoming(request: &str, body: &str) -> Option<String> {
    match request {
        "GET /sse" => stream(READY),
        _ if body.contains(r#""auth""#) => json("200 OK", WELCOME),
        _ => {
            let value: serde_json::Value = serde_json::from_str(body).unwrap();
            json("200 OK", &format!(r#"{{"type":"ack","id":{},"channel":"room"}}"#, value["id"]))
        }
    }
}

#[tokio::test]
async fn what_is_no_session_is_refused_with_a_reason() {
    let cases: [(Transport, Script, &str); 6] = [
        (Transport::Sse, |_, _| json("200 OK", "{}"), "is no event stream"),
        (Transport::Sse, |_, _| stream("event: ready\ndata: garbage\n\n"), "the stream's first event"),
        (Transport::Sse, |_, _| stream("data: \u{0}\u{1}\n\nevent: ready\ndata: {}\n\n"), "the stream's first event"),
        (Transport::Sse, |_, _| json("404 Not Found", "nobody here"), "HTTP 404: nobody here"),
        (Transport::Poll, |_, _| json("200 OK", r#"{"cursor":5}"#), "the answer to a poll"),
        (Transport::Poll, |_, _| json("404 Not Found", ""), "HTTP 404"),
    ];
    for (transport, script, reason) in cases {
        let (url, _more) = serve(script).await;
        let refused = Client::builder(url).transports([transport]).connect().await.unwrap_err();
        assert!(matches!(refused, Error::Connect(_)), "{refused:?}");
        assert!(refused.to_string().contains(reason), "{refused}");
    }
}

#[tokio::test]
async fn a_url_beside_which_nothing_is_known_is_for_websockets_alone() {
    let refused = Client::builder("ws://127.0.0.1:1/socket").transports([Transport::Sse]).start().unwrap_err();
    assert!(matches!(refused, Error::Url { .. }), "{refused:?}");
    let client = Client::builder("ws://127.0.0.1:1/socket").start().unwrap();
    client.close().await;
}

#[tokio::test]
async fn garbage_in_a_stream_ends_it() {
    for garbage in ["data: garbage\n\n", "data: {\"type\":5}\n\n", "event: message\ndata: [1]\n\n"] {
        let (url, more) = serve(welcoming).await;
        let client = Client::builder(url).transports([Transport::Sse]).connect().await.unwrap();
        let mut status = client.status();
        more.send_replace(garbage);
        let waiting = status.wait_for(|status| matches!(status, Status::Waiting { .. }));
        let status = tokio::time::timeout(PATIENCE, waiting).await.expect("given up").unwrap().clone();
        let Status::Waiting { reason: Error::Lost(lost), .. } = status else { panic!("{status:?}") };
        assert!(lost.reason.contains("message from the server"), "{lost}");
    }
}

#[tokio::test]
async fn comments_unknown_events_and_fields_pass() {
    let (url, more) = serve(welcoming).await;
    let client = Client::builder(url).transports([Transport::Sse]).connect().await.unwrap();
    let mut room = client.subscribe("room", SubscribeOptions::default()).await.unwrap();
    more.send_replace(concat!(
        ": comment\n\nretry: 5\nwhat: ever\n\nevent: of tomorrow\ndata: {\"type\":\"of tomorrow\"}\n\n",
        "event: named\nid: x\ndata: {\"type\":\"message\",\"channel\":\"room\",\ndata: \"event\":\"e\",\"payload\":7,\"id\":\"m\",\"ts\":5}\r\n\r\n"
    ));
    let item = tokio::time::timeout(PATIENCE, room.next()).await.expect("in time");
    let Some(Item::Message(message)) = item else { panic!("{item:?}") };
    assert_eq!(message.json::<u64>().unwrap(), 7);
}

#[tokio::test]
async fn what_the_way_does_not_carry_is_refused_and_the_session_goes_on() {
    let script: Script = |request, body| match body {
        _ if body.contains("too large") => json("413 Payload Too Large", "<html>"),
        _ => welcoming(request, body),
    };
    let (url, _more) = serve(script).await;
    let client = Client::builder(url).transports([Transport::Sse]).connect().await.unwrap();
    let refused = client.publish(Publish::json("room", "too large").unwrap()).await;
    assert!(matches!(&refused, Err(Error::Refused(refusal)) if refusal.code == "PAYLOAD_TOO_LARGE"), "{refused:?}");
    client.publish(Publish::json("room", "small").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_full_is_left_alone_for_as_long_as_it_says() {
    let script: Script = |_, _| Some("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nfull".into());
    let (url, _more) = serve(script).await;
    let client = Client::builder(url).transports([Transport::Sse, Transport::Poll]).start().unwrap();
    let mut status = client.status();
    let waiting = status.wait_for(|status| matches!(status, Status::Waiting { .. }));
    let status = tokio::time::timeout(PATIENCE, waiting).await.expect("refused").unwrap().clone();
    let Status::Waiting { reason, retry_in } = status else { panic!("{status:?}") };
    assert!(matches!(reason, Error::Connect(ConnectError::Status { status: 503, .. })), "{reason:?}");
    assert!(retry_in > Duration::from_secs(5), "{retry_in:?}");
}
