//! A line on standard error that says what is being done, if that is a terminal. Holds the bar.

use indicatif::ProgressBar;
use std::time::Duration;

/// The line. It disappears when this is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(super) fn show(&self, step: &str) {
        self.0.set_message(step.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
