//! Fault injection with real processes: `cargo run --release -p herder-chaos -- --seconds 600 --seed 7`.
//!
//! This process, the judge, starts this program again as a host: a process with a pool at full load. The host injects faults
//! from inside, the judge from outside. The callers write down their answers and the workers what they ran; afterwards the
//! judge compares the two. Start reading at `host.rs` and `judge.rs`.

mod answer;
mod callers;
mod config;
mod execution_log;
mod faults;
mod host;
mod judge;
#[cfg(test)]
mod judge_tests;
mod options;
mod runner;
mod session;

use clap::Parser;
use herder::chaos::settings;
use host::Outcome;
use options::Options;
use std::{
    path::Path,
    process::{self, ExitCode},
};

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed;
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}; seed {seed}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the process in the role that its options name. Returns whether no violation was found.
fn run(mut options: Options) -> Outcome<bool> {
    match (options.host.clone(), options.killed_host.clone()) {
        (Some(folder), _) => host::run(&options, &folder).map(|()| true),
        (_, Some(folder)) => host::run_until_killed(&options, &folder).map(|()| true),
        (None, None) => {
            options.mark = format!("chaos-{}", process::id());
            judge(options)
        }
    }
}

/// Runs the judge. Returns whether no violation was found.
fn judge(options: Options) -> Outcome<bool> {
    match &options.keep {
        Some(folder) => {
            let folder = folder.join(&options.mark);
            std::fs::create_dir_all(&folder)?;
            let folder = folder.canonicalize()?;
            println!("files    {}", folder.display());
            judge_in(options, &folder)
        }
        None => judge_in(options, tempfile::tempdir()?.path()),
    }
}

fn judge_in(mut options: Options, folder: &Path) -> Outcome<bool> {
    options.python = options.python.or_else(|| runner::python_without_packages(folder));
    let options = &options;
    println!("seed     {}, one kill every {:?} for {} s", options.seed, options.kill_every(), options.seconds);
    println!("{}\n", settings(&config::chaos_config(options, folder)?));
    let (figures, descriptions) = runner::run(options, folder).inspect_err(|_| show_log(folder))?;
    println!("{}\n", figures.table());
    println!("{}", figures.json());
    let violations = figures.violations();
    violations.iter().chain(&descriptions).for_each(|violation| eprintln!("seed {}: {violation}", options.seed));
    if !violations.is_empty() {
        show_log(folder);
    }
    Ok(violations.is_empty())
}

/// Prints the last 20 lines of the host's log.
fn show_log(folder: &Path) {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(20)).for_each(|line| eprintln!("  host: {line}"));
}
