//! The table of feature flags in `docs/semantics.md`: it lists the flags of the code with their defaults, and its tests exist.

use super::{
    pages::{read, table},
    requirements::{defines, on_disk},
};
use herder_actors::schema::{KeyType, TABLE};
use std::collections::BTreeSet;

fn rows() -> Vec<Vec<String>> {
    let headings = ["flag", "default", "part", "on", "off, and in every basic pool", "proved by"];
    table(&read("docs/semantics.md"), &headings)
}

/// R9: the table has each flag and its default.
#[test]
fn r9_documented_flags_match_the_code() {
    let written: BTreeSet<(String, String)> =
        rows().iter().map(|row| (row[0].trim_matches('`').into(), row[1].trim_matches('`').into())).collect();
    let flags = TABLE.iter().filter(|key| key.path.starts_with("features.") && matches!(key.kind, KeyType::Flag(_)));
    assert_eq!(written, flags.map(|key| (key.path.into(), key.kind.default())).collect());
}

/// Each row names a test, and it exists.
#[test]
fn each_flag_row_names_an_existing_test() {
    for row in rows() {
        assert_tested(&row[5], &format!("{} of {}", row[2], row[0]));
    }
}

/// Asserts that the last cell of a row names tests, and that they exist.
pub(super) fn assert_tested(cell: &str, what: &str) {
    let named: Vec<(&str, &str)> = cell.split('`').filter_map(|text| text.split_once("::")).collect();
    assert!(!named.is_empty(), "no test for {what}");
    for (file, name) in named {
        let source = on_disk(file).unwrap_or_else(|| panic!("there is no {file}"));
        assert!(defines(&source, file, name), "{file} has no test `{name}`");
    }
}
