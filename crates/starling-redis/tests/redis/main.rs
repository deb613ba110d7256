//! The Redis engine against real servers, which the tests start: the shared suites, faults, Cluster, Sentinel, TLS.

mod cluster;
mod faults;
mod interest;
mod presence;
mod refusals;
mod rig;
mod sentinel;
mod tls;

/// One server.
mod single {
    use crate::rig::{engine_on, node_on, run, server};

    fn engine() -> std::sync::Arc<dyn starling_core::Engine> {
        engine_on(server().url())
    }

    fn node() -> starling_testkit::nodes_suite::Node {
        node_on(server().url())
    }

    mod engine_suite {
        use super::{engine, run};
        starling_testkit::engine_suite!(engine, run);
    }

    mod nodes_suite {
        use super::{node, run};
        starling_testkit::nodes_suite!(node, run);
    }
}
