//! The command line options.

use clap::Parser;
use herder::config::{Pipeline, duration};
use std::{num::ParseIntError, path::PathBuf, time::Duration};

const ABOUT: &str = "\
Runs a pool of real Python workers at full load and injects faults: SIGKILL, SIGSTOP, cascades, malformed frames, busy loops, failing
starts, actor panics, one host that is paused and others that are killed. Callers abandon calls and use short deadlines at random.
The workers log what ran; afterwards every call is checked against these logs.

The last line is one JSON object. Exits with 1 if a call was lost, ran twice or got a wrong answer, or if a process or descriptor leaked.";

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p herder-chaos -- --seconds 600 --seed 7
  cargo run --release -p herder-chaos -- --seconds 300 --seed 7 --overflow 4 --pipeline 8 --mixed   overflow, deep pipelines, asyncio
  cargo run --release -p herder-chaos -- --seconds 120 --seed 7 --defaults --template   a kill every 10 s and one cascade, on default settings";

#[derive(Clone, Debug, Parser)]
#[command(name = "herder-chaos", about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Options {
    /// Duration of the fault injection in seconds
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Seed of the random choice of calls, faults and times; the interleaving depends on the machine
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Time between two SIGKILLs [default: 50ms; 10s with --defaults]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) kill_every: Option<Duration>,
    /// Time between two faults of other kinds; unused with --defaults
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = duration::parse)]
    pub(crate) fault_every: Duration,
    /// Number of base workers
    #[arg(long, default_value_t = 8)]
    pub(crate) workers: usize,
    /// Number of overflow workers
    #[arg(long, default_value_t = 0)]
    pub(crate) overflow: usize,
    /// Number of calls sent to a worker for each call that it can run, or `auto`
    #[arg(long, default_value_t = Pipeline::Fixed(2), value_parser = pipeline)]
    pub(crate) pipeline: Pipeline,
    /// Let half of the workers run asyncio and several calls at once
    #[arg(long)]
    pub(crate) mixed: bool,
    /// Fork the workers from a template, which imports the app once
    #[arg(long)]
    pub(crate) template: bool,
    /// Number of concurrent callers; each calls again as soon as it has an answer
    #[arg(long, default_value_t = 32)]
    pub(crate) callers: u64,
    /// Use the default settings of a pool, one kill every 10 s, one cascade, and no other faults
    #[arg(long)]
    pub(crate) defaults: bool,
    /// Python interpreter of the workers [default: python3 in an empty virtual environment, which starts fastest]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// Keep the logs of workers, callers and host in a new folder inside this one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// Run as the host of the pool; used internally
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) host: Option<PathBuf>,
    /// Run as a host that is killed; used internally
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) killed_host: Option<PathBuf>,
    /// Marker of the processes of this run; used internally
    #[arg(long, hide = true, default_value = "")]
    pub(crate) mark: String,
}

fn pipeline(text: &str) -> Result<Pipeline, ParseIntError> {
    if text == "auto" { Ok(Pipeline::Auto) } else { text.parse().map(Pipeline::Fixed) }
}

impl Options {
    pub(crate) fn kill_every(&self) -> Duration {
        let default = if self.defaults { Duration::from_secs(10) } else { Duration::from_millis(50) };
        self.kill_every.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_help_are_valid() {
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
