//! Reaps orphans that become children of this process, as the first process of a container (PID 1) or a subreaper must. Holds
//! the ids of the children that this crate started, which it does not reap.

#![expect(unsafe_code, reason = "rustix does not tell which child a status is of")]

use crate::{lock::lock, sample::fields};
use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, getpid, waitid},
};
use std::{fs, io, mem::MaybeUninit, sync::Mutex};

/// The children that this crate started and has not reaped. An id that other code has freed can be listed twice for a moment:
/// for the process that had it, and for the process that has it now.
static STARTED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Registers the child that `fork` starts. No orphan is reaped meanwhile, because the child can exit before its id is
/// registered.
pub(crate) fn registering(fork: impl FnOnce() -> io::Result<Pid>) -> io::Result<Pid> {
    let mut started = lock(&STARTED);
    let pid = fork()?;
    started.push(pid);
    Ok(pid)
}

/// Registers a child that the template has forked for this process. The child waits for the host before it runs any code of the
/// application. If it was killed before, it may have been reaped as an orphan, and its start fails.
pub(crate) fn register(pid: Pid) {
    lock(&STARTED).push(pid);
}

/// Reaps a child with `reap` and removes it from the list. No orphan is reaped meanwhile, because an orphan can get the id as
/// soon as it is free.
pub(crate) fn unregistering<T>(pid: Pid, reap: impl FnOnce() -> T) -> T {
    let mut started = lock(&STARTED);
    let reaped = reap();
    if let Some(at) = started.iter().position(|&known| known == pid) {
        started.swap_remove(at);
    }
    reaped
}

/// Reaps ended children of this process that neither Herder nor the application started (orphans), and returns their
/// number. Does not block.
///
/// The system makes orphans children of PID 1 (of the machine, or of a container), or of a subreaper
/// (`PR_SET_CHILD_SUBREAPER`). They stay zombies until that process reaps them. Call this function once at the start and
/// after each SIGCHLD, as `herder serve` does when it is PID 1. Herder's own children are not reaped, so the exit statuses
/// of workers are not lost.
///
/// `is_own` is called with the process id of each ended child that Herder did not start. It must return true for children
/// that the application started itself and will wait for, since the system does not distinguish them from orphans. The
/// application must register its child before the child can end. An application that starts no processes returns false.
/// `is_own` is called with a lock held, and must not start pools.
pub fn reap_orphans(mut is_own: impl FnMut(u32) -> bool) -> usize {
    let mut count = 0;
    // The system shows only the first child that has exited, so the loop stops at a child that must not be reaped.
    while let Some(pid) = first_ended() {
        match reap_orphan(pid, &mut is_own) {
            true => count += 1,
            false => return count + reap_listed(&mut is_own),
        }
    }
    count
}

/// Returns the first child that has exited, without reaping it.
fn first_ended() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable and has the type that the call fills in. All zeros are a valid value, which remains if no
    // child has exited; for a child, `si_pid` is filled in.
    let first = unsafe {
        let failed = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) != 0;
        if failed { 0 } else { info.assume_init().si_pid() }
    };
    Pid::from_raw(first) // with WNOHANG the call cannot be interrupted
}

/// Reaps the other orphans, as `/proc` lists them. Without `/proc` they wait for the next call.
fn reap_listed(is_own: &mut impl FnMut(u32) -> bool) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| is_ended_child(pid)).filter_map(Pid::from_raw).filter(|&pid| reap_orphan(pid, is_own)).count()
}

fn is_ended_child(pid: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = getpid().as_raw_nonzero().to_string();
    fields(&text).is_some_and(|(_, fields)| fields.starts_with(&["Z", &parent]))
}

/// Reaps a child unless this crate or the application started it, and returns whether it did. Another process may have the id
/// by now; it is reaped if it is an exited child, which is correct too.
fn reap_orphan(pid: Pid, is_own: &mut impl FnMut(u32) -> bool) -> bool {
    let started = lock(&STARTED);
    if started.contains(&pid) || is_own(pid.as_raw_nonzero().get().unsigned_abs()) {
        return false;
    }
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(reaped) => return reaped.is_some(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
