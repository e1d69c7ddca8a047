//! What a worker does between fork and exec. Runs in the child of a process with threads: async-signal-safe calls only.

#![expect(unsafe_code, reason = "`pre_exec` and `close_range` have no safe interface")]

use crate::{
    limits, signals, usage,
    watchdog::{Record, register},
};
use rustix::{
    io::{FdFlags, fcntl_setfd, retry_on_intr, write},
    process::{Pid, getpid, getppid},
};
use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::Command,
    sync::Arc,
};

/// What the child needs before it becomes the worker.
pub(crate) struct Launch {
    /// The worker's ends of its two sockets, the only descriptors it inherits beside its standard ones.
    pub(crate) inherited: [OwnedFd; 2],
    /// Where the watchdog listens.
    pub(crate) lifeline: Arc<OwnedFd>,
    /// Where the child says that it has registered, and under which number (only it knows if exec fails), and what peak of memory it
    /// has of its host.
    pub(crate) report: OwnedFd,
    /// Who started it.
    pub(crate) host: Pid,
}

impl Launch {
    /// Lets `command` begin with these steps. The descriptors close with the command.
    pub(crate) fn prepare(self, command: &mut Command) {
        command.process_group(0);
        // SAFETY: `enter` and all it calls make plain system calls: no allocation, no locks, no panics.
        unsafe { command.pre_exec(move || self.enter()) };
    }

    fn enter(&self) -> io::Result<()> {
        // A worker whose host is killed goes with it. If the host was killed before this call there will be no signal, and the
        // parent is another. Comparing with 1 would be wrong: in a container the host may be 1, or the foster parent not.
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if getppid() != Some(self.host) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        signals::defaults_for_exec();
        inherit_nothing();
        for fd in &self.inherited {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        // Before exec, so that there is no moment in which the host could die and leave a group nobody knows. If the watchdog
        // is gone this fails; the spawner registers the group again with its successor.
        let _ = register(&self.lifeline, Record::add(getpid()));
        let (pid, peak) = (getpid().as_raw_nonzero().get().to_ne_bytes(), usage::own_peak().to_ne_bytes());
        let mut report = [0; 12];
        report[..4].copy_from_slice(&pid);
        report[4..].copy_from_slice(&peak);
        retry_on_intr(|| write(&self.report, &report))?;
        limits::give_back(); // last: it may be below the numbers of the descriptors used above
        Ok(())
    }
}

/// Marks everything beyond the standard descriptors close-on-exec, whoever opened it: a library in the host that forgot must not
/// keep another worker's socket open in this one.
#[cfg(target_os = "linux")]
fn inherit_nothing() {
    // SAFETY: changes flags only. A kernel before 5.11 refuses, and then whoever opened a descriptor is to blame.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(not(target_os = "linux"))]
fn inherit_nothing() {}
