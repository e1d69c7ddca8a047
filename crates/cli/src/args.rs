//! The command-line arguments and their help texts. Each argument is parsed into a type that holds only valid values.

mod call;
mod doctor;
mod generate;
mod kill;
mod quarantine;
mod serve;
mod server_at;
mod stack;
mod top;

pub(crate) use call::Call;
pub(crate) use doctor::Doctor;
pub(crate) use generate::{Generate, GenerateCompletions, GenerateMan};
pub(crate) use kill::Kill;
pub(crate) use quarantine::Quarantine;
pub(crate) use serve::Serve;
pub(crate) use server_at::ServerAt;
pub(crate) use stack::Stack;
pub(crate) use top::Top;

use crate::{bench, chaos, option_values::interval};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, time::Duration};

const EXAMPLES: &str = "\
Examples:
  herder serve                                      two demo pools, or ./herder.toml if there is one
  herder serve carts.py:app --enhanced              an enhanced pool `carts`, with session affinity
  herder init shop                                  a new project in the folder `shop`
  herder dev carts.py:app                           one worker, which is replaced at each save
  herder call basic echo '{\"x\": 1}'                 one call, to a running server or to a pool started for it
  herder commands basic                             the commands of a pool, and their arguments
  herder doctor                                     what is wrong on this machine, and what to do
  herder status                                     the pools of the running server
  herder top                                        the same, updated all the time
  herder why sessions ann                           what happened to a session
  herder recorder sessions w2                       what happened to a worker
  herder stack sessions w2                          where a worker is in its code
  herder log-level basic debug                      more detail in the server's log
  herder chaos carts.py:app --command price --args '{\"item\": \"tea\"}'   inject faults under load and report the results
  herder bench carts.py:app --command price --args '{\"item\": \"tea\"}'   how the command scales with the number of workers

Environment:
  HERDER_URL            server used by `call`, `commands`, `doctor`, `status`, `top`, `why`, `recorder`, `stack`, `quarantine`, `log-level` and `kill`
  HERDER_TOKEN          token of administrators; if it is set, `serve` requires it, and these eleven client commands send it; or HERDER_TOKEN_FILE
  HERDER_CALL_TOKEN     token of callers, who may only call commands; sent if HERDER_TOKEN is not set; or HERDER_CALL_TOKEN_FILE
  HERDER_METRICS_TOKEN  token for /metrics only, for Prometheus; read by `serve`; or HERDER_METRICS_TOKEN_FILE
  HERDER_LOG            log filter, such as `debug` or `info,herder_actors=trace`";

const DEV_EXAMPLES: &str = "\
Examples:
  herder dev app.py:app
  herder dev app.py:app --enhanced --port 0
  herder dev                                  the pools of ./herder.toml, with one worker each
  herder dev app.py:app --watch ../shared --watch settings.toml

Serves HTTP on 127.0.0.1. When a Python file in the folder of the app is saved, a worker with the new code is started. Once it is ready,
it replaces the old one, which finishes its calls; sessions of the old worker are lost. A call that holds up a newer save for 4 s is
ended. If the new code cannot be imported, the error is printed and the old worker keeps serving. Press `r` and Enter to replace the worker, Ctrl-C to stop.

Exit codes: 0 stopped by a signal; 1 the server could not run; 2 invalid arguments or configuration.";

const INIT_EXAMPLES: &str = "\
Examples:
  herder init shop
  herder init                                 in the current folder, if it has none of the files
  herder init shop --enhanced                 with a command that keeps state for each session

Writes app.py, test_app.py, herder.toml, README.md and .gitignore. Never overwrites a file.

Exit codes: 0 success; 1 a file exists or cannot be written; 2 invalid arguments.";

const COMMANDS_EXAMPLES: &str = "\
Examples:
  herder commands basic                             all commands of a pool
  herder commands carts add                         the arguments of one command, and how to call it
  herder commands carts --json                      with the JSON Schemas of arguments and results

Uses the server given by --url or HERDER_URL. With no URL, uses the server at the configured address. If no server runs there,
starts one worker of the pool, asks it, and stops it. Arguments and descriptions come from the annotations and the documentation strings
of the handlers.

Exit codes: 0 success; 1 the pool or the command does not exist, or no worker started; 2 invalid arguments or configuration.";

const CHECK_EXAMPLES: &str = "\
Examples:
  herder check
  herder check production.toml
  herder check carts.py:app
  herder check --import                       also start a worker of each pool and import its app

Starts each interpreter once and prints its version, its environment (uv, Poetry, conda, venv), and the package `herder` that workers
import. Makes the same checks as `serve`: unknown keys, invalid values, missing app files, interpreters and programs, and a missing token if
the server needs one (`server.token`, HERDER_TOKEN). Prints each problem as FILE:LINE:COLUMN: KEY: MESSAGE, without LINE:COLUMN if the
problem has no place in the file.

Exit codes: 0 no problem; 2 at least one problem.";

const STATUS_EXAMPLES: &str = "\
Examples:
  herder status
  herder status sessions
  herder status --watch                       again every 2 s, in place on a terminal
  herder status basic --json
  herder status --watch=10s >> pools.log

`herder top` also shows rates, latencies and events, and can be controlled by keys.";

const WHY_EXAMPLES: &str = "\
Examples:
  herder why sessions ann
  herder why sessions ann --json

Shows when and to which worker the session was bound, which calls found its state there, how long they waited, and why it
moved to another worker, expired or ended. A pool keeps its last 16384 events and its last 4096 removed sessions.";

const RECORDER_EXAMPLES: &str = "\
Examples:
  herder recorder sessions w2                       the current process of worker w2
  herder recorder sessions w2 --generation 1        its first process, which has exited
  herder recorder sessions w2 --json

Shows the last 128 frames in both directions without their contents, state transitions (with the feature `state_machine`), the last
lines of output, and how the process ended. A pool keeps the recordings of the last 64 processes that ended.";

const LOG_LEVEL_EXAMPLES: &str = "\
Examples:
  herder log-level basic                            the current level
  herder log-level basic debug                      also shows each call
  herder log-level basic off                        nothing of this pool
  herder log-level basic default                    what HERDER_LOG of the server selects, as at its start

Changes which events of a pool the log of a running server shows: those of the pool, of its calls, and what its workers log and print.
The level applies until it is changed or the server stops.

Exit codes: 0 success; 1 the pool does not exist, or no server runs; 2 invalid arguments or configuration.";

const PYTHON_EXAMPLES: &str = "\
Examples:
  herder python install
  herder python install --venv ../carts/.venv
  .venv/bin/python -m pip uninstall herder          remove it again

Editors, type checkers and tests then find `import herder`. Workers do not need this: they import the package of the program, or an
installed one that equals it. An earlier installation of this command is replaced; one of pip or uv is not touched.

Exit codes: 0 success; 1 there is no such environment, its Python is too old, or something else has installed `herder` there.";

/// Runs supervised pools of Python worker processes with session affinity.
#[derive(Debug, Parser)]
#[command(name = "herder", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start pools and serve them over HTTP
    Serve(Serve),
    /// Serve an app while you write it: its worker is replaced at each save
    Dev(Dev),
    /// Write a new project: an app, its test, and its configuration
    Init(Init),
    /// Call a command and print its result as JSON
    Call(Call),
    /// Show the commands of a pool, their arguments and their results
    Commands(Commands),
    /// Check a configuration file or an app
    Check(Check),
    /// Examine the machine, the interpreters, the apps and a running server, and say what to do about each problem
    Doctor(Doctor),
    /// Show the pools of a running server
    Status(Status),
    /// Show pools, workers, rates and events of a running server, updated all the time
    Top(Top),
    /// Show the history of a session: where its calls ran, and why
    Why(Why),
    /// Show the last frames, state transitions, output and exit of a worker process
    Recorder(Recorder),
    /// Show where the threads of a worker are in their code
    Stack(Stack),
    /// Show the calls that killed workers, or release one from quarantine
    Quarantine(Quarantine),
    /// Show or change the level of a pool's events in the log of a running server
    LogLevel(LogLevel),
    /// Kill the process of a worker; the pool starts another one
    Kill(Kill),
    /// Kill and pause workers under load and report the effect on callers
    Chaos(chaos::Options),
    /// Measure how a command scales with the number of workers, and what limits scaling
    Bench(bench::Options),
    /// Install the Python package of this program for editors and type checkers
    #[command(subcommand)]
    Python(Python),
    /// Write man pages and completion scripts, for packages
    #[command(subcommand)]
    Generate(Generate),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Python {
    /// Install the Python package of this program into a virtual environment
    Install(PythonInstall),
}

#[derive(Args, Debug)]
#[command(after_help = PYTHON_EXAMPLES)]
pub(crate) struct PythonInstall {
    /// The virtual environment [default: $VIRTUAL_ENV, else .venv]
    #[arg(long, value_name = "PATH")]
    pub(crate) venv: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = DEV_EXAMPLES)]
pub(crate) struct Dev {
    /// An app: `module:app` or `path/to/file.py:app`; or a TOML file [default: ./herder.toml]
    #[arg(value_name = "APP|FILE")]
    pub(crate) source: Option<String>,
    /// Make the app's pool enhanced, with session affinity
    #[arg(long)]
    pub(crate) enhanced: bool,
    /// Port on 127.0.0.1; 0 for any free one [default: that of `server.listen`, else 7878]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Number of workers of each pool
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,
    /// Also watch this file, or the Python files of this folder; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) watch: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct Init {
    /// The folder to write to, whose name is that of the pool [default: the current folder]
    pub(crate) name: Option<PathBuf>,
    /// Make the pool enhanced, and add a command that keeps state for each session
    #[arg(long)]
    pub(crate) enhanced: bool,
}

#[derive(Args, Debug)]
#[command(after_help = COMMANDS_EXAMPLES)]
pub(crate) struct Commands {
    /// The pool's name
    pub(crate) pool: String,
    /// Show only this command, with its arguments and its result
    pub(crate) command: Option<String>,
    /// Print the descriptions as JSON, with the JSON Schemas
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
    /// The configuration file [default: ./herder.toml if it exists, else the demo pools]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// The configuration file, or an app: `module:app` or `path/to/file.py:app`
    #[arg(value_name = "APP|FILE", default_value = "herder.toml")]
    pub(crate) file: PathBuf,
    /// Also start one worker of each pool, list its commands with their arguments, and stop it; imports the apps and runs their hooks
    #[arg(long)]
    pub(crate) import: bool,
}

#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct Status {
    /// Show only this pool, with its workers
    pub(crate) pool: Option<String>,
    /// Print the server's response as JSON
    #[arg(long, conflicts_with = "watch")]
    pub(crate) json: bool,
    /// Show it again after each interval, until Ctrl-C [default interval: 2s]
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = interval)]
    pub(crate) watch: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[derive(Args, Debug)]
#[command(after_help = WHY_EXAMPLES)]
pub(crate) struct Why {
    /// The pool's name
    pub(crate) pool: String,
    /// The session's id
    pub(crate) session: String,
    /// Print the server's response as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[derive(Args, Debug)]
#[command(after_help = RECORDER_EXAMPLES)]
pub(crate) struct Recorder {
    /// The pool's name
    pub(crate) pool: String,
    /// The worker, such as `w2`
    pub(crate) worker: String,
    /// Generation of the worker's process, which may have exited [default: the current one, else the last]
    #[arg(long, value_name = "N")]
    pub(crate) generation: Option<u32>,
    /// Print the server's response as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[derive(Args, Debug)]
#[command(after_help = LOG_LEVEL_EXAMPLES)]
pub(crate) struct LogLevel {
    /// The pool's name
    pub(crate) pool: String,
    /// The most detailed level that is shown; `default`: that of the server's HERDER_LOG [default: print the current level]
    #[arg(value_name = "LEVEL", value_parser = ["off", "error", "warn", "info", "debug", "trace", "default"])]
    pub(crate) level: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_accepts_the_definition_of_the_arguments() {
        Arguments::command().debug_assert();
    }
}
