//! Runs a benchmark pinned to one core, and unpinned. Pinned, no other core is woken, and the results are stable;
//! unpinned, they are bimodal.

use std::{env, process::Command};

const PIN: &str = "HERDER_BENCH_PIN";

/// Runs this program again for each regime, with the same arguments. In those processes, calls `measure` with the name
/// of the regime.
pub fn each(measure: impl FnOnce(&str)) {
    match env::var(PIN).as_deref() {
        Ok("1") => {
            pin();
            measure("one core");
        }
        Ok(_) => measure("unpinned"),
        Err(_) => ["1", "0"].iter().for_each(|pinned| run_self(pinned)),
    }
}

/// Runs this program again. Each regime needs a separate process, because children inherit the CPU affinity.
fn run_self(pinned: &str) {
    let own = env::current_exe().expect("this program");
    let status = Command::new(own).args(env::args_os().skip(1)).env(PIN, pinned).status();
    assert!(status.expect("this program again").success());
}

fn pin() {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).expect("one core");
}
