//! Memory, as reported by the system.

use std::fs;

/// Returns the number after a key in a file below `/proc`, in KiB.
pub fn kib(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).expect("proc");
    let line = text.lines().find(|line| line.starts_with(key)).expect("the key");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Returns the resident memory of this process in MiB.
pub fn resident_mib() -> f64 {
    mib(kib("/proc/self/status", "VmRSS:"))
}

/// Converts KiB to MiB.
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
