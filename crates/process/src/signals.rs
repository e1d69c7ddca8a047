//! Resets signal masks and dispositions, which processes inherit through fork and exec: for a worker before its exec, and for a
//! host on request. Holds no state.

#![expect(unsafe_code, reason = "dispositions and masks have no safe interface")]

use std::{mem::MaybeUninit, ptr};

/// The highest signal number.
#[cfg(target_os = "linux")]
const LAST: libc::c_int = 64;
#[cfg(not(target_os = "linux"))]
const LAST: libc::c_int = 31;

/// Restores the default disposition of every signal in this process, and empties the signal mask of this thread. Called by a
/// worker before exec, which otherwise inherits the ignored and blocked signals of its host. Async-signal-safe.
pub(crate) fn defaults_for_exec() {
    for signal in 1..=LAST {
        // SAFETY: `SIG_DFL` calls no function of this process. The call fails without effect for SIGKILL, SIGSTOP and the
        // signals of the C library.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // The mask comes after the dispositions: a signal that was blocked must not run a handler of the host in the child. `std`
    // empties the mask too, but does not guarantee it.
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initializes the set; only the mask of this thread is changed.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Restores the default disposition of `SIGCHLD`, and unblocks `SIGTERM` and `SIGINT` in the calling thread and in the threads
/// that it starts later.
///
/// Call it at the start of `main`, before other threads exist, in a program that hosts workers, as `herder serve` does. A
/// process inherits ignored and blocked signals from the program that starts it: with `SIGCHLD` ignored, the exit status of a
/// worker cannot be read; with `SIGTERM` and `SIGINT` blocked, these signals cannot end the program. A library must leave
/// signals to its application.
pub fn reset_signals() {
    let mut ending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `SIG_DFL` calls no function, `sigemptyset` initializes the set, and only the mask of this thread is changed.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigemptyset(ending.as_mut_ptr());
        libc::sigaddset(ending.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(ending.as_mut_ptr(), libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, ending.as_ptr(), ptr::null_mut());
    }
}
