//! Resets signal masks and dispositions, which processes inherit through fork and exec: those of a worker before its exec, and those of
//! a host on request. Holds no state.

#![expect(unsafe_code, reason = "dispositions and masks have no safe interface")]

use std::{mem::MaybeUninit, ptr};

/// The highest signal there is.
#[cfg(target_os = "linux")]
const LAST: libc::c_int = 64;
#[cfg(not(target_os = "linux"))]
const LAST: libc::c_int = 31;

/// Gives this process the default disposition of every signal, and this thread an empty mask. For a worker before exec: otherwise it
/// inherits what its host, or the program that started the host, ignores and blocks. Async-signal-safe.
pub(crate) fn defaults_for_exec() {
    for signal in 1..=LAST {
        // SAFETY: `SIG_DFL` calls no function of this process. The call fails for SIGKILL, SIGSTOP and the C library's own signals, without effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // After the dispositions: a signal that was blocked must not run a handler of the host in the child. `std` empties the mask too,
    // but does not guarantee it.
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initializes the set; only this thread's mask is changed.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Sets `SIGCHLD` to its default, and unblocks `SIGTERM` and `SIGINT` in the calling thread and in threads that it starts later.
///
/// Call it at the start of `main`, before other threads exist, in a program that hosts workers. A process inherits ignored and blocked
/// signals from the program that starts it: with `SIGCHLD` ignored the exit status of a worker cannot be read, and `SIGTERM` and
/// `SIGINT` cannot end a program that blocks them. `herder serve` calls this function. A library must leave signals to its application.
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
