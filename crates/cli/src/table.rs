//! Standard output: lines, and tables with aligned columns. Holds the error of what could not be written. A closed standard output
//! is not an error.

use crate::console::printable;
use rustix::termios::tcgetwinsize;
use serde_json::Value;
use std::{
    io::{self, Write},
    sync::OnceLock,
};

/// Why something could not be printed.
static LOST: OnceLock<String> = OnceLock::new();

/// Prints a line. The text may be that of a server or a worker: control characters are escaped.
pub(crate) fn print_line(text: &str) {
    _ = try_print_line(text);
}

/// Does the same. Fails if the line could not be printed, so that an endless output can stop.
pub(crate) fn try_print_line(text: &str) -> io::Result<()> {
    let (mut stdout, text) = (io::stdout().lock(), printable(text));
    noted(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Returns why something could not be printed, such as a full disk. A reader that has read enough is no such reason.
pub(crate) fn lost_output() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

fn noted(printed: io::Result<()>) -> io::Result<()> {
    if let Err(error) = &printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        _ = LOST.set(error.to_string());
    }
    printed
}

/// Prints a text with colors, whose other control characters the caller has escaped.
pub(crate) fn print_painted(text: &str) {
    let mut stdout = io::stdout().lock();
    _ = noted(writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
}

/// Returns the columns and rows of the terminal that is standard output. `None` if it is none.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Formats rows below their titles. Columns are separated by two spaces.
pub(crate) fn aligned(titles: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max();
    let widths: Vec<usize> = (0..titles.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Formats a JSON value as a cell: strings without quotes, `-` for null.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn table_columns_are_aligned() {
        let rows = [vec!["a".into(), "1".into()], vec!["longer".into(), "22".into()]];
        assert_eq!(aligned(&["POOL", "N"], &rows), "POOL    N\na       1\nlonger  22");
    }
}
