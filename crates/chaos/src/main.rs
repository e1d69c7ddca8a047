//! Chaos with real processes: `cargo run --release -p herder-chaos -- --seconds 600 --seed 7`.
//!
//! A judge (this process) starts a host (itself, again) with a pool at full load, and brings about faults from outside, as the host
//! does from inside. Workers and callers each keep an account; in the end the judge reads both. Begin with `host.rs` and `judge.rs`.

mod answer;
mod callers;
mod config;
mod execution_log;
mod faults;
mod host;
mod judge;
#[cfg(test)]
mod judge_tests;
mod killed_host;
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

/// In the role it was started in: whether all was as it should be.
fn run(mut options: Options) -> Outcome<bool> {
    match (options.host.clone(), options.killed_host.clone()) {
        (Some(folder), _) => host::run(&options, &folder).map(|()| true),
        (_, Some(folder)) => killed_host::run(&options, &folder).map(|()| true),
        (None, None) => {
            options.mark = format!("chaos-{}", process::id());
            judge(options)
        }
    }
}

/// This program again, with these arguments.
fn own_command(arguments: &[String]) -> Outcome<process::Command> {
    let mut command = process::Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// Whether all was as it should be.
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
    let (figures, words) = runner::run(options, folder).inspect_err(|_| show_log(folder))?;
    println!("{}\n", figures.table());
    println!("{}", figures.json());
    let broken = figures.broken();
    broken.iter().chain(&words).for_each(|what| eprintln!("seed {}: {what}", options.seed));
    if !broken.is_empty() {
        show_log(folder);
    }
    Ok(broken.is_empty())
}

/// The end of the host's log.
fn show_log(folder: &Path) {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(20)).for_each(|line| eprintln!("  host: {line}"));
}
