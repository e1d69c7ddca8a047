//! `herder bench`: measures one command on pools of several sizes, and reports the results as a table, as text, as JSON
//! and as charts. The measurements are in `herder::efficiency`. Holds nothing after it has returned.

mod advice;
mod chart;
mod document;
#[cfg(test)]
mod fixture;
mod options;
mod plan;
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

/// Runs the measurements, and prints the report.
pub(crate) fn run(options: &Options) -> Outcome {
    // The command reports failed calls itself.
    logs::start("warn,herder::call=off")?;
    let plan = Plan::of(options)?;
    if let Some(folder) = &options.svg {
        // Check this before the measurements, which take minutes.
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
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
    let mut charts = vec![("speed-up.svg".to_owned(), chart::speed_up(plan, rows))];
    charts.extend(rows.iter().map(|row| (format!("timeline-{}.svg", row.workers), chart::timeline(plan, row))));
    table::print_line("");
    for (name, text) in charts {
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

/// Returns an error if any call failed, with the first failure.
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
