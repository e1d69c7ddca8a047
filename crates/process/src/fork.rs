//! Forks this process: every child of this crate begins here.

#![expect(unsafe_code, reason = "fork and signal masks have no safe interface")]

use crate::reaper;
use rustix::process::Pid;
use std::{convert::Infallible, io, mem::MaybeUninit, ptr};

/// Forks. The child runs `child` with every signal blocked; the parent gets the child's process id, and [`reaper`] does not reap that process.
///
/// # Safety
/// The host has threads, so `child` may only make async-signal-safe calls: plain system calls, no allocation, no locks, no
/// logging, no panics, and no drops of what the host made.
pub(crate) unsafe fn fork(child: impl FnOnce() -> Infallible) -> io::Result<Pid> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // A signal between the fork and the child's own dispositions would run the host's handlers in the child, on descriptors
    // both share. So all are blocked across the fork, and stay blocked in the child.
    // SAFETY: `sigfillset` initialises `all`; `pthread_sigmask` reads it, initialises `cgroup`, and changes only this thread.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let forked = reaper::registering(|| {
        // SAFETY: the child calls `child` alone, which the caller answers for. It never returns, so it does not unlock what is
        // locked here.
        match unsafe { libc::fork() } {
            0 => match child() {},
            forked => Pid::from_raw(forked.max(0)).ok_or_else(io::Error::last_os_error),
        }
    });
    // SAFETY: `cgroup` was initialised above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    forked
}

/// Ends a forked child without running anything of the host's.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it does not return, and runs no handler and no destructor.
    unsafe { libc::_exit(code) }
}
