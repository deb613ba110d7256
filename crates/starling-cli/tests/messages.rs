//! `publish` and `subscribe` as a user runs them, against a server that follows a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};

/// Starts the binary in `folder`, without the variables of the one who runs the tests.
fn start(folder: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.current_dir(folder).args(args).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary runs")
}

/// What a command left behind: exit code, standard output, standard error.
fn finish(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

fn run(args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    finish(start(folder.path(), args))
}

struct Server {
    listener: TcpListener,
    url: String,
}

/// A request of the HTTP API.
struct Call {
    stream: TcpStream,
    path: String,
    authorization: String,
    body: String,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    fn call(&self) -> Call {
        let (stream, _) = self.listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let head = line();
        let path = head.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
        let (mut length, mut authorization) = (0, String::new());
        loop {
            let header = line();
            let Some((name, value)) = header.split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => authorization = value.into(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        Call { stream, path, authorization, body: String::from_utf8(body).unwrap() }
    }

    fn socket(&self) -> WebSocket<TcpStream> {
        let (stream, _) = self.listener.accept().unwrap();
        #[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
        let callback = |_: &Request, mut response: Response| {
            response.headers_mut().insert("sec-websocket-protocol", "starling.v1.json".parse().unwrap());
            Ok(response)
        };
        let mut socket = accept_hdr(stream, callback).unwrap();
        assert_eq!(receive(&mut socket)["type"], "auth");
        send(&mut socket, json!({"type": "auth_ack", "userId": null, "connectionId": "c"}));
        socket
    }
}

impl Call {
    fn answer(mut self, status: &str, body: Value) {
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        self.stream.write_all((head + &body).as_bytes()).unwrap();
    }
}

fn receive(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn send(socket: &mut WebSocket<TcpStream>, value: Value) {
    socket.send(Message::text(value.to_string())).unwrap();
}

#[test]
fn a_message_is_published_digit_by_digit() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let payload = r#"{"n": 12345678901234567890.10, "b":1, "a":2}"#;
    let child = start(folder.path(), &["publish", "room", payload, "--event", "said", "--url", &server.url]);
    let call = server.call();
    assert_eq!(call.path, "/api/publish");
    assert_eq!(call.authorization, "Basic ZGV2LWtleTpkZXYtc2VjcmV0", "dev-key:dev-secret");
    assert_eq!(call.body, format!(r#"{{"channel":"room","event":"said","payload":{payload}}}"#));
    call.answer("200 OK", json!({"results": [{"channel": "room", "messageId": "m", "epoch": "e", "offset": 7}]}));
    let (code, stdout, stderr) = finish(child);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["offset"], 7);
}

#[test]
fn lines_are_published_in_order() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        start(folder.path(), &["publish", "room", "-", "--url", &server.url, "--key", "k", "--secret", "s"]);
    let lines: String = (0..2500).map(|n| format!("{{\"n\":{n}}}\n\n")).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let mut received = Vec::new();
    while received.len() < 2500 {
        let call = server.call();
        assert_eq!(call.authorization, "Basic azpz");
        let body: Value = serde_json::from_str(&call.body).unwrap();
        let messages = match call.path.as_str() {
            "/api/publish" => vec![body],
            "/api/batch" => body["messages"].as_array().unwrap().clone(),
            other => panic!("{other}"),
        };
        assert!(messages.len() <= 1000);
        let results: Vec<Value> =
            messages.iter().map(|message| json!({"messageId": message["payload"]["n"]})).collect();
        received.extend(messages.iter().map(|message| message["payload"]["n"].as_u64().unwrap()));
        call.answer("200 OK", json!({"results": results}));
    }
    writer.join().unwrap();
    let (code, stdout, stderr) = finish(child);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(received.iter().copied().eq(0..2500));
    assert!(stdout.lines().enumerate().all(|(n, line)| line == format!("{{\"messageId\":{n}}}")));
}

#[test]
fn a_line_that_is_not_json_stops_behind_those_before_it() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), &["publish", "room", "-", "--url", &server.url]);
    child.stdin.take().unwrap().write_all(b"1\nnope\n3\n").unwrap();
    let call = server.call();
    assert_eq!((call.path.as_str(), call.body.as_str()), ("/api/publish", r#"{"channel":"room","payload":1}"#));
    call.answer("200 OK", json!({"results": [{}]}));
    let (code, _, stderr) = finish(child);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("starling: line 2 of standard input is not JSON"), "{stderr}");
}

#[test]
fn what_cannot_be_published_says_why() {
    let (code, _, stderr) = run(&["publish", "room", "hello"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("starling: PAYLOAD is not JSON"), "{stderr}");
    let (code, _, stderr) = run(&["publish", "room", "1", "--url", "https://example.com"]);
    assert_eq!(
        (code, stderr.as_str()),
        (
            2,
            "starling: no credentials for https://example.com/: give --key and --secret, or a configuration with --config\n"
        )
    );
    let (code, _, stderr) = run(&["publish", "room", "1", "--key", "k"]);
    assert_eq!((code, stderr.as_str()), (2, "starling: --key needs --secret beside it\n"));
    for url in ["ftp://x", "127.0.0.1:8080", "http://me:pw@x"] {
        assert_eq!(run(&["publish", "room", "1", "--url", url]).0, 2, "{url}");
    }

    let server = Server::new();
    for (status, body, expected) in [
        (
            "401 Unauthorized",
            json!({"error": {"code": "AUTH_REQUIRED", "message": "who"}}),
            "refused the credentials from --dev (AUTH_REQUIRED: who)",
        ),
        (
            "400 Bad Request",
            json!({"error": {"code": "INVALID_CHANNEL", "message": "too long"}}),
            "refused it: INVALID_CHANNEL: too long",
        ),
        ("502 Bad Gateway", json!("proxy"), "refused it: HTTP 502 Bad Gateway"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let child = start(folder.path(), &["publish", "room", "1", "--url", &server.url]);
        server.call().answer(status, body);
        let (code, stdout, stderr) = finish(child);
        assert_eq!(
            (code, stdout.as_str(), stderr.as_str()),
            (1, "", format!("starling: {}/ {expected}\n", server.url).as_str())
        );
    }
    let url = server.url.clone();
    drop(server);
    let (code, _, stderr) = run(&["publish", "room", "1", "--url", &url]);
    assert_eq!(
        (code, stderr.as_str()),
        (1, format!("starling: cannot publish to {url}/: Connection refused (os error 111)\n").as_str())
    );
}

#[test]
fn credentials_come_from_the_configuration_in_the_folder() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("starling.toml"), "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"own\"\n")
        .unwrap();
    let child = start(folder.path(), &["publish", "room", "1", "--url", &server.url]);
    let call = server.call();
    assert_eq!(call.authorization, "Basic azpvd24=", "k:own");
    call.answer("200 OK", json!({"results": [{}]}));
    assert_eq!(finish(child).0, 0);
}

#[test]
fn messages_are_printed_across_a_reconnect() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), &["subscribe", "room", "--url", &server.url, "--since", "e:x:4"]);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || output.next().unwrap().unwrap();
    let message = |offset: u64| json!({"type": "message", "channel": "room", "event": "said", "payload": {"a": 1}, "id": "m", "ts": 5, "offset": offset, "epoch": "e:x"});
    let recover = |socket: &mut WebSocket<TcpStream>, offset: u64| {
        let request = receive(socket);
        assert_eq!(
            (&request["channel"], &request["recover"]),
            (&json!("room"), &json!({"epoch": "e:x", "offset": offset}))
        );
        send(
            socket,
            json!({"type": "ack", "id": request["id"], "channel": "room", "epoch": "e:x", "offset": offset, "recovered": true}),
        );
    };

    let mut socket = server.socket();
    recover(&mut socket, 4);
    send(&mut socket, message(5));
    // A payload goes through as it was published, on one line.
    let pretty = "{\"type\":\"message\",\"channel\":\"room\",\"event\":\"said\",\"payload\":{\n \"n\": 1.000 },\"id\":\"m\",\"ts\":5,\"userId\":\"u\",\"offset\":6,\"epoch\":\"e:x\"}";
    socket.send(Message::text(pretty)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line()).unwrap(), message(5));
    assert_eq!(
        line(),
        r#"{"type":"message","channel":"room","event":"said","payload":{  "n": 1.000 },"id":"m","ts":5,"userId":"u","offset":6,"epoch":"e:x"}"#
    );
    drop(socket);

    let mut socket = server.socket();
    recover(&mut socket, 6);
    send(&mut socket, message(7));
    assert_eq!(serde_json::from_str::<Value>(&line()).unwrap(), message(7));
    send(&mut socket, json!({"type": "unsubscribed", "channel": "room", "code": "FORBIDDEN", "message": "out"}));
    // The client says goodbye; reading on answers it.
    while socket.read().is_ok() {}
    let (code, _, stderr) = finish(child);
    assert_eq!(code, 1);
    let notes: Vec<&str> = stderr.lines().collect();
    let [lost, again, ended, last] = notes[..] else { panic!("{stderr}") };
    assert!(lost.starts_with("starling: connection lost") && lost.contains("trying again in"), "{lost}");
    assert_eq!(again, "starling: connected again");
    assert_eq!(ended, "starling: the server ended the subscription to \"room\": FORBIDDEN: out");
    assert_eq!(last, "starling: no subscription is left");
}

#[test]
fn an_interruption_is_heard_while_the_server_says_nothing() {
    for signal in ["-INT", "-TERM"] {
        let server = Server::new();
        let folder = tempfile::tempdir().unwrap();
        let child = start(folder.path(), &["subscribe", "room", "--url", &server.url]);
        // It connects, so that it listens for signals, and is never answered.
        let _silent = server.listener.accept().unwrap();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(finish(child).0, 0);
    }
}

#[test]
fn a_refused_subscription_exits_1() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), &["subscribe", "room", "--url", &server.url]);
    let mut socket = server.socket();
    let request = receive(&mut socket);
    send(&mut socket, json!({"type": "error", "id": request["id"], "code": "FORBIDDEN", "message": "no"}));
    let (code, stdout, stderr) = finish(child);
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (1, "", "starling: subscription to \"room\" refused: FORBIDDEN: no\n")
    );
}

#[test]
fn a_connection_that_is_closed_for_good_exits_1() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), &["subscribe", "room", "--url", &server.url]);
    let mut socket = server.socket();
    let request = receive(&mut socket);
    send(&mut socket, json!({"type": "ack", "id": request["id"], "channel": "room"}));
    socket.close(Some(CloseFrame { code: 4003.into(), reason: "out".into() })).unwrap();
    while socket.read().is_ok() {}
    let (code, _, stderr) = finish(child);
    assert_eq!((code, stderr.as_str()), (1, "starling: connection closed with 4003: out\n"));
}

#[test]
fn wrong_usage_of_subscribe_exits_2() {
    for args in [
        &["subscribe"][..],
        &["subscribe", "a", "b", "--since", "e:1"],
        &["subscribe", "a", "--since", "5"],
        &["subscribe", "a", "--since", "e:"],
        &["subscribe", "a", "--since", ":5"],
        &["subscribe", "a", "--url", "redis://x"],
        &["subscribe", "a", "--token", ""],
        &["subscribe", "a", "--transport", "pigeon"],
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
    }
}
