//! Without the feature `tui` there is no progress bar.

use starling_load::watch::Stage;

pub struct Bar;

impl Bar {
    pub fn new() -> Self {
        Self
    }

    pub fn show(&mut self, _: Stage, _: u64, _: u64) {}

    pub fn clear(&self) {}
}
