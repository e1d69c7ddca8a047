//! How a run goes on, on standard error: on a terminal one line that is rewritten, else a plain line every few seconds.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// Between two plain lines.
const PLAIN: Duration = Duration::from_secs(5);
/// Between two states of a terminal's line.
const REWRITTEN: Duration = Duration::from_millis(200);

/// Tells of one run.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    told: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { terminal: stderr().is_terminal(), told: None }
    }
}

impl Progress {
    /// Tells it, if it is time again.
    #[expect(clippy::disallowed_methods, reason = "prints a line every few seconds")]
    pub fn print(&mut self, text: &str) {
        let pause = if self.terminal { REWRITTEN } else { PLAIN };
        if self.told.is_some_and(|told| told.elapsed() < pause) {
            return;
        }
        self.told = Some(Instant::now());
        let (begin, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let _ = write!(stderr(), "{begin}{text}{end}");
    }

    /// Leaves the terminal's line.
    pub fn done(&mut self) {
        if self.terminal && self.told.is_some() {
            let _ = writeln!(stderr());
        }
    }
}
