//! The command-line arguments and their help texts. Each argument is parsed into a type that holds only valid values.

mod doctor;
mod generate;
mod kill;
mod server_at;
mod top;

pub(crate) use doctor::Doctor;
pub(crate) use generate::{Generate, GenerateCompletions, GenerateMan};
pub(crate) use kill::Kill;
pub(crate) use server_at::ServerAt;
pub(crate) use top::Top;

use crate::{
    bench, chaos, logs,
    option_values::{
        address, attachment, client_timeout, header, interval, keep_alive, named_argument, reject_workers_option,
    },
};
use clap::{Args, Parser, Subcommand, builder::UnknownArgumentValueParser};
use herder::{config::duration, error::ErrorDetail};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

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
  herder log-level basic debug                      more detail in the server's log
  herder chaos carts.py:app --command price --args '{\"item\": \"tea\"}'   inject faults under load and report the results
  herder bench carts.py:app --command price --args '{\"item\": \"tea\"}'   how the command scales with the number of workers

Environment:
  HERDER_URL    server used by `call`, `commands`, `doctor`, `status`, `top`, `why`, `recorder`, `log-level` and `kill`
  HERDER_TOKEN  token of administrators, which `serve` requires and these nine client commands send; or HERDER_TOKEN_FILE
  HERDER_CALL_TOKEN  token of callers, who may only call commands; sent if HERDER_TOKEN is not set; or HERDER_CALL_TOKEN_FILE
  HERDER_METRICS_TOKEN  token for /metrics only, for Prometheus; read by `serve`; or HERDER_METRICS_TOKEN_FILE
  HERDER_LOG    log filter, such as `debug` or `info,herder_actors=trace`";

const SERVE_EXAMPLES: &str = "\
Examples:
  herder serve                                ./herder.toml if it exists, else two demo pools
  herder serve production.toml
  herder serve carts.py:app --enhanced --pool-size 4
  curl -s localhost:7878/v1/pools/basic/call/echo -d '{\"x\":1}'

Ctrl-C or SIGTERM stops the server gracefully: requests and calls finish, then the workers stop. A second signal, at least one second
later, stops it immediately.

Exit codes: 0 stopped gracefully by a signal; 1 the server could not run, or no worker of any pool started and each pool used up its
restarts; 2 invalid arguments or configuration; 130, 143 stopped by a second signal.";

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

const CALL_EXAMPLES: &str = "\
Examples:
  herder call basic echo '{\"x\": 1}'
  herder call carts add --arg item=tea --arg count=2 --session ann
  herder call images resize --arg data=@photo.jpg --arg width=200
  herder call images resize --attach image=@photo.jpg --arg width=200 --output small.jpg
  herder call sessions count --session ann
  herder call carts add --arg item=tea --header x-tenant=acme
  echo '{\"ms\": 100}' | herder call basic sleep - --timeout 5s

Uses the server given by --url or HERDER_URL. With no URL, uses the server at the configured address. If no server runs there,
starts the pool, makes the call, and stops the pool. `herder commands POOL COMMAND` shows the arguments of a command.

Exit codes: 0 success; 1 the call failed; 2 invalid arguments or configuration.";

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
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app` [default: ./herder.toml if it exists, else the demo pools]
    #[arg(value_name = "APP|FILE")]
    pub(crate) source: Option<String>,
    /// Make the app's pool enhanced, with session affinity
    #[arg(long)]
    pub(crate) enhanced: bool,
    /// Number of workers of the app's pool, or of each demo pool
    #[arg(long, value_name = "N")]
    pub(crate) pool_size: Option<usize>,
    /// Refused, with a hint at `--pool-size`: the name of this option in other servers.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = reject_workers_option())]
    workers: Option<String>,
    /// Address to listen on; overrides `server.listen` [default: 127.0.0.1:7878]
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Set HERDER_ALLOW_CODE=1 in the workers of the demo pools or of the app: the demo app then runs any Python code that it
    /// is sent (`notebook.run`). Requires a token for every request
    #[arg(long)]
    pub(crate) allow_code: bool,
    /// How long an idle connection stays open for its next request; overrides `server.keep_alive` [default: 75s]
    #[arg(long, value_name = "DURATION", value_parser = keep_alive)]
    pub(crate) keep_alive: Option<Duration>,
    /// Maximum time for each 64 KiB of a call's body, or the rest, to arrive; overrides `server.body_timeout` [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) body_timeout: Option<Duration>,
    /// Limit on arguments and large results held at once; overrides `server.buffer_limit` [default: 256 MiB, or twice the
    /// largest `max_frame`]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) buffer_limit: Option<u64>,
    /// How long the head of a request may take; overrides `server.head_timeout` [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) head_timeout: Option<Duration>,
    /// How long a response may wait for a client that does not read; overrides `server.write_timeout` [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) write_timeout: Option<Duration>,
    /// Offer the commands as tools of the Model Context Protocol, at `/mcp`; also set by `server.mcp`
    #[arg(long)]
    pub(crate) mcp: bool,
    /// Time limit for running requests and calls to finish after Ctrl-C or SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) shutdown_timeout: Duration,
    /// Detail of errors over HTTP; `brief` omits tracebacks, stacks, output, recordings, and why a start failed. Overrides
    /// `server.errors` [default: full for administrators on loopback, else brief]
    #[arg(long, value_name = "full|brief", value_parser = str::parse::<ErrorDetail>)]
    pub(crate) errors: Option<ErrorDetail>,
    /// Whether `/openapi.json` and the page `/docs` exist; overrides `server.docs` [default: true on loopback, else false]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) docs: Option<bool>,
    /// Whether the live page exists, at `/`; overrides `server.page` [default: true on loopback, else false]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) page: Option<bool>,
    /// Whether `/metrics` exists, for Prometheus; overrides `server.metrics` [default: true]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) metrics: Option<bool>,
    /// Form of the log on standard error and of the banner on standard output. With `json`, each line is one JSON object; `auto`:
    /// text on a terminal, JSON elsewhere
    #[arg(
        long,
        env = "HERDER_LOG_FORMAT",
        value_name = "auto|text|json",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) log_format: logs::LogFormat,
    /// Log each request: its method, path, status, time and trace
    #[arg(long)]
    pub(crate) access_log: bool,
    /// Number of HTTP server threads. With 1, HTTP and all pools share one thread, which is the fastest for small calls; with more,
    /// each pool uses one more thread
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
}

impl Serve {
    /// Returns the options for a server on this address, whose other settings are those of the file or the defaults.
    pub(crate) fn on(listen: SocketAddr, shutdown_timeout: Duration) -> Self {
        Self {
            source: None,
            enhanced: false,
            pool_size: None,
            workers: None,
            listen: Some(listen),
            allow_code: false,
            keep_alive: None,
            body_timeout: None,
            buffer_limit: None,
            head_timeout: None,
            write_timeout: None,
            shutdown_timeout,
            mcp: false,
            errors: None,
            docs: None,
            page: None,
            metrics: None,
            log_format: logs::LogFormat::Text,
            access_log: false,
            threads: 1,
        }
    }
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
#[command(after_help = CALL_EXAMPLES)]
pub(crate) struct Call {
    /// The pool's name
    pub(crate) pool: String,
    /// The command's name
    pub(crate) command: String,
    /// The arguments, a JSON object; `-` reads it from standard input
    #[arg(value_name = "JSON|-", default_value = "{}")]
    pub(crate) arguments: String,
    /// One argument, by its name. A string is taken as it is; values of other types are JSON. `NAME=@FILE` reads the value from a
    /// file (`@-`: standard input; `@@` for a text that begins with `@`). Can be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = named_argument)]
    pub(crate) args: Vec<(String, String)>,
    /// One argument that is binary data, from a file (`@-`: standard input). It is sent as it is, and the handler gets a view of it.
    /// Can be repeated
    #[arg(long, value_name = "NAME=@FILE", value_parser = attachment)]
    pub(crate) attach: Vec<(String, String)>,
    /// Write the only buffer of the result to this file (`-`: standard output), and print nothing
    #[arg(long, value_name = "FILE", conflicts_with = "meta")]
    pub(crate) output: Option<PathBuf>,
    /// Refused, with the form of the arguments: the option of curl.
    #[arg(short = 'd', long = "data", hide = true, num_args = 0..=1, default_missing_value = "", value_parser = reject_data_option())]
    data: Option<String>,
    /// The session the call belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// A header of the call, for the handler. The pool must have it in `forward_headers`, unless it is that of a trace. Can be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// Deadline of the call, including time in the queue and retries [default: the pool's `timeout`]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Allow the call to run again on another worker if its worker dies; no effect in a session with strict affinity
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Also print how the call was routed and how long it took: {"result": .., "meta": ..}
    #[arg(long, conflicts_with = "stream")]
    pub(crate) meta: bool,
    /// Print the items of a generator as they arrive, one line of JSON each; for any other command, print its result
    #[arg(long, conflicts_with = "output")]
    pub(crate) stream: bool,
    /// Longest time between two items. Without `--timeout`, the whole stream then has no deadline
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "stream")]
    pub(crate) idle_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: ServerAt,
    /// The configuration file [default: ./herder.toml if it exists, else the demo pools]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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

/// Refuses an option as unknown, and shows where the arguments belong.
fn reject_data_option() -> UnknownArgumentValueParser {
    UnknownArgumentValueParser::suggest(
        "the arguments follow the command as a JSON object: herder call POOL COMMAND '{\"n\": 1}'",
    )
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
