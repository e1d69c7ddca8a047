//! Events of the log that are made on the thread of a pool, or of whoever serves. Holds nothing.

use std::{
    fmt::{self, Display, Formatter, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs code that logs. The subscriber is the application's code: if it panics, that event is lost, and nothing else.
///
/// A subscriber that blocks cannot be helped: it blocks this thread (`docs/semantics.md`, "The log").
pub(crate) fn emit(event: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(event));
}

/// A text on one line of the log: control characters are escaped. Callers choose parts of an error's text, such as a command's name, and
/// could forge lines and move a terminal's cursor with them.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char.is_control() {
            true => write!(self.0, "{}", char.escape_default()),
            false => self.0.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::OneLine;

    #[test]
    fn a_text_stays_on_its_line() {
        let text = "no\n2026-11-29 INFO forged \u{1b}[31mr\u{e9}d\r\u{9b}2J\ttab";
        assert_eq!(OneLine(text).to_string(), "no\\n2026-11-29 INFO forged \\u{1b}[31mr\u{e9}d\\r\\u{9b}2J\\ttab");
    }
}
