//! Who looks on while a benchmark runs: a progress bar where there is a terminal, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Context;
use starling_load::watch::{Stage, Watch};

use super::bar::Bar;

/// The exit code after a second Ctrl-C: 128 + SIGINT, as of any program that it ends.
const INTERRUPTED: i32 = 130;

pub struct Spectator {
    stop: Arc<AtomicBool>,
    bar: Bar,
}

impl Spectator {
    /// Listens to Ctrl-C from now on.
    ///
    /// # Errors
    ///
    /// Fails when the system refuses that.
    pub fn start() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        listen(stop.clone())?;
        Ok(Self { stop, bar: Bar::new() })
    }

    /// Leaves the terminal as it was.
    pub fn finish(&mut self) {
        self.bar.clear();
    }
}

impl Watch for Spectator {
    fn see(&mut self, stage: Stage, done: u64, of: u64) {
        self.bar.show(stage, done, of);
    }

    fn wants_stop(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// The first Ctrl-C asks for an end, the second is one.
fn listen(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot listen to signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    });
    Ok(())
}
