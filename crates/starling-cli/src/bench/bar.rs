//! The progress bar: on a terminal only, and on standard error, so that the result stays alone on standard output.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use starling_load::watch::Stage;

/// A bar for each stage in turn.
pub struct Bar {
    bar: ProgressBar,
    stage: Option<Stage>,
}

impl Bar {
    /// Nothing is drawn before the first progress, or without a terminal.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        Self { bar: ProgressBar::with_draw_target(None, target), stage: None }
    }

    /// Shows that `done` of `of` are done in `stage`.
    pub fn show(&mut self, stage: Stage, done: u64, of: u64) {
        if self.bar.is_hidden() {
            return;
        }
        if self.stage.replace(stage) != Some(stage) {
            let template = match stage {
                Stage::Connecting => "{msg:10} [{bar:40}] {pos}/{len} connections",
                Stage::WarmingUp | Stage::Measuring => "{msg:10} [{bar:40}] {percent} %",
                Stage::Settling => "{msg:10} [{bar:40}] {pos}/{len} messages",
            };
            // A template that does not parse is a defect; the bar then looks as it does by default.
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar.set_style(style.progress_chars("=> "));
            self.bar.set_message(match stage {
                Stage::Connecting => "connecting",
                Stage::WarmingUp => "warming up",
                Stage::Measuring => "measuring",
                Stage::Settling => "settling",
            });
        }
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// Removes it from the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
