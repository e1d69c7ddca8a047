//! `docs/requirements.md` lists each requirement once, and each forbidden defect, with tests that exist or with `later:`.

use super::pages::{read, table};
use std::{collections::BTreeMap, fs, path::Path};

const COUNT: usize = 77;
/// The maximum number of tests in a row: those to read first.
const MAX_TESTS_PER_ROW: usize = 3;

/// A row without its number.
struct Row {
    /// Files and names of tests.
    tests: Vec<(String, String)>,
    /// Whether a part of the requirement is not implemented.
    later: bool,
}

fn rows() -> BTreeMap<usize, Row> {
    let page = read("docs/requirements.md");
    let mut rows = BTreeMap::new();
    for cells in table(&page, &["R", "requirement", "proved by"]) {
        let number: usize = cells[0]
            .trim_start_matches('R')
            .parse()
            .unwrap_or_else(|_| panic!("{:?} is not a requirement number", cells[0]));
        assert!(rows.insert(number, parse_tests(&cells[2])).is_none(), "R{number} is listed twice");
    }
    rows
}

/// Parses the last cell of a row.
fn parse_tests(cell: &str) -> Row {
    let quoted = cell.split('`').skip(1).step_by(2);
    let tests =
        quoted.filter_map(|text| text.split_once("::")).map(|(file, name)| (file.into(), name.into())).collect();
    Row { tests, later: cell.contains("later: ") }
}

/// Returns whether the file defines this test. A `.toml` file must ban the function of this name instead.
pub(super) fn defines(source: &str, file: &str, name: &str) -> bool {
    let key = match Path::new(file).extension().and_then(|ending| ending.to_str()) {
        Some("py") => "def ",
        Some("toml") => "\"",
        _ => "fn ",
    };
    source.match_indices(&format!("{key}{name}")).any(|(at, found)| {
        let next = source[at + found.len()..].chars().next();
        next.is_some_and(|next| !next.is_alphanumeric() && next != '_')
    })
}

/// Returns the faults of the page, one text for each.
fn faults(rows: &BTreeMap<usize, Row>, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults: Vec<String> =
        (1..=COUNT).filter(|number| !rows.contains_key(number)).map(|number| format!("R{number} is missing")).collect();
    for (number, row) in rows {
        if *number == 0 || *number > COUNT {
            faults.push(format!("there is no R{number}"));
        }
        faults.extend(row_faults(*number, row, &source));
    }
    faults
}

fn row_faults(number: usize, row: &Row, source: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    if row.tests.is_empty() && !row.later {
        faults.push(format!("R{number} has neither a test nor a `later: `"));
    }
    if row.tests.len() > MAX_TESTS_PER_ROW {
        faults.push(format!("R{number} names {} tests, more than {MAX_TESTS_PER_ROW}", row.tests.len()));
    }
    for (file, name) in &row.tests {
        match source(file) {
            None => faults.push(format!("R{number}: there is no {file}")),
            Some(text) if !defines(&text, file, name) => {
                faults.push(format!("R{number}: {file} has no test `{name}`"));
            }
            Some(_) => {}
        }
    }
    faults
}

pub(super) fn on_disk(file: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()
}

#[test]
fn requirements_are_complete_and_their_tests_exist() {
    let faults = faults(&rows(), on_disk);
    assert!(faults.is_empty(), "docs/requirements.md:\n{}", faults.join("\n"));
}

/// Defects of DSPex that the requirements forbid by name. None of them may be missing in the page.
const DEFECTS: [(usize, &str); 8] = [
    (12, "an option that is accepted and does nothing"),
    (16, "a grace period counted from the last activity"),
    (16, "a session that nobody reads again and that stays in the table forever"),
    (18, "bindings that are recorded and never used"),
    (34, "calls that run inside one serializing actor"),
    (34, "a breaker that sticks half-open"),
    (46, "DSPex's check of concurrency (longest duration below 0.6 x sum of durations) that passes for serial work"),
    (46, "the same check that fails for parallel work with a straggler"),
];

#[test]
fn forbidden_defects_have_existing_tests() {
    let page = read("docs/requirements.md");
    let written = table(&page, &["R", "must not happen", "proved by"]);
    for (number, what) in DEFECTS {
        assert!(written.iter().any(|cells| cells[0] == format!("R{number}") && cells[1] == what), "R{number}: {what}");
    }
    for (at, cells) in (1..).zip(&written) {
        let number: usize = cells[0].trim_start_matches('R').parse().unwrap();
        assert!((1..=COUNT).contains(&number), "row {at}: there is no R{number}");
        let faults = row_faults(number, &parse_tests(&cells[2]), &on_disk);
        assert!(faults.is_empty(), "what must not happen, row {at}:\n{}", faults.join("\n"));
    }
}

/// The check reports each kind of fault.
#[test]
fn false_requirement_rows_are_reported() {
    let row = |tests: &[(&str, &str)], later| Row {
        tests: tests.iter().map(|(file, name)| ((*file).into(), (*name).into())).collect(),
        later,
    };
    let mut rows: BTreeMap<usize, Row> = (1..=COUNT).map(|number| (number, row(&[], true))).collect();
    rows.insert(2, row(&[("a.rs", "her"), ("b.toml", "a::here"), ("c.rs", "here")], false));
    rows.insert(3, row(&[], false));
    rows.insert(6, row(&[("b.py", "here"), ("b.toml", "here")], false));
    rows.insert(5, row(&[("a.rs", "here"); 4], false));
    rows.insert(78, row(&[], true));
    rows.remove(&4);
    let source = |file: &str| match file {
        "a.rs" => Some("#[test]\nfn here() {}".into()),
        "b.py" => Some("def here(): pass".into()),
        "b.toml" => Some("{ path = \"a::here\" }".into()),
        _ => None,
    };
    let expected = [
        "R4 is missing",
        "R2: a.rs has no test `her`",
        "R2: there is no c.rs",
        "R3 has neither a test nor a `later: `",
        "R5 names 4 tests, more than 3",
        "R6: b.toml has no test `here`",
        "there is no R78",
    ];
    assert_eq!(faults(&rows, source), expected);
}
