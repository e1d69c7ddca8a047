//! A short run of the whole program with every kind of fault, including its hosts and its judge.

use herder::chaos::Figures;
use std::{env, process::Command};

const FAULTS: [&str; 19] = [
    "kill",
    "kill_by_message",
    "kill_cascade",
    "cascade",
    "pause",
    "pause_forever",
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

/// R20, R29, R30, R36, R41: no call is lost, no call that is not idempotent runs twice, no caller gets a wrong answer, and no
/// process remains.
#[test]
fn r36_no_violation_under_every_kind_of_fault() {
    let seed = env::var("HERDER_SEED").unwrap_or("1".into());
    println!("HERDER_SEED={seed}"); // shown if the test fails
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_herder-chaos"));
    program.args(["--seconds=8", "--workers=4", "--callers=16", "--kill-every=200ms", "--fault-every=50ms"]);
    program.arg(format!("--seed={seed}")).current_dir(folder.path());
    let output = program.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    println!("{out}\n{err}");
    let figures: Figures = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let violations = figures.violations();
    assert_eq!(output.status.code(), Some(i32::from(!violations.is_empty())));
    // The number of calls that no kill affected depends on the machine, and so does their success rate.
    let is_certain = |line: &&str| !line.starts_with("ok_share");
    let violations: Vec<&str> = violations.iter().map(String::as_str).filter(is_certain).collect();
    let prefix = format!("seed {seed}: ");
    let described: Vec<&str> = err.lines().filter_map(|line| line.strip_prefix(&prefix)).filter(is_certain).collect();
    assert_eq!((violations, described), (Vec::new(), Vec::new()));
    let missing: Vec<_> = FAULTS.iter().filter(|name| !figures.faults.contains_key(**name)).collect();
    assert!(missing.is_empty() && figures.faults["host_kill"] > 0, "{missing:?} of {:?}", figures.faults);
    assert!(figures.ok > 0 && figures.in_flight_at_kill > 0 && figures.answers["abandoned"] > 0, "{figures:?}");
}
