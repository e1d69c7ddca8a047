//! The table in `docs/faults.md`: every fault, and its outcome when these tests ran. Each test checks its row; with
//! `HERDER_BLESS=1` it writes the row instead. The rows are in the order of `list.in`.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use herder::Error;
use std::{
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The faults of all tests, in the order of the table.
pub(crate) const FAULTS: &[&str] = &include!("list.in");

const HEAD: &str = "\
# Faults and their effects

## Summary
| fault | who gets an error | what Herder does |
|---|---|---|
| a handler raises an exception, calls `sys.exit`, or returns a value that cannot be encoded | its caller, with the traceback | logs the error; the worker keeps running |
| a worker dies: crash, SIGKILL, `os._exit`, invalid data on its socket | the calls that it had, and the sessions bound to it | starts a new process in the slot, after a wait if the worker was younger than `restart.min_uptime`; sends idempotent calls again, except strict calls of a session. Calls that kill their workers never make the pool fail |
| a deadline passes while Python computes | its caller, at once | interrupts the handler after `cancel.interrupt` (1 s) and kills the worker after `cancel.kill` (5 s), unless the handler ends first |
| a worker hangs: a deadlock in C code, SIGSTOP | its calls, at their deadlines or when the worker is killed, with the Python stack if there is one | kills and replaces the worker after it missed its pings |
| C code computes and holds the GIL | nobody, until a call's deadline passes | does not kill the worker for missed pings, because it uses CPU time |
| workers cannot start | `Pool::start` and `WaitReady`, and calls that waited too long, with the reason | waits longer between starts; after too many failures the pool has failed and tries again after `restart.cooldown` |
| too many calls | the calls beyond the limit, at once (429) | nothing else |
| an actor of Herder panics | see [semantics](semantics.md#panics-in-herder) | replaces the worker of a worker actor; restarts the affinity actor; rebuilds the state of the pool and restarts its workers |

`cargo run --release -p herder-chaos -- --seconds 600 --seed 7` injects all these faults under full load. `herder chaos` injects those that need no special
worker into your own pool.

## Table of faults
A test wrote each row. It injects the fault into a pool of two real Python workers, while another call runs on the other worker in a session with state; that
state must not change. The table quotes the errors that callers got, with variable parts replaced; messages of Python itself differ between Python versions.
The name in parentheses after `protocol error` is explained in [the wire protocol](protocol.md#malformed-input).
`cargo test --test it faults` checks every row. After each fault it checks that all base workers are ready and run calls, that no process, zombie or descriptor
is left after the shutdown, and that every call had exactly one outcome. `HERDER_BLESS=1` writes the rows.

| fault | what its caller got | HTTP | who else was affected | recovered |
|---|---|---|---|---|
";

/// One row of the table.
pub(crate) struct Row<'a> {
    pub(crate) fault: &'a str,
    /// What the caller of the faulty call got.
    pub(crate) outcome: String,
    /// The HTTP status.
    pub(crate) status: String,
    /// Who else got an error.
    pub(crate) affected: &'a str,
    pub(crate) recovery: &'a str,
}

/// Returns the error as its row shows it: the text, and the fields that came with it. `names` are variable parts of the text,
/// each with the placeholder that replaces it.
pub(crate) fn error_cell(error: &Error, names: &[(&str, &str)]) -> String {
    let problem = error.problem();
    let mut text = format!("`{}`: {}", error.slug(), code(&replaced(&problem.detail, names)));
    if let Some(code) = &problem.code {
        text += &format!("; code `{code}`");
    }
    if let Some(line) = problem.traceback.as_deref().and_then(|traceback| traceback.trim_end().lines().last()) {
        text += &format!("; traceback ends with {}", code(&replaced(line, names)));
    }
    let is_frame = |line: &&str| line.trim_start().starts_with("File");
    if let Some(line) = problem.stack.as_deref().and_then(|stack| stack.lines().find(is_frame)) {
        text += &format!("; its stack begins with {}", code(&replaced(line.trim_start(), names)));
    }
    let last = problem.stderr_tail.iter().rev().find(|line| !line.trim().is_empty());
    let fatal = problem.stderr_tail.iter().find(|line| line.starts_with("Fatal Python error"));
    if let Some(line) = fatal.or(last) {
        text += &format!("; in the tail of stderr {}", code(&replaced(line, names)));
    }
    text
}

/// Returns the cell of a fault after which the caller gets its result.
pub(crate) fn result_cell(result: &str) -> String {
    format!("its result: {result}")
}

fn replaced(text: &str, names: &[(&str, &str)]) -> String {
    let names = names.iter().filter(|(name, _)| !name.is_empty());
    names.fold(text.to_owned(), |text, (name, placeholder)| text.replace(name, placeholder))
}

/// Formats a text as code in a cell of a table: in one line of at most 260 characters.
fn code(text: &str) -> String {
    if text.is_empty() {
        return "no text".into(); // Markdown has no empty code
    }
    let line = text.replace(['\n', '\r'], " ").replace('|', "\\|").replace('`', "'");
    let long = line.chars().count() > 260;
    let shown: String = line.chars().take(260).collect();
    format!("`{shown}{}`", if long { " ..." } else { "" })
}

impl Row<'_> {
    fn text(&self) -> String {
        let Self { fault, outcome, status, affected, recovery } = self;
        format!("| {fault} | {outcome} | {status} | {affected} | {recovery} |")
    }

    /// Compares everything except the text of the error, because messages of Python itself differ between its versions.
    fn matches(&self, line: &str) -> bool {
        let Self { fault, status, affected, recovery, .. } = self;
        let slug = self.outcome.split(':').next().unwrap_or_default();
        line.starts_with(&format!("| {fault} | {slug}:"))
            && line.ends_with(&format!(" | {status} | {affected} | {recovery} |"))
    }

    /// Checks the row in the page. With `HERDER_BLESS=1` it writes the row instead.
    pub(crate) fn check(&self) {
        assert!(FAULTS.contains(&self.fault), "{:?} is missing in list.in", self.fault);
        if env::var_os("HERDER_BLESS").is_some() {
            return self.bless();
        }
        let page = fs::read_to_string(page()).unwrap();
        let found = page.lines().any(|line| self.matches(line));
        assert!(found, "docs/faults.md differs; HERDER_BLESS=1 writes it. The row is now\n{}", self.text());
    }

    /// Replaces this row in the page and keeps the others. All tests write the same file, so one of them at a time.
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

/// Proves that the page lists exactly the faults of `list.in`, in the same order.
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
