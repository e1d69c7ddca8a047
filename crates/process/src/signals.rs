//! Signal masks and dispositions, both of which pass through fork and exec: a worker's before its exec, and those of a host that asks
//! for it. Holds no state.

#![expect(unsafe_code, reason = "dispositions and masks have no safe interface")]

use std::{mem::MaybeUninit, ptr};

/// The highest signal there is.
#[cfg(target_os = "linux")]
const LAST: libc::c_int = 64;
#[cfg(not(target_os = "linux"))]
const LAST: libc::c_int = 31;

/// Gives this process the default disposition of every signal, and this thread an empty mask. For a worker before exec: otherwise it
/// begins with what its host, or whoever started that, ignores and blocks. Async-signal-safe.
pub(crate) fn defaults_for_exec() {
    for signal in 1..=LAST {
        // SAFETY: `SIG_DFL` is no function of ours. SIGKILL, SIGSTOP and those of the C library are refused, which changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // After the dispositions: a signal that was blocked must not run a handler of the host's in its child. `std` empties the mask too
    // today, but does not promise it.
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initializes the set; only this thread's mask is changed.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Sets `SIGCHLD` to its default, and unblocks `SIGTERM` and `SIGINT` in the calling thread and in threads that it starts later.
///
/// For the beginning of `main`, before there are other threads, of a program that is started by others and hosts workers: with `SIGCHLD`
/// ignored, which a process inherits, nobody can read how a worker ended; blocked signals can't end the program. `herder serve` calls
/// it. A library must leave both to its application.
pub fn reset_signals() {
    let mut ending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `SIG_DFL` is no function of ours, `sigemptyset` initializes the set, and only this thread's mask is changed.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigemptyset(ending.as_mut_ptr());
        libc::sigaddset(ending.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(ending.as_mut_ptr(), libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, ending.as_ptr(), ptr::null_mut());
    }
}
