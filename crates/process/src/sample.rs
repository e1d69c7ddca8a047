//! The CPU time, the memory and the state of a process. Reads one small file; holds no state.

use std::time::Duration;

/// The CPU time, the memory and the state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessSample {
    /// The CPU time of all threads, in steps of the system's clock tick (10 ms on Linux).
    pub cpu: Duration,
    /// The resident memory in bytes, shared pages included (`RSS` of ps).
    pub resident_bytes: u64,
    /// Whether the main thread runs or waits for a CPU.
    pub runnable: bool,
    /// Whether the process is stopped, by `SIGSTOP`, a similar signal, or a debugger.
    pub stopped: bool,
}

/// Indices in the [`fields`] of `/proc/PID/stat`: state, the ticks in user and system mode, and the resident pages.
const STATE: usize = 0;
const USER: usize = 11;
const SYSTEM: usize = 12;
const RESIDENT: usize = 21;

/// Reads the sample of a process. `None` without `/proc`, and for a process that has exited.
pub(crate) fn read_sample(pid: u32) -> Option<ProcessSample> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)
}

/// Returns the name in a `/proc/PID/stat` and the fields after it: field `n` of proc(5) has index `n - 3`.
pub(crate) fn fields(stat: &str) -> Option<(&str, Vec<&str>)> {
    // The name is in parentheses and may contain any character, including parentheses.
    let (head, fields) = stat.rsplit_once(')')?;
    Some((head.split_once('(')?.1, fields.split_ascii_whitespace().collect()))
}

fn parse(stat: &str, ticks_per_second: u64, page_size: u64) -> Option<ProcessSample> {
    let (_, fields) = fields(stat)?;
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let cpu = (number(USER)? + number(SYSTEM)?) as f64 / ticks_per_second.max(1) as f64;
    let resident_bytes = number(RESIDENT)?.saturating_mul(page_size);
    let state = *fields.get(STATE)?;
    let (runnable, stopped) = (state == "R", matches!(state, "T" | "t"));
    Some(ProcessSample { cpu: Duration::from_secs_f64(cpu), resident_bytes, runnable, stopped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_proc_is_understood_whatever_the_name() {
        let line = |state: &str| format!("42 (a ) b 7) {state} 1 42 42 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 3 0 1 2 3");
        let (cpu, resident_bytes) = (Duration::from_secs(3), 3 * 4096);
        let sample = |runnable, stopped| Some(ProcessSample { cpu, resident_bytes, runnable, stopped });
        assert_eq!(parse(&line("S"), 100, 4096), sample(false, false));
        assert_eq!(parse(&line("R"), 100, 4096), sample(true, false));
        assert_eq!(parse(&line("T"), 100, 4096), sample(false, true));
        assert_eq!(parse(&line("t"), 100, 4096), sample(false, true));
        assert_eq!(parse("42 (cut) S 1", 100, 4096), None);
    }
}
