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
# Faults and their effects

## Summary
| fault | who gets an error | what Herder does |
|---|---|---|
| a handler raises an exception, calls `sys.exit`, or returns a value that cannot be encoded | its caller, with the traceback | logs the error; the worker keeps running |
| a worker dies: crash, SIGKILL, `os._exit`, invalid data on its socket | the calls that it had, and the sessions bound to it | starts a new process in the slot, after a wait if the worker was younger than `restart.min_uptime`; sends idempotent calls without a strict session again. Calls that kill their workers never make the pool fail |
| a deadline passes while Python computes | its caller, at once | interrupts the handler after 1 s and kills the worker after 5 s, unless the handler ends first |
| a worker hangs: a deadlock in C code, SIGSTOP | its calls, at their deadlines or when the worker is killed, with the Python stack if there is one | kills and replaces the worker after it missed its pings |
| C code computes and holds the GIL | nobody, until a call's deadline passes | does not kill the worker for missed pings, because it uses its processor |
| workers cannot start | `Pool::start` and `WaitReady`, and calls that waited too long, with the reason | waits longer between starts; after too many failures the pool has failed and tries again after `restart.cooldown` |
| too many calls | the calls beyond the limit, at once (429) | nothing else |
| an actor of Herder panics | see [semantics](semantics.md#panics-of-herder-itself) | starts the actor again |

`cargo run --release -p herder-chaos -- --seconds 600 --seed 7` injects all these faults under full load. `herder chaos` injects those that need no special
worker into your own pool.

## Every fault
A test wrote each row. It injects the fault into a pool of two real Python workers, while another call runs on the other worker in a session with state; that
state must not change. The table quotes the errors that callers got, with variable parts replaced; messages of Python itself differ between Python versions.
`cargo test --test it faults` checks every row. After each fault it checks that all base workers are ready and run calls, that no process, zombie or descriptor
is left after the shutdown, and that every call had exactly one outcome. `HERDER_BLESS=1` writes the rows.

| fault | what its caller got | HTTP | who else was affected | recovered |
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
        assert!(found, "docs/faults.md differs; HERDER_BLESS=1 writes it. The row is now\n{}", self.text());
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
