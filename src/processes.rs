//! Processes as /proc tells of them, and signals that reach the one that is meant. Reads only; where there is no /proc it sees
//! nothing. For what breaks pools and for what tests them.

use rustix::process::Signal;
use std::{fs, thread, time::Duration};

/// How often, and how many times, a process is looked at again that has no environment yet.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: usize = 1000;

/// A process as it was seen: equal only to itself, also when its id was given to another since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Seen {
    /// Its process id.
    pub pid: u32,
    /// The name of its program, cut to 15 bytes.
    pub name: String,
    /// What it does, as in `R`, `S`, `T` (stopped), `Z` (a zombie).
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// With the pid, this names a process for good.
    started: u64,
}

/// A process as it is now; `None` if it is not there.
pub fn stat(pid: u32) -> Option<Seen> {
    let line = Line::read(pid)?;
    let small = |at: usize| u32::try_from(line.number(at)?).ok();
    let state = line.fields.first()?.chars().next()?;
    Some(Seen { pid, state, parent: small(1)?, group: small(2)?, started: line.number(19)?, name: line.name })
}

/// `/proc/PID/stat`.
struct Line {
    name: String,
    /// From the state on, which is the third field in proc(5).
    fields: Vec<String>,
}

impl Line {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold any character, these included.
        let (name, rest) = (text.split_once('(')?.1.rsplit_once(')')?.0, text.rsplit_once(')')?.1);
        Some(Self { name: name.into(), fields: rest.split_whitespace().map(str::to_owned).collect() })
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.fields.get(at)?.parse().ok()
    }
}

/// All there are, zombies included.
pub(crate) fn all() -> impl Iterator<Item = Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
}

/// Whether a process began with this in its environment: `NAME=value`. Forks and children inherit it. Waits a moment for one that is
/// between two programs.
pub(crate) fn carries(pid: u32, mark: &[u8]) -> bool {
    environment(pid).split(|byte| *byte == 0).any(|variable| variable == mark)
}

/// Empty if it has none, is gone, or is not ours to read. `execve` takes the old memory away, and lets whoever waits for it go on, before
/// the new one has its environment: what is read in between is empty, and one in four children looks so just after its start.
#[expect(clippy::disallowed_methods, reason = "`execve` gives no event")]
fn environment(pid: u32) -> Vec<u8> {
    for _ in 0..LOOKS {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { break };
        if !environment.is_empty() || !is_between_programs(pid) {
            return environment;
        }
        thread::sleep(LOOK);
    }
    Vec::new()
}

/// Whether it will have an environment, or has it by now. False for a zombie, and for a process whose environment is empty for good: its
/// bounds are equal, and where its code lies is known, which `execve` writes down last.
fn is_between_programs(pid: u32) -> bool {
    let Some(line) = Line::read(pid) else { return false };
    let (from, to, code) = (line.number(47), line.number(48), line.number(24));
    let is_empty = from == to && code != Some(0);
    line.fields.first().is_some_and(|state| state != "Z") && !is_empty
}

/// A signal to a process that carries the mark; false if it is gone. A process id may be somebody else's by now: the descriptor holds
/// on to one process, and it is looked at before it is struck.
#[cfg(target_os = "linux")]
pub(crate) fn strike(pid: u32, mark: &[u8], signal: Signal) -> bool {
    use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(named) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = pidfd_open(named, PidfdFlags::empty()) else { return false };
    carries(pid, mark) && pidfd_send_signal(process, signal).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn strike(pid: u32, _: &[u8], signal: Signal) -> bool {
    use rustix::process::{Pid, kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Command;

    /// R30, R49: a process that is left is not overlooked while it becomes another program.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "processes that a worker might have left, reaped below")]
    fn r49_a_process_between_two_programs_carries_its_mark() {
        for start in 0..500 {
            let mut left = Command::new("sleep").arg("1000").env("LEFT_BY", "nobody").spawn().unwrap();
            let carries = carries(left.id(), b"LEFT_BY=nobody");
            left.kill().unwrap();
            left.wait().unwrap();
            assert!(carries, "at start {start}");
        }
    }
}
