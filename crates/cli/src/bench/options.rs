//! The arguments of `herder bench`, and their help.

use clap::{ArgGroup, Args};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  herder bench                                      the demo pool, a sleep of 5 ms
  herder bench carts.py:app --command price --args '{\"item\": \"tea\"}' --workers 1,2,4
  herder bench production.toml --pool models --command classify --args '{\"text\": \"x\"}' --seconds 10 --svg pictures
  herder bench carts.py:app --enhanced --command add --args '{\"item\": \"tea\"}' --sessions 16 --json=carts.json

Runs the pool as it is configured, but for `pool_size` and `overflow`, and calls the command without a pause: each number of
workers in turn, and all of that several times, so that a machine that changes its mood meets all of them. It does call your
command, thousands of times. Ctrl-C ends the pool in order, a second one ends all of it now.

The efficiency is the time the calls would have taken with nothing lost, of the time they took. Whatever is lost is lost to
something: start-up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed. docs/bench.md says what each means.

Exit codes: 0 all calls were answered, 1 some failed or a pool did not start, 2 the arguments or the configuration are wrong.";

/// What is measured, and how it is told.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("amount").args(["operations", "seconds"])))]
#[command(group(ArgGroup::new("start").args(["warm", "cold"])))]
pub(crate) struct Options {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app` [default: ./herder.toml, or else the demo pools]
    #[arg(value_name = "APP|FILE")]
    pub(super) source: Option<String>,
    /// The pool, if there are several
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// The command that is called [default: the demo's `sleep`, 5 ms]
    #[arg(long, value_name = "COMMAND")]
    pub(super) command: Option<String>,
    /// Its arguments, a JSON object [default: {}]
    #[arg(long, value_name = "JSON", requires = "command")]
    pub(super) args: Option<String>,
    /// The numbers of workers; the least is what others are compared with
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) workers: Vec<u32>,
    /// Callers that call without a pause [default: two for each place where a call can run, so that the next call waits there
    /// already when one ends]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) callers: Option<u32>,
    /// Spread the callers over so many sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) sessions: Option<u32>,
    /// Calls of each run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) operations: Option<u32>,
    /// Calls for about so long, if nothing is lost [default: 2]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) seconds: Option<u32>,
    /// How often all of it is done; what is told is the median
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Measure workers that are ready and have run the command [default]
    #[arg(long)]
    pub(super) warm: bool,
    /// Measure from the pool's start on
    #[arg(long)]
    pub(super) cold: bool,
    /// Make the app's pool an enhanced one
    #[arg(long)]
    pub(super) enhanced: bool,
    /// Print the report as one line of JSON, too: the last one; or write it to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(super) json: Option<Option<PathBuf>>,
    /// Have every call in the JSON, with its five moments
    #[arg(long, requires = "json")]
    pub(super) json_operations: bool,
    /// Draw pictures into this folder: `speed-up.svg`, and a `timeline-N.svg` for each number of workers
    #[arg(long, value_name = "FOLDER")]
    pub(super) svg: Option<PathBuf>,
}
