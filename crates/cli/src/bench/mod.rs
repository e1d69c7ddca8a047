//! `herder bench`: one command, on pools of several sizes of a user's own, and what came of it: a table, words, JSON, pictures.
//! "I pay for eight workers; am I getting eight?" The measuring is in `herder::efficiency`. Holds nothing once it returned.

mod advice;
mod chart;
mod document;
#[cfg(test)]
mod fixture;
mod options;
mod plan;
mod progress;
mod report;
mod row;
mod runs;
mod spread;

pub(crate) use options::Options;

use crate::{
    error::{CommandError, Outcome},
    logs, table,
};
use actix_rt::System;
use document::Document;
use plan::Plan;
use row::Row;
use std::{fs, path::Path};

/// Measures, and tells.
pub(crate) fn run(options: &Options) -> Outcome {
    logs::start("warn,herder::call=off")?; // failed calls are told by the command itself
    let plan = Plan::of(options)?;
    if let Some(folder) = &options.svg {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?; // before minutes are spent
    }
    let rows = row::rows(System::new().block_on(runs::all(&plan))?)?;
    table::print_line(&report::render_report(&plan, &rows));
    if let Some(folder) = &options.svg {
        draw(&plan, &rows, folder)?;
    }
    if let Some(to) = &options.json {
        write(&plan, &rows, to.as_deref(), options.json_operations)?;
    }
    judge(&rows)
}

fn draw(plan: &Plan, rows: &[Row], folder: &Path) -> Outcome {
    let mut pictures = vec![("speed-up.svg".to_owned(), chart::speed_up(plan, rows))];
    pictures.extend(rows.iter().map(|row| (format!("timeline-{}.svg", row.workers), chart::timeline(plan, row))));
    table::print_line("");
    for (name, text) in pictures {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|error| unwritable(&file, &error))?;
        table::print_line(&format!("chart written to {}", file.display()));
    }
    Ok(())
}

fn write(plan: &Plan, rows: &[Row], to: Option<&Path>, operations: bool) -> Outcome {
    let document = Document::of(plan, rows, operations);
    let text = serde_json::to_string(&document).map_err(CommandError::failed)?;
    match to {
        None => table::print_line(&format!("\n{text}")),
        Some(file) => fs::write(file, text + "\n").map_err(|error| unwritable(file, &error))?,
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::failed(format_args!("cannot write {}: {error}", path.display()))
}

/// Calls that failed make it a failure, told with the first of them.
fn judge(rows: &[Row]) -> Outcome {
    let failed: usize = rows.iter().map(Row::failed).sum();
    let Some(first) = rows.iter().flat_map(|row| &row.runs).find_map(|run| run.failures.first.as_ref()) else {
        return Ok(());
    };
    let calls: usize = rows.iter().flat_map(|row| &row.runs).map(|run| run.operations.len() + run.failures.count).sum();
    Err(CommandError::failed(format_args!(
        "{failed} of {calls} calls failed and are excluded from the results; first error: {first}"
    )))
}
