//! Processes as /proc tells of them, and signals that reach the one that is meant. Reads only; where there is no /proc it sees
//! nothing. For what breaks pools and for what tests them.

use rustix::process::Signal;
use std::fs;

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
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold any character, these included.
    let (name, rest) = (text.split_once('(')?.1.rsplit_once(')')?.0, text.rsplit_once(')')?.1);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let small = |at: usize| u32::try_from(number(at)?).ok();
    let state = fields.first()?.chars().next()?;
    Some(Seen { pid, name: name.into(), state, parent: small(1)?, group: small(2)?, started: number(19)? })
}

/// All there are, zombies included.
pub(crate) fn all() -> impl Iterator<Item = Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
}

/// Whether a process began with this in its environment: `NAME=value`. Forks and children inherit it.
pub(crate) fn carries(pid: u32, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark)
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
