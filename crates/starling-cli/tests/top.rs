//! `starling top` as a program reads it: snapshots of the real server, as text and as JSON.

#[path = "bench/server.rs"]
mod server;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use server::{Server, free_url};
use tokio_tungstenite::tungstenite::{Message, connect};

fn top(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.current_dir(folder.path()).env_clear().arg("top").args(args).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_snapshot_shows_who_is_there() {
    let server = Server::start();
    let (mut socket, _) = connect(format!("{}/ws", server.url.replace("http", "ws"))).unwrap();
    for channel in ["room:1", "room:2"] {
        socket.send(Message::text(format!(r#"{{"type":"subscribe","channel":"{channel}","id":1}}"#))).unwrap();
        while !socket.read().unwrap().to_text().unwrap().contains(r#""ack""#) {}
    }

    let output = top(&["--url", &server.url]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let shown = text(&output.stdout);
    for expected in ["connections 1 (native 1), channels 2, members 2", "a second:    published 0.0", "room:1"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }

    let output = top(&["--url", &server.url, "--json", "--prefix", "room:2"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["connections"], &shown["connectionsByProtocol"]["native"]), (&1.into(), &1.into()));
    assert_eq!(shown["perSecond"]["delivered"], 0.0, "{shown:#}");
    let channels = shown["largestChannels"].as_array().unwrap();
    assert_eq!((channels.len(), &channels[0]["channel"]), (1, &"room:2".into()), "{shown:#}");
}

#[test]
fn a_server_that_is_away_or_refuses_exits_1() {
    let output = top(&["--url", &free_url()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Connection refused"), "{}", text(&output.stderr));

    let server = Server::start();
    let output = top(&["--url", &server.url, "--key", "dev-key", "--secret", "wrong"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("refused the credentials"), "{}", text(&output.stderr));

    let output = top(&["--url", "https://example.com"]);
    assert_eq!(output.status.code(), Some(2), "no credentials: {}", text(&output.stderr));
}
