//! Distinguishes a process from its forked copies. Holds the number of forks between the first process and this one.
//!
//! A forked copy has one thread: the threads that run pools, start and stop workers, and write to the log do not exist in it.
//! Everything that would wait for them is therefore refused.

#![expect(unsafe_code, reason = "`pthread_atfork` has no safe interface, nor has `fork`, for tests")]

use std::{
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Whether forks are counted.
static COUNTED: LazyLock<bool> = LazyLock::new(|| {
    // SAFETY: the handler only increments an atomic number, which is allowed in a copy of a process with threads.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) == 0 }
});

/// Runs in each copy before `fork` returns there.
extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Identifies the process that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMark {
    forks: u32,
    /// Used only if forks cannot be counted.
    pid: Option<u32>,
}

impl ProcessMark {
    /// Returns the mark of this process.
    pub fn here() -> Self {
        let pid = (!*COUNTED).then(process::id);
        Self { forks: FORKS.load(Ordering::Relaxed), pid }
    }

    /// Returns whether this process created the mark; false in copies of that process. Reads one number in memory, without a
    /// system call.
    pub fn is_here(self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed) && self.pid.is_none_or(|pid| pid == process::id())
    }
}

/// Forks this process, runs `body` in the copy, and returns the exit code of the copy: the result of `body`, 255 if it
/// panicked, or `None` if a signal ended it. A signal ends it after a minute. Blocks until the copy has exited. For tests of
/// processes that fork.
///
/// # Errors
/// Those of `fork` and `waitpid`.
#[cfg(feature = "inspect")]
pub fn in_fork(body: impl FnOnce() -> u8) -> std::io::Result<Option<i32>> {
    use rustix::process::{Pid, WaitOptions, waitpid};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    // SAFETY: code that `body` calls in the copy may wait for a lock that another thread held; SIGALRM ends the copy then.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        // SAFETY: `alarm` and `_exit` are allowed in a copy of a process with threads; no destructor of the process runs twice.
        unsafe {
            libc::alarm(60);
            libc::_exit(catch_unwind(AssertUnwindSafe(body)).map_or(255, i32::from));
        }
    }
    let pid = Pid::from_raw(forked.max(0)).ok_or_else(std::io::Error::last_os_error)?;
    let ended = waitpid(Some(pid), WaitOptions::empty())?;
    Ok(ended.and_then(|(_, status)| status.exit_status()))
}

#[cfg(all(test, feature = "inspect"))]
mod tests {
    use super::*;

    /// R30: a copy is not the process that created the mark, and has a mark of its own.
    #[test]
    fn r30_a_forked_copy_is_another_process() {
        let mark = ProcessMark::here();
        let code = in_fork(|| u8::from(!mark.is_here()) + 2 * u8::from(ProcessMark::here().is_here()));
        assert_eq!(code.unwrap(), Some(3));
        assert!(mark.is_here() && mark == ProcessMark::here());
    }
}
