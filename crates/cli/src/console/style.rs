//! Colors on a terminal, none elsewhere and with `NO_COLOR`.

use anstream::{AutoStream, ColorChoice};
use std::io;

/// Whether text is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) has_colors: bool,
}

impl Style {
    /// Returns the style for standard error.
    pub(crate) fn of_stderr() -> Self {
        Self { has_colors: AutoStream::choice(&io::stderr()) != ColorChoice::Never }
    }

    /// Returns the style for standard output.
    pub(crate) fn of_stdout() -> Self {
        Self { has_colors: AutoStream::choice(&io::stdout()) != ColorChoice::Never }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.has_colors && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}
