//! How far it is: a bar on standard error, and only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

const LOOK: &str = "{msg:<30} {wide_bar} {percent:>3} %  {elapsed}";
/// The bar moves by thousandths of a run.
const PARTS: u64 = 1000;

/// The bar. It is gone when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    done: u64,
}

impl Progress {
    /// Nothing of so many runs is done. Where there is no terminal nothing is drawn.
    pub(super) fn of(runs: usize) -> Self {
        let style = ProgressStyle::with_template(LOOK).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::new(runs as u64 * PARTS).with_style(style), done: 0 }
    }

    /// What is going on now.
    pub(super) fn set_message(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Takes note of how many calls of the run that goes on are done, from any thread.
    pub(super) fn callback(&self) -> impl Fn(usize, usize) + Send + Sync + 'static {
        let (bar, before) = (self.bar.clone(), self.done * PARTS);
        move |calls, of| bar.set_position(before + (PARTS * calls as u64 / (of as u64).max(1)).min(PARTS))
    }

    /// The run is over.
    pub(super) fn next(&mut self) {
        self.done += 1;
        self.bar.set_position(self.done * PARTS);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
