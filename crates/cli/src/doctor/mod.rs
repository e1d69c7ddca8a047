//! `herder doctor`: examines what a server needs, and says what to do about each problem. `facts` reads the machine; the checks
//! are pure functions of these facts. Changes nothing, apart from what the start of a worker writes.

mod check;
mod checks;
mod facts;
mod print;

use crate::{
    args::Doctor,
    console::Style,
    error::{CommandError, Outcome},
    table,
};
use check::Level;
use facts::Facts;
use serde_json::json;

/// Makes all checks, and prints them. Fails if there is a finding.
pub(crate) fn run(options: &Doctor) -> Outcome {
    let facts = Facts::gather(options)?;
    let checks = checks::all(&facts);
    let findings = checks.iter().filter(|check| check.level != Level::Ok).count();
    if options.json {
        let document = json!({ "herder": env!("CARGO_PKG_VERSION"), "findings": findings, "checks": checks });
        table::print_line(&document.to_string());
    } else {
        let width = table::terminal_size().map(|(columns, _)| usize::from(columns));
        table::print_painted(&print::render(&checks, Style::of_stdout(), width));
    }
    match findings {
        0 => Ok(()),
        1 => Err(CommandError::failed("1 finding")),
        _ => Err(CommandError::failed(format_args!("{findings} findings"))),
    }
}
