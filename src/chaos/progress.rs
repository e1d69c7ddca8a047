//! The progress of a run on standard error: one line that is rewritten on a terminal, otherwise a line every few
//! seconds.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// The shortest time between two lines, if standard error is not a terminal.
const PLAIN: Duration = Duration::from_secs(5);
/// The shortest time between two updates of the line on a terminal.
const REWRITTEN: Duration = Duration::from_millis(200);

/// Prints the progress of one run.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    last_print: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { terminal: stderr().is_terminal(), last_print: None }
    }
}

impl Progress {
    /// Prints the text, unless the previous one was printed only a short time ago.
    #[expect(clippy::disallowed_methods, reason = "prints a line every few seconds")]
    pub fn print(&mut self, text: &str) {
        let pause = if self.terminal { REWRITTEN } else { PLAIN };
        if self.last_print.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.last_print = Some(Instant::now());
        let (begin, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let _ = write!(stderr(), "{begin}{text}{end}");
    }

    /// Ends the line on the terminal, so that later output starts on a new one.
    pub fn done(&mut self) {
        if self.terminal && self.last_print.is_some() {
            let _ = writeln!(stderr());
        }
    }
}
