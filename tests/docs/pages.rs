//! Reads pages of the repository, their tables and their fenced blocks.

use std::{env, fs, path::PathBuf};

/// Reads a file of the repository.
pub(super) fn read(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Returns the cells of each row of the table with these headings. Panics if the page has no such table, or if a row has
/// another number of cells.
pub(super) fn table(page: &str, headings: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
        inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
    };
    let begins = |line: &&str| line.starts_with('|') && cells(line) == headings;
    let rows: Vec<_> = page
        .lines()
        .skip_while(|line| !begins(line))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    assert!(!rows.is_empty(), "there is no table {headings:?}");
    assert!(
        rows.iter().all(|row| row.len() == headings.len()),
        "a row of {headings:?} has too many or too few cells: {rows:#?}"
    );
    rows
}

/// Returns the text of the first fenced block of this language.
pub(super) fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let fence = format!("```{language}\n");
    let begin = page.find(&fence).unwrap_or_else(|| panic!("there is no block of {language}")) + fence.len();
    let end = page[begin..].find("\n```").unwrap_or_else(|| panic!("the block of {language} has no end"));
    &page[begin..=begin + end]
}

/// Checks the rows of the table with these headings in a section of a page. With `HERDER_BLESS=1` it writes them instead.
pub(super) fn check_rows(path: &str, section: &str, headings: &str, expected: &[String]) {
    let page = read(path);
    let lines: Vec<&str> = page.lines().collect();
    let position = |begin: usize, wanted: &str| {
        let found = lines[begin..].iter().position(|line| *line == wanted);
        begin + found.unwrap_or_else(|| panic!("{path} has no line {wanted:?}"))
    };
    let begin = position(position(0, section), headings) + 2;
    let count = lines[begin..].iter().take_while(|line| line.starts_with('|')).count();
    let written = &lines[begin..begin + count];
    if env::var_os("HERDER_BLESS").is_some() {
        let rows = expected.iter().map(String::as_str);
        let all: Vec<&str> =
            lines[..begin].iter().copied().chain(rows).chain(lines[begin + count..].iter().copied()).collect();
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
        return fs::write(file, all.join("\n") + "\n").unwrap();
    }
    let wrong = |(row, expected): &(&&str, &String)| **row != expected.as_str();
    let first = written.iter().zip(expected).find(wrong);
    assert!(first.is_none(), "{path} differs; HERDER_BLESS=1 writes it. The first row that differs: {first:#?}");
    assert_eq!(written.len(), expected.len(), "{path} has too many or too few rows; HERDER_BLESS=1 writes them");
}
