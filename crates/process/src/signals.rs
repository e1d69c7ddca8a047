//! Resets signal masks and dispositions, which processes inherit through fork and exec: for a worker before its exec, and for a
//! host on request. Passes a terminal on, which needs a blocked signal. Holds no state.

#![expect(unsafe_code, reason = "dispositions and masks have no safe interface")]

use rustix::{io::Errno, process::Pid, termios::tcsetpgrp};
use std::{io, mem::MaybeUninit, os::fd::AsFd, ptr};

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

/// Makes a process group the foreground group of a terminal: only its processes may read the terminal, and they get the signals
/// of its keys, such as SIGINT for Ctrl-C.
///
/// Works in a background process too, which the system would otherwise stop with SIGTTOU.
///
/// # Errors
/// Fails if the terminal is not the controlling terminal of this process, or if no process of its session is in the group.
pub fn set_foreground(terminal: impl AsFd, group: u32) -> io::Result<()> {
    let group = i32::try_from(group).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    let (mut stop, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
    // SAFETY: `sigemptyset` initializes both sets. Only the mask of this thread is changed.
    unsafe {
        libc::sigemptyset(stop.as_mut_ptr());
        libc::sigaddset(stop.as_mut_ptr(), libc::SIGTTOU);
        libc::sigemptyset(before.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, stop.as_ptr(), before.as_mut_ptr());
    }
    let done = tcsetpgrp(terminal, group);
    // SAFETY: the mask is the one from above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    Ok(done?)
}
