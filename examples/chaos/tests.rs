//! A short storm with every kind of fault, as part of the tests: the whole program, with its hosts and its judge.

use crate::{host::Outcome, keeper, options::Options};
use clap::Parser;
use std::{env, process::Command};

const ARGUMENTS: &str = "HERDER_CHAOS_ARGUMENTS";
/// Between two arguments, of which none has it.
const SEPARATOR: &str = "\u{1f}";
const FAULTS: [&str; 19] = [
    "kill",
    "kill_by_message",
    "kill_cascade",
    "cascade",
    "stop",
    "stop_for_good",
    "corrupt_garbage",
    "corrupt_half",
    "slow_reader",
    "die_crash",
    "die_exit",
    "die_fork",
    "die_hog",
    "failing_starts",
    "panic_affinity",
    "panic_step",
    "panic_supervisor",
    "panic_worker",
    "host_kill",
];

/// R20, R29, R30, R36, R41: whatever happens to workers, actors and hosts, nothing is lost, runs twice, is told wrong or stays behind.
#[test]
fn r36_a_storm_with_every_kind_of_fault() {
    let seed = env::var("HERDER_SEED").unwrap_or("1".into());
    println!("HERDER_SEED={seed}"); // shown if it fails
    let folder = tempfile::tempdir().unwrap();
    let mark = format!("storm-{}", std::process::id());
    let arguments = ["chaos", "--seconds=8", "--workers=4", "--callers=16", "--kill-every=200ms", "--fault-every=50ms"];
    let [seed, mark] = [format!("--seed={seed}"), format!("--mark={mark}")];
    let mut options = Options::parse_from(arguments.into_iter().chain([&*seed, &*mark]));
    options.python = keeper::bare_python(folder.path());
    let (figures, words) = keeper::run(&options, folder.path()).unwrap();
    println!("{}\n{}", figures.table(), words.join("\n"));
    // How many calls there are beside the kills is up to the machine, and so is their share.
    let broken: Vec<_> = figures.broken().into_iter().filter(|what| !what.starts_with("ok_share")).collect();
    assert_eq!((broken, words), (Vec::new(), Vec::new()));
    let missing: Vec<_> = FAULTS.iter().filter(|name| !figures.faults.contains_key(**name)).collect();
    assert!(missing.is_empty() && figures.faults["host_kill"] > 0, "{missing:?} of {:?}", figures.faults);
    assert!(figures.ok > 0 && figures.in_flight_at_kill > 0 && figures.answers["left"] > 0, "{figures:?}");
}

/// The role of a host; a test in name only.
#[test]
#[ignore = "started by the test of the storm"]
fn role() {
    let Ok(arguments) = env::var(ARGUMENTS) else { return };
    let options = Options::parse_from(["chaos"].into_iter().chain(arguments.split(SEPARATOR)));
    assert!(crate::run(options).unwrap());
}

/// This test binary again, as a host.
pub(crate) fn itself(arguments: &[String]) -> Outcome<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", "tests::role", "--include-ignored", "--nocapture"]);
    command.env(ARGUMENTS, arguments.join(SEPARATOR));
    Ok(command)
}
