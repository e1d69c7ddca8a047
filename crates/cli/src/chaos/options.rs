//! The options of `herder chaos` and their help.

use crate::option_values::reject_workers_option;
use clap::Args;
use herder::config::duration;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  herder chaos carts.py:app --command price --args '{\"item\": \"tea\"}'
  herder chaos production.toml --pool models --command classify --args '{\"text\": \"x\"}' --seconds 600 --seed 7
  herder chaos carts.py:app --enhanced --command add --args '{\"item\": \"tea\"}' --sessions 8 --json

Starts the pool with its configuration, calls the command continuously (thousands of times), and meanwhile kills and pauses workers.
Reports what the callers got and how long the pool took to recover. If more than `restart.max` idle workers are killed within
`restart.window`, each younger than `restart.min_uptime`, the pool fails as configured. A note at the start says whether this can
happen; `pool failed` in the report says whether it did. With --json, the last line is the report as one JSON object; values that
would need the help of the worker, such as `double_runs`, are null.

Exit codes: 0 all guarantees held; 1 calls were lost, processes or descriptors leaked, fewer than 95 % of the calls not in flight at
a kill were answered by their handler (with a result or an exception), the pool did not recover, or no worker was killed or paused; 2 invalid arguments or configuration.";

/// The options of `herder chaos`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app` [default: ./herder.toml if it exists, else the demo pools]
    #[arg(value_name = "APP|FILE")]
    pub(super) source: Option<String>,
    /// Name of the pool; required if there are several
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// Name of the command to call; required
    #[arg(long, value_name = "COMMAND")]
    pub(super) command: String,
    /// Arguments of the command, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(super) args: String,
    /// Duration of the run in seconds
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// Seed of the random choice of workers and times
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) seed: u64,
    /// Time between two SIGKILLs [default: a quarter of --seconds, at most 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) kill_every: Option<Duration>,
    /// Time between two SIGSTOPs, each followed by SIGCONT within a second [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) pause_every: Option<Duration>,
    /// Kill all workers at once in the middle of the run
    #[arg(long)]
    pub(super) cascade: bool,
    /// Number of concurrent callers; each calls again as soon as it has an answer
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(super) callers: u64,
    /// Number of sessions that the calls use; 0 for calls without a session
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) sessions: u64,
    /// Percentage of calls that are abandoned before they are answered
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(super) abandon_percent: u64,
    /// Deadline of each call [default: the pool's `timeout`]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) timeout: Option<Duration>,
    /// Allow calls to run again on another worker if their worker dies; no effect in a session with strict affinity
    #[arg(long)]
    pub(super) idempotent: bool,
    /// Make the app's pool enhanced
    #[arg(long)]
    pub(super) enhanced: bool,
    /// Number of workers of the app's pool
    #[arg(long, value_name = "N")]
    pub(super) pool_size: Option<usize>,
    /// Refused, with a hint at `--pool-size`: the name of this option in other servers.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = reject_workers_option())]
    workers: Option<String>,
    /// Also print the report as JSON, on the last line
    #[arg(long)]
    pub(super) json: bool,
}
