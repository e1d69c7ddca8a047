//! `docs/faults.md`: every fault, and what came out of it when these tests ran. Each test checks its row; with `HERDER_BLESS=1` it
//! writes it. The order of the rows is the list here.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use herder::Error;
use std::{
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Every fault there is a test for, in the table's order.
pub(crate) const FAULTS: &[&str] = &include!("list.in");

const HEAD: &str = "\
# Faults, and what comes out

Each row was written by a test that brings the fault to a pool of two real Python workers, with a bystander: a call that runs on the
other worker in a session of its own, whose state must stay. The texts are what callers got, with what varies replaced; how they read
in other Python versions may differ in what Python itself says. `cargo test --test it faults` checks every row, and that
afterwards all base workers are ready and serve, that no process, zombie or descriptor is left after the shutdown, and that every call has exactly one
end; `HERDER_BLESS=1` writes the rows anew.

| fault | what its caller got | HTTP | who else noticed | whole again |
|---|---|---|---|---|
";

/// One row.
pub(crate) struct Row<'a> {
    pub(crate) fault: &'a str,
    pub(crate) got: String,
    pub(crate) status: String,
    pub(crate) noticed: &'a str,
    pub(crate) recovered: &'a str,
}

/// What a caller got, as the row shows it: the text, and what came with it.
pub(crate) fn got(error: &Error, names: &[(&str, &str)]) -> String {
    let problem = error.problem();
    let mut text = format!("`{}`: {}", error.slug(), code(&replaced(&problem.detail, names)));
    if let Some(code) = &problem.code {
        text += &format!("; code `{code}`");
    }
    if let Some(line) = problem.traceback.as_deref().and_then(|traceback| traceback.trim_end().lines().last()) {
        text += &format!("; traceback ends with {}", code(&replaced(line, names)));
    }
    let here = |line: &&str| line.trim_start().starts_with("File");
    if let Some(line) = problem.stack.as_deref().and_then(|stack| stack.lines().find(here)) {
        text += &format!("; its stack begins with {}", code(&replaced(line.trim_start(), names)));
    }
    let last = problem.stderr_tail.iter().rev().find(|line| !line.trim().is_empty());
    let fatal = problem.stderr_tail.iter().find(|line| line.starts_with("Fatal Python error"));
    if let Some(line) = fatal.or(last) {
        text += &format!("; in the tail of stderr {}", code(&replaced(line, names)));
    }
    text
}

/// A result, for the faults that its caller need not hear of.
pub(crate) fn fine(what: &str) -> String {
    format!("its result: {what}")
}

fn replaced(text: &str, names: &[(&str, &str)]) -> String {
    let names = names.iter().filter(|(name, _)| !name.is_empty());
    names.fold(text.to_owned(), |text, (name, stand_in)| text.replace(name, stand_in))
}

/// As code in a cell of a table: one line, not too long.
fn code(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ").replace('|', "\\|").replace('`', "'");
    let long = line.chars().count() > 260;
    let shown: String = line.chars().take(260).collect();
    format!("`{shown}{}`", if long { " ..." } else { "" })
}

impl Row<'_> {
    fn text(&self) -> String {
        let Self { fault, got, status, noticed, recovered: whole } = self;
        format!("| {fault} | {got} | {status} | {noticed} | {whole} |")
    }

    /// Everything but the text, in which Python's own words may differ from version to version.
    fn matches(&self, line: &str) -> bool {
        let Self { fault, status, noticed, recovered: whole, .. } = self;
        let slug = self.got.split(':').next().unwrap_or_default();
        line.starts_with(&format!("| {fault} | {slug}:"))
            && line.ends_with(&format!(" | {status} | {noticed} | {whole} |"))
    }

    /// Checks the row of the page, or writes it.
    pub(crate) fn check(&self) {
        assert!(FAULTS.contains(&self.fault), "{:?} is missing in list.in", self.fault);
        if env::var_os("HERDER_BLESS").is_some() {
            return self.bless();
        }
        let page = fs::read_to_string(page()).unwrap();
        let found = page.lines().any(|line| self.matches(line));
        assert!(found, "docs/faults.md differs; HERDER_BLESS=1 writes it anew. The row is now\n{}", self.text());
    }

    fn bless(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let old = fs::read_to_string(page()).unwrap_or_default();
        let row = |fault: &&str| {
            let start = format!("| {fault} | ");
            if *fault == self.fault {
                return Some(self.text());
            }
            old.lines().find(|line| line.starts_with(&start)).map(String::from)
        };
        let rows: Vec<String> = FAULTS.iter().filter_map(row).collect();
        fs::write(page(), format!("{HEAD}{}\n", rows.join("\n"))).unwrap();
    }
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")
}

/// The page lists exactly the faults that are tested here, in order.
#[test]
fn the_table_lists_every_fault() {
    if env::var_os("HERDER_BLESS").is_some() {
        return;
    }
    let text = fs::read_to_string(page()).unwrap();
    assert!(text.starts_with(HEAD));
    let rows: Vec<&str> =
        text[HEAD.len()..].lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    assert_eq!(rows, FAULTS);
}
