//! The memory engine against the suite that every engine passes.

use std::sync::Arc;
use std::time::Duration;

use starling_core::Engine;
use starling_hub::MemoryEngine;

fn memory_engine() -> Arc<dyn Engine> {
    Arc::new(MemoryEngine::new(Duration::from_secs(120)))
}

starling_testkit::engine_suite!(memory_engine);
