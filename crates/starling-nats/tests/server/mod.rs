//! A real `nats-server` with JetStream, and nodes that use it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use starling_nats::{NatsEngine, NatsOptions};
use starling_testkit::Broker;
use tokio::runtime::{Builder, Runtime};

/// Whether there is a server to test with; says so aloud where not, and fails where `CI` is set.
pub fn is_installed() -> bool {
    starling_testkit::is_installed("nats-server")
}

/// A server with JetStream, and `more` in its configuration.
pub fn nats_server(more: &str) -> Broker {
    configured(&format!("jetstream {{ store_dir: \"FOLDER/data\" }}\n{more}"))
}

/// A server with this configuration; `FOLDER` in it is the server's own.
pub fn configured(configuration: &str) -> Broker {
    Broker::start("nats-server", |port, folder| {
        {
            let folder = folder.to_str().unwrap();
            let file = format!("{folder}/server.conf");
            let text = configuration.replace("FOLDER", folder);
            fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{text}\n")).unwrap();
            ["-c".to_owned(), file]
        }
        .into()
    })
}

/// How nodes of the tests use a server: with short leases.
pub fn options(broker: &Broker) -> NatsOptions {
    let mut options = NatsOptions::parse(&format!("nats://127.0.0.1:{}", broker.port())).unwrap();
    options.lease = Duration::from_secs(6);
    options
}

/// A node with a runtime of its own, as a process has: without the runtime it is dead.
pub fn node(options: NatsOptions) -> (Arc<NatsEngine>, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let engine = runtime.block_on(NatsEngine::connect(options)).unwrap();
    (engine, runtime)
}
