//! Finds processes by a mark in their environment, which forks and children inherit; and zombies and descriptors. For what tests pools
//! and what breaks them. Reads `/proc` only; where there is none it finds nothing. Feature `census`.

use crate::{
    Signal,
    sample::{self, fields},
};
use std::{collections::BTreeMap, fs, process, thread, time::Duration};

/// The variable that marks the processes of a [`MarkedProcesses`].
pub const MARK: &str = "HERDER_MARK";

/// Interval and maximum number of retries while a process has no environment yet.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: usize = 1000;

/// A snapshot of a process. Snapshots of two processes are never equal, even if the process id was reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProcessInfo {
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
    /// When it started, in clock ticks since boot: identifies the process together with the process id.
    started: u64,
}

/// The processes that were started with one value of [`MARK`].
#[derive(Clone, Debug)]
pub struct MarkedProcesses(Vec<u8>);

impl MarkedProcesses {
    /// Creates a census of the processes whose environment has this value for [`MARK`].
    pub fn new(mark: &str) -> Self {
        Self(format!("{MARK}={mark}").into_bytes())
    }

    /// Returns those that are running: also children that were orphaned and have another parent now. Not this process, and no zombies.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let own = process::id();
        all().filter(|seen| seen.pid != own && seen.state != 'Z' && self.has(seen.pid)).collect()
    }

    /// Returns whether a process is one of them. Waits up to 1 s for a process in the middle of `execve`.
    pub fn has(&self, pid: u32) -> bool {
        environment(pid).split(|byte| *byte == 0).any(|variable| variable == self.0)
    }

    /// Sends a signal to one of them; false if it is gone or none of them. The process id may have been reused: the pidfd refers to one
    /// process, whose mark is checked before it is signalled.
    #[cfg(target_os = "linux")]
    pub fn signal(&self, pid: u32, signal: Signal) -> bool {
        use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
        let Some(named) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(process) = pidfd_open(named, PidfdFlags::empty()) else { return false };
        self.has(pid) && pidfd_send_signal(process, signal).is_ok()
    }

    /// Sends a signal to a process; false if it is gone. Does not check the mark, since only Linux has `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub fn signal(&self, pid: u32, signal: Signal) -> bool {
        use rustix::process::{Pid, kill_process};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}

/// Returns a process as it is now; `None` if there is none of this id.
pub fn stat(pid: u32) -> Option<ProcessInfo> {
    let text = stat_of(pid)?;
    let (name, fields) = fields(&text)?;
    let small = |at: usize| fields.get(at)?.parse().ok();
    let (state, started) = (fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?);
    Some(ProcessInfo { pid, state, parent: small(1)?, group: small(2)?, started, name: name.into() })
}

/// Returns all processes of the machine, zombies included.
pub fn all() -> impl Iterator<Item = ProcessInfo> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
}

/// Returns the children of a process, zombies included.
pub fn children(parent: u32) -> impl Iterator<Item = ProcessInfo> {
    all().filter(move |seen| seen.parent == parent)
}

/// Returns the children of this process that have ended and were not waited for.
pub fn zombies() -> Vec<ProcessInfo> {
    children(process::id()).filter(|seen| seen.state == 'Z').collect()
}

/// Returns the open descriptors of a process and what each refers to, such as `pipe:[4711]`. Empty if the process is not ours to read.
pub fn descriptors(pid: u32) -> BTreeMap<u32, String> {
    let folder = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    // All names first: one's own folder is itself open while it is read, and is closed when the links are.
    let names: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let target = |fd: u32| Some(fs::read_link(format!("{folder}/{fd}")).ok()?.to_string_lossy().into_owned());
    names.into_iter().filter_map(|fd| Some((fd, target(fd)?))).collect()
}

/// Makes this process, all its threads, another user and group, without supplementary groups, as a server does that was started as root.
///
/// # Errors
/// It is not root.
#[expect(unsafe_code, reason = "these calls have no safe interface for all threads of a process")]
pub fn change_user(id: u32) -> std::io::Result<()> {
    // SAFETY: plain system calls, which the C library makes in every thread.
    let results = unsafe { [libc::setgroups(0, std::ptr::null()), libc::setgid(id), libc::setuid(id)] };
    if results == [0; 3] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Returns how many bytes a process has in main memory, shared pages too (`RSS` of ps); `None` if it is gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    sample::resident_bytes(pid)
}

fn stat_of(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// Returns the environment of a process; empty if it has none, is gone, or is not ours to read. During `execve`, `/proc/PID/environ` is
/// empty for a moment; about a quarter of new children are seen in this state, so this retries.
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

/// Returns whether a process is in the middle of `execve`. False for a zombie, and for a process whose environment is really empty: its
/// bounds are equal, and it has a code address, which `execve` sets last.
fn is_between_programs(pid: u32) -> bool {
    let text = stat_of(pid);
    let Some((_, fields)) = text.as_deref().and_then(fields) else { return false };
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let (from, to, code) = (number(47), number(48), number(24));
    let is_empty = from == to && code != Some(0);
    fields.first().is_some_and(|state| *state != "Z") && !is_empty
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Command;

    /// R30, R49: a process that is left is not overlooked while it becomes another program.
    #[test]
    fn r49_a_process_between_two_programs_carries_its_mark() {
        let processes = MarkedProcesses::new("nobody");
        for start in 0..500 {
            let mut left = Command::new("sleep").arg("1000").env(MARK, "nobody").spawn().unwrap();
            let has = processes.has(left.id());
            left.kill().unwrap();
            left.wait().unwrap();
            assert!(has, "at start {start}");
        }
    }
}
