//! What a process did so far, as the system counts it. Reads one small file; holds no state.

use std::time::Duration;

/// What a process did so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessSample {
    /// The processor time of all its threads, in steps of the system's clock tick (10 ms on Linux).
    pub cpu: Duration,
    /// Its main thread is on a processor, or waits for one.
    pub runnable: bool,
    /// It is stopped: by `SIGSTOP` or its like, or by a debugger.
    pub stopped: bool,
}

/// Among the [`fields`] of `/proc/PID/stat`: state, and the ticks in user and system mode.
const STATE: usize = 0;
const USER: usize = 11;
const SYSTEM: usize = 12;

/// `None` where there is no `/proc`, and of a process that is gone.
pub(crate) fn read_sample(pid: u32) -> Option<ProcessSample> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, rustix::param::clock_ticks_per_second())
}

/// Returns the name in a `/proc/PID/stat` and the fields behind it: what is field `n` in proc(5) is at `n - 3`.
pub(crate) fn fields(stat: &str) -> Option<(&str, Vec<&str>)> {
    // The name is in parentheses and may hold any character, these included.
    let (head, fields) = stat.rsplit_once(')')?;
    Some((head.split_once('(')?.1, fields.split_ascii_whitespace().collect()))
}

/// Returns what a process has in main memory. `None` where there is no `/proc`, and of a process that is gone.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn parse(stat: &str, ticks_per_second: u64) -> Option<ProcessSample> {
    let (_, fields) = fields(stat)?;
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let cpu = (ticks(USER)? + ticks(SYSTEM)?) as f64 / ticks_per_second.max(1) as f64;
    let state = *fields.get(STATE)?;
    let (runnable, stopped) = (state == "R", matches!(state, "T" | "t"));
    Some(ProcessSample { cpu: Duration::from_secs_f64(cpu), runnable, stopped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_proc_is_understood_whatever_the_name() {
        let line = |state: &str| format!("42 (a ) b 7) {state} 1 42 42 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 3 0 1 2 3");
        let sample = |runnable, stopped| Some(ProcessSample { cpu: Duration::from_secs(3), runnable, stopped });
        assert_eq!(parse(&line("S"), 100), sample(false, false));
        assert_eq!(parse(&line("R"), 100), sample(true, false));
        assert_eq!(parse(&line("T"), 100), sample(false, true));
        assert_eq!(parse(&line("t"), 100), sample(false, true));
        assert_eq!(parse("42 (cut) S 1", 100), None);
    }
}
