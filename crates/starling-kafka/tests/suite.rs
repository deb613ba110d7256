//! The Kafka engine against the suites that every engine passes, with a real broker.

mod server;

use std::future::Future;
use std::sync::{Arc, OnceLock};

use starling_core::Engine;
use starling_testkit::Broker;
use starling_testkit::nodes_suite::Node;

use server::room::until;

fn shared() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| starling_testkit::kafka(""))
}

fn engine() -> Arc<dyn Engine> {
    // It stays until the process ends.
    let (engine, runtime) = server::node(server::options(shared()));
    std::mem::forget(runtime);
    until("the broker is found", || engine.is_up());
    engine
}

fn node() -> Node {
    let mut options = server::options(shared());
    // A cluster for each case: only its own nodes notice what happens in it. A case has a thread of its own.
    let case = std::thread::current().name().unwrap_or("main").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    options.prefix = case;
    let (engine, runtime) = server::node(options);
    until("the broker is found", || engine.is_up());
    Node { engine, kill: Box::new(|| runtime.shutdown_background()) }
}

fn run(case: impl Future<Output = ()>) {
    if server::is_installed() {
        starling_testkit::block_on(case);
    }
}

mod one_node {
    use super::*;
    starling_testkit::engine_suite!(engine, run);
}

mod nodes {
    use super::*;
    starling_testkit::nodes_suite!(node, run);
}
