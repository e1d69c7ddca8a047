//! The progress bar on standard error. It is drawn only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{msg:<30} {wide_bar} {percent:>3} %  {elapsed}";
/// The number of steps of the bar for each run.
const STEPS: u64 = 1000;

/// The progress bar. It disappears when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    done: u64,
}

impl Progress {
    /// Creates a bar for this number of runs. Draws nothing if standard error is not a terminal.
    pub(super) fn of(runs: usize) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::new(runs as u64 * STEPS).with_style(style), done: 0 }
    }

    /// Sets the text for the current step.
    pub(super) fn set_message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Returns a function that sets the number of finished calls of the current run. It can be called from any thread.
    pub(super) fn callback(&self) -> impl Fn(usize, usize) + Send + Sync + 'static {
        let (bar, before) = (self.bar.clone(), self.done * STEPS);
        move |calls, of| bar.set_position(before + (STEPS * calls as u64 / (of as u64).max(1)).min(STEPS))
    }

    /// Marks the current run as finished.
    pub(super) fn next(&mut self) {
        self.done += 1;
        self.bar.set_position(self.done * STEPS);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
