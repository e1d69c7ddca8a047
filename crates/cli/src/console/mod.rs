//! Text for a person at a terminal: colors and tracebacks. Prints nothing itself.

mod style;
pub(crate) mod traceback;

pub(crate) use style::Style;

use std::{borrow::Cow, env, fmt::Write};

/// Returns whether the terminal may print escape sequences instead of obeying them: `TERM` is `dumb` or not set.
pub(crate) fn is_dumb() -> bool {
    env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Returns a text of which a terminal obeys nothing: control characters are escaped as in JSON, except for line breaks and tabs. JSON
/// keeps its meaning.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_obeyed = |each: char| each.is_control() && !['\n', '\t'].contains(&each);
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for each in text.chars() {
        match is_obeyed(each) {
            true => _ = write!(escaped, "\\u{:04x}", u32::from(each)),
            false => escaped.push(each),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::printable;
    use std::borrow::Cow;

    #[test]
    fn text_is_printed_without_what_a_terminal_obeys() {
        assert!(matches!(printable("a\tb\nänderung"), Cow::Borrowed(_)));
        assert_eq!(printable("\x1b[2J\x07\r\u{9b}31m\x7f\n"), "\\u001b[2J\\u0007\\u000d\\u009b31m\\u007f\n");
        // A JSON text may contain these two as they are.
        let json = "{\"a\":\"\u{9b}\x7f\"}";
        let (before, after): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(&printable(json)).unwrap());
        assert_eq!(before, after);
    }
}
