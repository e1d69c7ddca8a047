//! Memory, as the system counts it.

use std::fs;

/// The number behind a key of a file below `/proc`, in KiB.
pub fn kib(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).expect("proc");
    let line = text.lines().find(|line| line.starts_with(key)).expect("the key");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// What this process has in memory, in MiB.
pub fn resident_mib() -> f64 {
    mib(kib("/proc/self/status", "VmRSS:"))
}

/// MiB of KiB.
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
