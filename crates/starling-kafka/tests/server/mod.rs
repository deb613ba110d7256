//! A real Kafka broker, and nodes that use it.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod room;

use std::sync::Arc;
use std::time::Duration;

use starling_kafka::{KafkaEngine, KafkaOptions};
use starling_testkit::Broker;
use tokio::runtime::{Builder, Runtime};

/// Whether there is a broker to test with; says so aloud where not, and fails where `CI` is set.
pub fn is_installed() -> bool {
    starling_testkit::kafka_is_installed()
}

/// How nodes of the tests use a broker: with few partitions and short leases.
pub fn options(broker: &Broker) -> KafkaOptions {
    let mut options = KafkaOptions::parse(&format!("kafka://127.0.0.1:{}", broker.port())).unwrap();
    options.partitions = 2;
    options.lease = Duration::from_secs(9);
    // The machine may be busy with other tests.
    options.timeout = Duration::from_secs(15);
    options
}

/// A node with a runtime of its own, as a process has: without the runtime it is dead.
pub fn node(options: KafkaOptions) -> (Arc<KafkaEngine>, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let engine = runtime.block_on(KafkaEngine::connect(options)).unwrap();
    (engine, runtime)
}
