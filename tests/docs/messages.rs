//! The table of messages in `docs/migration.md` lists every message, with its counterpart in DSPex or without one.

use super::pages::{read, table};
use std::collections::BTreeSet;

pub(super) const FILES: [&str; 4] = [
    "actors/src/messages/affinity.rs",
    "actors/src/messages/calls.rs",
    "actors/src/messages/pool.rs",
    "actors/src/messages/sessions.rs",
];

/// Returns the names of the structs directly below a `#[rtype(..)]`.
pub(super) fn messages(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#[rtype") {
            let item = lines.next().unwrap_or_default();
            let item = item.strip_prefix("pub struct ").unwrap_or_else(|| panic!("not a message: {item}"));
            found.push(item.chars().take_while(char::is_ascii_alphanumeric).collect());
        }
    }
    found
}

/// R56: the page lists every message, and no other.
#[test]
fn r56_migration_page_lists_every_message() {
    let page = read("docs/migration.md");
    let rows = table(&page, &["message", "to", "DSPex", "what differs"]);
    let written: BTreeSet<String> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let existing: BTreeSet<String> = FILES.iter().flat_map(|file| messages(&read(file))).collect();
    assert!(existing.len() >= 20, "the messages were not found: {existing:?}");
    assert_eq!(written, existing);
}
