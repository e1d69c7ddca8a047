//! Text for a person at a terminal: colors and tracebacks. Prints nothing itself.

mod style;
pub(crate) mod traceback;

pub(crate) use style::Style;
