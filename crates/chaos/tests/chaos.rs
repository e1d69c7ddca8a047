//! A short storm with every kind of fault, as part of the tests: the whole program, with its hosts and its judge.

use herder::chaos::Figures;
use std::{env, process::Command};

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

/// R20, R29, R30, R36, R41: no call is lost, no call that is not idempotent runs twice, no caller gets a
/// wrong answer, and no process is left.
#[test]
fn r36_a_storm_with_every_kind_of_fault() {
    let seed = env::var("HERDER_SEED").unwrap_or("1".into());
    println!("HERDER_SEED={seed}"); // shown if it fails
    let elsewhere = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_herder-chaos"));
    program.args(["--seconds=8", "--workers=4", "--callers=16", "--kill-every=200ms", "--fault-every=50ms"]);
    program.arg(format!("--seed={seed}")).current_dir(elsewhere.path());
    let output = program.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    println!("{out}\n{err}");
    let figures: Figures = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let broken = figures.broken();
    assert_eq!(output.status.code(), Some(i32::from(!broken.is_empty())));
    // How many calls there are beside the kills is up to the machine, and so is their share.
    let counts = |line: &&str| !line.starts_with("ok_share");
    let broken: Vec<&str> = broken.iter().map(String::as_str).filter(counts).collect();
    let prefix = format!("seed {seed}: ");
    let words: Vec<&str> = err.lines().filter_map(|line| line.strip_prefix(&prefix)).filter(counts).collect();
    assert_eq!((broken, words), (Vec::new(), Vec::new()));
    let missing: Vec<_> = FAULTS.iter().filter(|name| !figures.faults.contains_key(**name)).collect();
    assert!(missing.is_empty() && figures.faults["host_kill"] > 0, "{missing:?} of {:?}", figures.faults);
    assert!(figures.ok > 0 && figures.in_flight_at_kill > 0 && figures.answers["left"] > 0, "{figures:?}");
}
