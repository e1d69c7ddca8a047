//! The files and the tests that pages name exist.

use super::{
    pages::read,
    requirements::{defines, on_disk},
};
use std::path::Path;

/// The pages, and how many files and tests each names at least: fewer means that the check no longer finds them.
const PAGES: [(&str, usize); 4] =
    [("ARCHITECTURE.md", 30), ("CONTRIBUTING.md", 60), ("docs/migration.md", 5), ("docs/semantics.md", 60)];
/// A file that CONTRIBUTING.md tells the reader to create.
const NEW_FILES: [&str; 1] = ["crates/cli/src/sessions.rs"];
/// Directories of the repository whose files are named by their paths.
const DIRECTORIES: [&str; 11] =
    [".ci", "actors", "benches", "crates", "docs", "examples", "fuzz", "python", "scripts", "src", "tests"];

#[test]
fn files_and_tests_that_pages_name_exist() {
    for (page, least) in PAGES {
        let text = read(page);
        let named: Vec<&str> = text.split('`').filter(|code| is_source(code)).collect();
        assert!(named.len() >= least, "{page} names only {named:?}");
        let missing: Vec<_> = named.into_iter().filter(|code| !exists(code)).collect();
        assert!(missing.is_empty(), "{page} names what does not exist: {missing:?}");
    }
}

#[test]
fn a_missing_file_and_a_missing_test_are_found() {
    assert!(exists("tests/docs/sources.rs::a_missing_file_and_a_missing_test_are_found"));
    assert!(!exists("tests/docs/sources.rs::a_missing_file"));
    assert!(!exists("tests/docs/nowhere.rs"));
}

/// Returns whether a code span is the path of a file or a directory, maybe with the name of a test: `path` or `path::name`.
fn is_source(code: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    code.chars().all(is_allowed) && code.split_once('/').is_some_and(|(directory, _)| DIRECTORIES.contains(&directory))
}

fn exists(code: &str) -> bool {
    match code.split_once("::") {
        Some((file, name)) => on_disk(file).is_some_and(|source| defines(&source, file, name)),
        None => NEW_FILES.contains(&code) || Path::new(env!("CARGO_MANIFEST_DIR")).join(code).exists(),
    }
}
