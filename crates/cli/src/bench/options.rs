//! The options of `herder bench` and their help.

use clap::{ArgGroup, Args};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  herder bench                                      the demo pool, a sleep of 5 ms
  herder bench carts.py:app --command price --args '{\"item\": \"tea\"}' --workers 1,2,4
  herder bench production.toml --pool models --command classify --args '{\"text\": \"x\"}' --seconds 10 --svg charts
  herder bench carts.py:app --enhanced --command add --args '{\"item\": \"tea\"}' --sessions 16 --json=carts.json

Runs the pool with its configuration except `pool_size` and `overflow`, and calls the command continuously (thousands of times).
Measures each number of workers in turn, in several rounds, so that a change of the load of the machine affects all numbers
alike. Ctrl-C stops the pool gracefully; a second one stops immediately.

Efficiency is the ideal time of the calls divided by the measured time. Each loss has a cause: start-up, queueing, dispatch,
serialization, stragglers, idle, cores, gil, slowed. docs/bench.md explains each.

Exit codes: 0 all calls succeeded; 1 calls failed or a pool did not start; 2 invalid arguments or configuration.";

/// The options of `herder bench`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("amount").args(["operations", "seconds"])))]
#[command(group(ArgGroup::new("start").args(["warm", "cold"])))]
pub(crate) struct Options {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app` [default: ./herder.toml if it exists, else the demo pools]
    #[arg(value_name = "APP|FILE")]
    pub(super) source: Option<String>,
    /// Name of the pool; required if there are several
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// Name of the command to call [default: the demo pool's `sleep`, 5 ms]
    #[arg(long, value_name = "COMMAND")]
    pub(super) command: Option<String>,
    /// Arguments of the command, a JSON object [default: {}]
    #[arg(long, value_name = "JSON", requires = "command")]
    pub(super) args: Option<String>,
    /// Numbers of workers to measure; the smallest is the baseline
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) workers: Vec<u32>,
    /// Number of concurrent callers in each run; each calls again as soon as it has an answer [default: two for each call that
    /// the pool can run at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) callers: Option<u32>,
    /// Number of sessions over which the callers are spread
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) sessions: Option<u32>,
    /// Number of calls of each run, instead of --seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) operations: Option<u32>,
    /// Duration of a run without losses, in seconds; other runs take longer [default: 2]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) seconds: Option<u32>,
    /// Number of rounds; the report shows the median
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Measure warm workers, which have already run the command [default]
    #[arg(long)]
    pub(super) warm: bool,
    /// Include the start of the pool in the measurement
    #[arg(long)]
    pub(super) cold: bool,
    /// Make the app's pool enhanced
    #[arg(long)]
    pub(super) enhanced: bool,
    /// Also print the report as JSON on the last line, or write it to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(super) json: Option<Option<PathBuf>>,
    /// Include every call in the JSON, with its five timestamps
    #[arg(long, requires = "json")]
    pub(super) json_operations: bool,
    /// Write charts into this folder: `speed-up.svg`, and `timeline-N.svg` for each number of workers
    #[arg(long, value_name = "FOLDER")]
    pub(super) svg: Option<PathBuf>,
}
