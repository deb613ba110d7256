//! Who looks on while a scenario runs, and may end it.

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Connections are opened; progress is in connections.
    Connecting,
    /// Nothing is measured yet; progress is in milliseconds.
    WarmingUp,
    /// Progress is in milliseconds.
    Measuring,
    /// What is on its way arrives; progress is in messages.
    Settling,
}

/// Looks on while a scenario runs.
pub trait Watch {
    /// Called about ten times a second; `done` of `of` are done in `stage`.
    fn see(&mut self, stage: Stage, done: u64, of: u64);

    /// Whether the run shall end early, with what has been measured.
    fn wants_stop(&self) -> bool;
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn see(&mut self, _: Stage, _: u64, _: u64) {}

    fn wants_stop(&self) -> bool {
        false
    }
}
