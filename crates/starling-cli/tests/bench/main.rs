//! `starling bench` as a user runs it: against the real server in every protocol, and against one that misbehaves.

mod faulty;
mod server;

use std::process::{Command, Output, Stdio};

use faulty::{Faults, Faulty};
use serde_json::Value;
use server::{Server, free_url};

/// Runs the binary without the variables of the one who runs the tests, in a folder without a configuration.
fn bench(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.current_dir(folder.path()).env_clear().arg("bench").args(args).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one JSON object that a run printed.
fn report(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}{}", stderr(output));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs a scenario against the real server; what it printed.
fn run(server: &Server, args: &[&str]) -> Value {
    let pid = server.child.id().to_string();
    let usual = ["--url", &server.url, "--duration", "1s", "--warmup", "100ms", "--json", "--server-pid", &pid];
    let output = bench(&[args, &usual].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    let report = report(&output);
    for fault in ["lost", "repeated", "reordered", "errors"] {
        assert_eq!(report[fault], 0, "{args:?}: {report:#}");
    }
    assert_eq!((&report["scenario"], &report["stoppedEarly"]), (&args[0].into(), &false.into()), "{report:#}");
    report
}

const PROTOCOLS: [&str; 5] = ["native", "socketio", "phoenix", "pusher", "sse"];

#[test]
fn every_protocol_fans_out() {
    let server = Server::start();
    for protocol in PROTOCOLS {
        let report = run(&server, &["fanout", "--protocol", protocol, "--connections", "20", "--rate", "50"]);
        assert_eq!((&report["protocol"], &report["connections"]), (&protocol.into(), &20.into()), "{report:#}");
        assert!(report["operations"].as_u64().unwrap() > 0, "{report:#}");
        assert!(report["latencyMicros"]["p999"].as_u64() >= report["latencyMicros"]["p50"].as_u64(), "{report:#}");
        assert!(report["serverCpuMicrosPerOperation"].as_f64().unwrap() > 0.0, "{report:#}");
        assert!(report["serverMemory"]["idleBytes"].as_u64().unwrap() > 0, "{report:#}");
    }
}

#[test]
fn every_protocol_has_rooms() {
    let server = Server::start();
    for protocol in PROTOCOLS {
        let few = ["rooms", "--protocol", protocol, "--connections", "20", "--channels", "5", "--in-flight", "3"];
        let report = run(&server, &few);
        assert_eq!(report["channels"], 5, "{report:#}");
        assert!(report["operations"].as_u64().unwrap() > 0, "{report:#}");
    }
}

#[test]
fn every_protocol_answers() {
    let server = Server::start();
    for protocol in ["native", "socketio", "phoenix", "pusher"] {
        let report = run(&server, &["echo", "--protocol", protocol, "--connections", "5", "--rate", "50"]);
        assert!(report["operations"].as_u64().unwrap() > 0, "{protocol}: {report:#}");
    }
}

#[test]
fn every_protocol_connects_and_idles() {
    let server = Server::start();
    for protocol in PROTOCOLS {
        let report = run(&server, &["connect", "--protocol", protocol, "--connections", "4", "--rate", "40"]);
        assert!(report["operations"].as_u64().unwrap() > 0, "{protocol}: {report:#}");
        let report = run(&server, &["idle", "--protocol", protocol, "--connections", "20"]);
        assert_eq!(report["connections"], 20, "{report:#}");
        assert!(report["serverMemory"]["bytesPerConnection"].is_f64(), "{report:#}");
    }
}

#[test]
fn messages_get_in_by_every_way() {
    let server = Server::start();
    for (protocol, via) in
        [("pusher", "client"), ("pusher", "api"), ("native", "api"), ("native", "pusher-api"), ("phoenix", "api")]
    {
        let few = ["fanout", "--protocol", protocol, "--publish", via, "--connections", "5", "--rate", "40"];
        let report = run(&server, &few);
        assert!(report["operations"].as_u64().unwrap() > 0, "{protocol} via {via}: {report:#}");
    }
}

#[test]
fn credentials_make_a_token() {
    let server = Server::start();
    for protocol in ["native", "socketio", "phoenix", "sse"] {
        let few =
            ["fanout", "--protocol", protocol, "--connections", "3", "--key", "dev-key", "--secret", "dev-secret"];
        run(&server, &few);
    }
    let output = bench(&["fanout", "--url", &server.url, "--connections", "3", "--token", "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("HTTP 401"), "{}", stderr(&output));
}

#[test]
fn faults_are_counted() {
    let server = Faulty::start(Faults { drop: Some(3), repeat: Some(5), swap: Some(8), die_after: None });
    let url = server.url.as_str();
    let few = ["fanout", "--url", url, "--connections", "2", "--rate", "40", "--json"];
    let output = bench(&[&few[..], &["--duration", "500ms", "--warmup", "0s"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = report(&output);
    let count = |fault: &str| report[fault].as_u64().unwrap();
    assert_eq!((count("lost"), count("repeated"), count("reordered"), count("errors")), (2, 2, 2, 0), "{report:#}");
}

#[test]
fn a_server_that_dies_midway_is_told_of() {
    for scenario in ["fanout", "echo"] {
        let server = Faulty::start(Faults { die_after: Some(5), ..Faults::default() });
        let few = [scenario, "--url", &server.url, "--connections", "2", "--duration", "20s", "--warmup", "0s"];
        let output = bench(&few);
        assert_eq!(output.status.code(), Some(1), "{scenario}");
        assert!(stderr(&output).contains("the server ended all connections"), "{scenario}: {}", stderr(&output));
        assert!(!output.stdout.is_empty(), "{scenario}: what was measured until then is printed");
    }
}

#[test]
fn a_server_that_is_not_there_or_another_is_told_of() {
    let url = free_url();
    let output = bench(&["fanout", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Connection refused"), "{}", stderr(&output));

    let server = Server::start();
    let output = bench(&["fanout", "--url", &format!("{}/nowhere", server.url), "--connections", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("HTTP 404"), "{}", stderr(&output));

    let output = bench(&["idle", "--url", &server.url, "--server-pid", "999999999"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot measure process 999999999"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_exits_2() {
    for args in [
        &[][..],
        &["nothing"],
        &["fanout", "--url", "redis://x"],
        &["fanout", "--payload", "10"],
        &["fanout", "--connections", "0"],
        &["fanout", "--rate", "0"],
        &["fanout", "--rate", "5", "--in-flight", "2"],
        &["echo", "--in-flight", "2"],
        &["idle", "--rate", "2"],
        &["rooms", "--connections", "10", "--channels", "20"],
        &["fanout", "--duration", "1ms"],
        &["fanout", "--channel", "a\"b"],
        &["fanout", "--path", "ws"],
        &["fanout", "--protocol", "sse", "--publish", "client"],
        &["fanout", "--protocol", "pusher", "--publish", "client", "--channel", "public"],
        &["fanout", "--protocol", "pusher", "--url", "https://example.com"],
        &["echo", "--protocol", "sse"],
    ] {
        let output = bench(args);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{args:?}: {}", stderr(&output));
    }
}
