//! What a run is told to do.

use clap::Parser;
use herder::config::duration;
use std::{path::PathBuf, time::Duration};

const ABOUT: &str = "\
Drives a pool of real Python workers at full load and breaks it meanwhile: SIGKILL, SIGSTOP, cascades, broken frames, hogs, failing
starts, panics of its actors, a host that is stopped and others that are killed. Callers leave and hurry at random. The workers keep
an account of what ran; in the end each call is judged by it.

The last line is one JSON object. Exits with 1 if something was lost, ran twice, was told wrong or was left behind.";

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p herder-chaos -- --seconds 600 --seed 7
  cargo run --release -p herder-chaos -- --seconds 300 --seed 7 --overflow 4 --pipeline 8 --mixed   overflow, deep pipelines, asyncio
  cargo run --release -p herder-chaos -- --seconds 120 --seed 7 --defaults   a kill every 10 s and one cascade, on default settings";

#[derive(Clone, Debug, Parser)]
#[command(name = "herder-chaos", about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Options {
    /// How long faults are brought about
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// What callers, faults and their times are drawn from; how they meet is up to the machine
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// From one SIGKILL to the next [default: 50ms; 10s with --defaults]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) kill_every: Option<Duration>,
    /// From one fault of another kind to the next; none with --defaults
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = duration::parse)]
    pub(crate) fault_every: Duration,
    /// Base workers of the pool
    #[arg(long, default_value_t = 8)]
    pub(crate) workers: usize,
    /// Overflow workers of the pool
    #[arg(long, default_value_t = 0)]
    pub(crate) overflow: usize,
    /// Calls that a worker is sent for each that it runs
    #[arg(long, default_value_t = 2)]
    pub(crate) pipeline: usize,
    /// Half of the workers run asyncio, and several calls at once
    #[arg(long)]
    pub(crate) mixed: bool,
    /// Callers that call without a pause
    #[arg(long, default_value_t = 32)]
    pub(crate) callers: u64,
    /// The pool's settings as they are unless set, a kill every 10 s, one cascade, no other faults
    #[arg(long)]
    pub(crate) defaults: bool,
    /// The interpreter of the workers [default: python3 in an environment without packages, whose start costs least]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// Keep the accounts of workers and callers, and the log, in a new folder below this one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// The process of the pool, started by the judge
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) host: Option<PathBuf>,
    /// A host that is killed, started by the judge
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) victim: Option<PathBuf>,
    /// The mark of the processes
    #[arg(long, hide = true, default_value = "")]
    pub(crate) mark: String,
}

impl Options {
    pub(crate) fn kill_every(&self) -> Duration {
        let usual = if self.defaults { Duration::from_secs(10) } else { Duration::from_millis(50) };
        self.kill_every.unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_help_are_valid() {
        let commands: Vec<&str> =
            EXAMPLES.lines().filter_map(|line| line.split_once(" -- ")).map(|(_, rest)| rest).collect();
        assert_eq!(commands.len(), 3);
        for command in commands {
            let arguments = command.split("   ").next().unwrap_or_default().split_whitespace();
            let options = Options::try_parse_from(["herder-chaos"].into_iter().chain(arguments));
            assert!(options.is_ok_and(|options| options.seed == 7), "{command}");
        }
    }
}
