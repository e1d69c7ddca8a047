//! The command line of Herder: parses the arguments, runs one command, and returns its exit code. Holds no state.

mod access;
mod args;
mod attachments;
mod bench;
mod call;
mod call_stream;
mod chaos;
mod check;
mod client;
mod commands;
mod complete;
mod console;
mod dev;
mod doctor;
mod error;
mod generate;
mod init;
mod kill;
mod log_level;
mod logs;
mod named_arguments;
mod option_values;
#[cfg(test)]
mod page_tests;
mod pool_list;
mod problem;
mod python;
mod quarantine;
mod recorder;
mod schema;
mod serve;
mod signals;
mod source;
mod stack;
mod status;
mod table;
mod target;
mod top;
mod traces;
mod units;
mod watch;
mod why;

use anstream::{AutoStream, ColorChoice};
use args::{Arguments, Command, Python};
use clap::Parser;
use console::printable;
use error::{CommandError, Outcome};
use std::{io, process::ExitCode};

fn main() -> ExitCode {
    // First of all: threads inherit the signal mask.
    herder::process::reset_signals();
    herder::process::return_large_buffers();
    complete::answer_shell();
    let outcome = match Arguments::parse().command {
        Command::Serve(options) => serve::run(&options),
        Command::Dev(options) => dev::run(&options),
        Command::Init(options) => init::run(&options),
        Command::Call(options) => call::run(&options),
        Command::Commands(options) => commands::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Why(options) => why::run(&options),
        Command::Recorder(options) => recorder::run(&options),
        Command::Stack(options) => stack::run(&options),
        Command::Quarantine(options) => quarantine::run(&options),
        Command::Kill(options) => kill::run(&options),
        Command::LogLevel(options) => log_level::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Generate(options) => generate::run(&options),
        Command::Python(Python::Install(options)) => python::install(options.venv.as_deref()),
    };
    let code = match outcome.and_then(|()| check_output()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print(&failure);
            failure.exit_code()
        }
    };
    logs::finish();
    code
}

/// Fails if a part of the output is lost. A script must not take what is left for all of it.
fn check_output() -> Outcome {
    let lost = table::lost_output().map(|error| format!("cannot write to standard output: {error}"));
    lost.map_or(Ok(()), |text| Err(CommandError::Failed(text)))
}

/// Prints the error on standard error, with colors only on a terminal. Never panics.
fn print(failure: &CommandError) {
    let text = match failure {
        CommandError::Usage(text) | CommandError::Failed(text) => text.clone(),
        CommandError::Problem(problem) => problem::render(problem),
        CommandError::Interrupted(signal) => format!("{}: stopped before completion", signal.name()),
    };
    let text = printable(&text);
    match AutoStream::choice(&io::stderr()) {
        _ if logs::is_json() => logs::write_line(&text),
        ColorChoice::Never => logs::write_line(&format!("error: {text}")),
        _ => logs::write_line(&format!("\x1b[1;31merror:\x1b[0m {text}")),
    }
}
