//! Finds processes by a mark in their environment, which forked processes inherit, and lists zombies and open descriptors. For
//! tests of pools and for fault injection. Reads `/proc`; without `/proc` it finds nothing. Feature `inspect`.

use crate::{
    Signal,
    sample::{fields, read_sample},
};
use std::{collections::BTreeMap, fs, process, thread, time::Duration};

/// The environment variable that marks the processes of a [`MarkedProcesses`].
pub const MARK: &str = "HERDER_MARK";

/// Interval and maximum number of retries while a process has no environment yet.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: usize = 1000;

/// A snapshot of a process. Snapshots of two processes are never equal, even if the process id was reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The process id.
    pub pid: u32,
    /// The name of the program, truncated to 15 bytes.
    pub name: String,
    /// The state of the process, such as `R`, `S`, `T` (stopped) or `Z` (zombie).
    pub state: char,
    /// The id of the parent process.
    pub parent: u32,
    /// The id of the process group.
    pub group: u32,
    /// The start time in clock ticks since boot. It identifies the process together with the process id.
    started: u64,
}

/// The processes that were started with one value of [`MARK`].
#[derive(Clone, Debug)]
pub struct MarkedProcesses(Vec<u8>);

impl MarkedProcesses {
    /// Selects the processes whose environment has this value for [`MARK`].
    pub fn new(mark: &str) -> Self {
        Self(format!("{MARK}={mark}").into_bytes())
    }

    /// Returns the marked processes that are running, including orphans that have another parent now. Excludes this process and
    /// zombies.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let own = process::id();
        all().filter(|seen| seen.pid != own && seen.state != 'Z' && self.has(seen.pid)).collect()
    }

    /// Returns whether a process is marked. Waits up to 1 s for a process in the middle of `execve`.
    pub fn has(&self, pid: u32) -> bool {
        environment(pid).split(|byte| *byte == 0).any(|variable| variable == self.0)
    }

    /// Sends a signal to a marked process. Returns false if the process has exited or is not marked. The process id may have
    /// been reused, so the mark is checked on a pidfd, which refers to one process.
    #[cfg(target_os = "linux")]
    pub fn signal(&self, pid: u32, signal: Signal) -> bool {
        use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
        let Some(named) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(process) = pidfd_open(named, PidfdFlags::empty()) else { return false };
        self.has(pid) && pidfd_send_signal(process, signal).is_ok()
    }

    /// Sends a signal to a process. Returns false if it has exited. Does not check the mark, because only Linux has `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub fn signal(&self, pid: u32, signal: Signal) -> bool {
        use rustix::process::{Pid, kill_process};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}

/// Returns the current state of a process; `None` if there is no process with this id.
pub fn stat(pid: u32) -> Option<ProcessInfo> {
    let text = stat_of(pid)?;
    let (name, fields) = fields(&text)?;
    let small = |at: usize| fields.get(at)?.parse().ok();
    let (state, started) = (fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?);
    Some(ProcessInfo { pid, state, parent: small(1)?, group: small(2)?, started, name: name.into() })
}

/// Returns all processes of the machine, including zombies.
pub fn all() -> impl Iterator<Item = ProcessInfo> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
}

/// Returns the children of a process, including zombies.
pub fn children(parent: u32) -> impl Iterator<Item = ProcessInfo> {
    all().filter(move |seen| seen.parent == parent)
}

/// Returns the children of this process that have exited and were not waited for.
pub fn zombies() -> Vec<ProcessInfo> {
    children(process::id()).filter(|seen| seen.state == 'Z').collect()
}

/// Returns the open descriptors of a process and what each refers to, such as `pipe:[4711]`. Empty if this process may not read
/// them.
pub fn descriptors(pid: u32) -> BTreeMap<u32, String> {
    let folder = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    // Lists all names first: the directory itself is an open descriptor while it is read, and is closed before the links are
    // read.
    let names: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let target = |fd: u32| Some(fs::read_link(format!("{folder}/{fd}")).ok()?.to_string_lossy().into_owned());
    names.into_iter().filter_map(|fd| Some((fd, target(fd)?))).collect()
}

/// Changes the user and the group of this process, in all its threads, and drops its supplementary groups, as a server that was
/// started as root does.
///
/// # Errors
/// The process does not run as root.
#[expect(unsafe_code, reason = "these calls have no safe interface for all threads of a process")]
pub fn change_user(id: u32) -> std::io::Result<()> {
    // SAFETY: plain system calls, which the C library makes in every thread.
    let results = unsafe { [libc::setgroups(0, std::ptr::null()), libc::setgid(id), libc::setuid(id)] };
    if results == [0; 3] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Returns the resident memory of a process in bytes, shared pages included (`RSS` of ps); `None` if it has exited.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    read_sample(pid).map(|sample| sample.resident_bytes)
}

fn stat_of(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// Returns the environment of a process; empty if it has none, has exited, or may not be read. During `execve`,
/// `/proc/PID/environ` is empty for a moment. About a quarter of new children are seen in this state, so this function retries.
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

/// Returns whether a process is in the middle of `execve`. False for a zombie, and for a process whose environment is really
/// empty: its bounds are equal, and it has a code address, which `execve` sets last.
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

    /// R30, R49: a process that is executing another program is not missed.
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
