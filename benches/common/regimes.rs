//! Pinned to one core, and unpinned: the first wakes no other core and is steady, the second does and is bimodal.

use std::{env, process::Command};

const PIN: &str = "HERDER_BENCH_PIN";

/// Runs this program again for each regime, with the same arguments, and there this function with the regime's name.
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

/// Each regime is a process of its own: children inherit what the process may run on.
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
