//! Forks this process. Every child of this crate starts here.

#![expect(unsafe_code, reason = "fork and signal masks have no safe interface")]

use crate::reaper;
use rustix::process::Pid;
use std::{convert::Infallible, io, mem::MaybeUninit, ptr};

/// Forks this process. The child runs `child` with all signals blocked. The parent gets the child's process id, and [`reaper`]
/// does not reap that process.
///
/// # Safety
/// The host has threads, so `child` may only make async-signal-safe calls: plain system calls, no allocation, no locks, no
/// logging, no panics, and no drops of values from the host.
pub(crate) unsafe fn fork(child: impl FnOnce() -> Infallible) -> io::Result<Pid> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // A signal after the fork, but before the child has set its own dispositions, would run the host's handlers in the child,
    // on descriptors that both share. All signals are therefore blocked across the fork, and stay blocked in the child.
    // SAFETY: `sigfillset` initializes `all`; `pthread_sigmask` reads it, initializes `before`, and changes only this thread.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let forked = reaper::registering(|| {
        // SAFETY: the child calls only `child`, for which the caller is responsible. It never returns, so it does not unlock
        // what is locked here.
        match unsafe { libc::fork() } {
            0 => match child() {},
            forked => Pid::from_raw(forked.max(0)).ok_or_else(io::Error::last_os_error),
        }
    });
    // SAFETY: `before` was initialized above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    forked
}

/// Ends a forked child without running any code of the host.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: does not return, and runs no handler and no destructor.
    unsafe { libc::_exit(code) }
}
