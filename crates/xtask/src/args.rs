//! The arguments, and their help. Parses each into a type that can't be wrong.

use clap::{Args, Parser, Subcommand};
use std::{num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

const FLAKE_EXAMPLES: &str = "\
Examples:
  cargo xtask flake --runs 20 --loaded 5              twenty runs of the suite, five of them on a busy machine
  cargo xtask flake --runs 100 --loaded 20 --deterministic-every 10
  cargo xtask flake --replay 1836417                  the run of this seed again; it is not counted
  cargo xtask flake --replay 1836417 --loaded 1 --only pools --only doc
  cargo xtask flake --report                          what all runs so far amount to

Each run is one line in target/flake/REVISION.jsonl, so that the runs of several sessions add up; the log of the one that runs now is beside it.
pytest is that of `.ci/run prepare`. Exit codes: 0 nothing failed, 1 a test failed in one of the runs (or, with --report, of the runs
reported), 2 the suite could not be built or run.";

const REGRESS_EXAMPLES: &str = "\
Examples:
  cargo xtask regress HEAD~1                       the last commit beside the one before
  cargo xtask regress v0.1.0 my-branch --pairs 20 --threshold 3%
  cargo xtask regress HEAD~1 --layer latency --layer affinity --without-instructions

Both are built in worktrees below the target folder, with the benchmarks of HEAD, and run in pairs, in turns: base first or head first, by
the seed, and the next pair the other way round. Of each figure it says the median ratio over the pairs and where that lies by the bootstrap,
with 95 % confidence: of many figures some look slower by chance. It fails only on what is slower so surely that all figures together are
right with 95 % confidence; that wants ten pairs, better twenty, and a quiet machine. Changes that are not committed do not count. A pair takes
about a minute and a half with all layers.

Exit codes: 0 nothing is surely slower; 1 a figure is, by more than the threshold; 2 it could not be run.";

/// Chores of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) chore: Chore,
}

/// Which one.
#[derive(Debug, Subcommand)]
pub(crate) enum Chore {
    /// Run the whole suite many times, in random order, some under load, and report what fails how often
    #[command(after_help = FLAKE_EXAMPLES)]
    Flake(Flake),
    /// Compare the speed of two revisions, by paired runs of the layers' benchmark and by the core's instructions
    #[command(after_help = REGRESS_EXAMPLES)]
    Regress(Regress),
}

/// How the flake rate is measured.
#[derive(Debug, Args)]
pub(crate) struct Flake {
    /// How often the suite runs
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) runs: NonZeroU32,
    /// In how many of the runs as many threads compute as there are cores, spread among them
    #[arg(long, value_name = "M", default_value = "0")]
    pub(crate) loaded: u32,
    /// What the seeds of the runs are drawn from; by default another one each time
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Run the suite once with the seed of a run, in the same order; not counted
    #[arg(long, value_name = "SEED", conflicts_with_all = ["runs", "seed"])]
    pub(crate) replay: Option<u64>,
    /// Run only parts of the suite whose name contains this; not counted
    #[arg(long, value_name = "PART")]
    pub(crate) only: Vec<String>,
    /// Run what its package calls deterministic only in each K-th run: not at all in fewer runs than that. The report says how often it ran, if it did
    #[arg(long, value_name = "K", default_value = "1")]
    pub(crate) deterministic_every: NonZeroU32,
    /// Stop after the first run in which a test failed
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// End a part of the suite that says nothing for this long, and count it as failed
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
    pub(crate) guard: Duration,
    /// The Python that has pytest [default: target/ci/venv/bin/python, else python3]
    #[arg(long, value_name = "FILE", conflicts_with = "without_pytest")]
    pub(crate) python: Option<PathBuf>,
    /// Leave pytest out
    #[arg(long)]
    pub(crate) without_pytest: bool,
    /// Run nothing; report what the ledgers hold
    #[arg(long, conflicts_with_all = ["runs", "loaded", "seed", "replay", "only", "fail_fast"])]
    pub(crate) report: bool,
    /// With --report: only the ledgers of revisions that begin with this
    #[arg(long, value_name = "REVISION", requires = "report")]
    pub(crate) revision: Vec<String>,
}

/// What is compared with what.
#[derive(Debug, Args)]
pub(crate) struct Regress {
    /// The revision to compare with
    #[arg(value_name = "BASE")]
    pub(crate) base: String,
    /// The revision that may be slower
    #[arg(value_name = "HEAD", default_value = "HEAD")]
    pub(crate) head: String,
    /// How often both run
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) pairs: NonZeroU32,
    /// How much slower a figure may be
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(crate) threshold: Share,
    /// Only these layers of the benchmark [default: all]
    #[arg(long, value_name = "LAYER")]
    pub(crate) layer: Vec<String>,
    /// Count no instructions
    #[arg(long)]
    pub(crate) without_instructions: bool,
    /// What decides the order of the runs; by default another each time
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// A share of something, written in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent: Option<f64> = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        let share = percent.filter(|percent| (0.0..=1000.0).contains(percent)).map(|percent| Self(percent / 100.0));
        share.ok_or("a share is written as `5%`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_hold_together() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn shares() {
        assert_eq!(
            [" 5 %".trim().parse(), "0.5%".parse(), "0%".parse()],
            [Ok(Share(0.05)), Ok(Share(0.005)), Ok(Share(0.0))]
        );
        assert!(["5", "-1%", "%", "nan%", "inf%"].iter().all(|text| text.parse::<Share>().is_err()));
    }
}
