//! The tables of messages and their answers in `docs/semantics.md`: they list every message, their routes exist, and their HTTP
//! types and statuses are those of the code.

use super::{
    errors::{all, name},
    messages::{FILES, messages},
    pages::{read, table},
};
use std::collections::{BTreeMap, BTreeSet};

const RECIPIENTS: [&str; 4] = ["message", "to", "over HTTP", "method of `Pool`"];
const OUTCOMES: [&str; 4] = ["message", "when", "answers", "HTTP"];

/// Returns the texts in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the name of each error with its status and HTTP type, in the format of the page.
fn errors() -> BTreeMap<String, String> {
    all().iter().map(|error| (name(error), format!("{} `{}`", error.problem().status, error.slug()))).collect()
}

/// Returns whether the server itself refuses the request, without a message to a pool.
fn is_refusal(answer: &str) -> bool {
    quoted(answer).any(|slug| read("src/http/refusal.rs").contains(&format!("=> \"{slug}\"")))
}

/// Describes what is wrong with a row, if anything is.
fn fault(row: &[String]) -> Option<String> {
    let (answer, http, errors) = (&row[2], &row[3], errors());
    let named = quoted(answer).next().filter(|name| answer.starts_with(&format!("`{name}`")));
    let expected = named.and_then(|name| errors.get(name));
    match expected {
        Some(expected) if http != expected => Some(format!("{row:?}: the code says {expected}")),
        Some(_) => None,
        None if !http.contains('`') || is_refusal(http) || errors.values().any(|known| known == http) => None,
        None => Some(format!("{row:?}: no error has this status and type")),
    }
}

/// R14, R15: both tables list every message, and no other.
#[test]
fn r15_both_message_tables_list_every_message() {
    let existing: BTreeSet<String> = FILES.iter().flat_map(|file| messages(&read(file))).collect();
    let page = read("docs/semantics.md");
    for headings in [&RECIPIENTS[..], &OUTCOMES[..]] {
        let rows = table(&page, headings);
        let written = rows.iter().map(|row| &row[0]).filter(|message| !message.starts_with("any"));
        let written: BTreeSet<String> = written.map(|message| message.trim_matches('`').to_owned()).collect();
        assert_eq!(written, existing, "{headings:?}");
    }
}

/// Each route in the first table exists in the documentation of `src/http/mod.rs`.
#[test]
fn documented_routes_exist_in_the_server() {
    let routes = read("src/http/mod.rs");
    for row in table(&read("docs/semantics.md"), &RECIPIENTS) {
        for route in quoted(&row[2]).filter(|text| text.contains(" /")) {
            let (method, path) = route.split_once(' ').unwrap();
            let documented = |line: &&str| line.starts_with("//! |") && line.contains(&format!("`{method}"));
            let found = routes.lines().filter(documented).any(|line| {
                quoted(line).any(|text| text.split_once('?').map_or(text, |(path, _)| path).ends_with(path))
            });
            assert!(found, "{}: src/http/mod.rs has no {route}", row[0]);
        }
    }
}

/// R38: each error in the table has the status and the type of the code.
#[test]
fn r38_documented_statuses_and_types_match_the_code() {
    let faults: Vec<String> =
        table(&read("docs/semantics.md"), &OUTCOMES).iter().filter_map(|row| fault(row)).collect();
    assert!(faults.is_empty(), "docs/semantics.md:\n{}", faults.join("\n"));
}

/// The check reports false rows and accepts true ones.
#[test]
fn false_rows_are_reported() {
    let row = |answer: &str, http: &str| ["`X`", "any time", answer, http].map(String::from);
    for (answer, http) in [
        ("`SessionExpired`", "404 `session-expired`"),
        ("`SessionExpired`", "410 `session-not-found`"),
        ("`SessionExpired`", "200"),
        ("`None`", "410 `session-not-found`"),
        ("`None`", "404 `nobody-knows`"),
    ] {
        assert!(fault(&row(answer, http)).is_some(), "{answer}, {http}");
    }
    for (answer, http) in
        [("`SessionExpired`", "410 `session-expired`"), ("`None`", "404 `session-not-found`"), ("", "400 `bad-query`")]
    {
        assert_eq!(fault(&row(answer, http)), None);
    }
}
