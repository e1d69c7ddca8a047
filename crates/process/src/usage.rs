//! The peak of a process's main memory, as the system counts it. Two system calls that rustix leaves out; no state.

#![expect(unsafe_code, reason = "`getrusage` and `wait4` have no safe interface")]

use rustix::process::Pid;
use std::mem::MaybeUninit;

/// What `ru_maxrss` counts in.
const UNIT: u64 = if cfg!(target_os = "linux") { 1024 } else { 1 };
/// A worker's peak tells something only beyond what the fork had, by more than what the system's counters may be off.
const SLACK: u64 = 1 << 20;

/// The peak of this process until now, in bytes; 0 if nobody can tell. Async-signal-safe: between fork and exec it tells what the
/// child has of its host, which Linux goes on counting as the child's own after exec.
pub(crate) fn own_peak() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable and of the type the call fills in; all zeros are a valid value of it, if it fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    bytes(&usage)
}

/// Frees a child that has ended, and gives its peak in bytes. `None` if somebody else has freed it.
pub(crate) fn reap(pid: Pid) -> Option<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: a null status is allowed; `usage` is as above. It waits for this one child, and does not block.
        let (reaped, usage) = unsafe {
            let number = pid.as_raw_nonzero().get();
            let reaped = libc::wait4(number, std::ptr::null_mut(), libc::WNOHANG, usage.as_mut_ptr());
            (reaped, usage.assume_init())
        };
        match reaped {
            1.. => return Some(bytes(&usage)),
            -1 if rustix::io::Errno::from_io_error(&std::io::Error::last_os_error())
                == Some(rustix::io::Errno::INTR) => {}
            _ => return None,
        }
    }
}

/// The peak that is surely the worker's own, given what the fork had.
pub(crate) fn beyond(peak: u64, inherited: u64) -> Option<u64> {
    (peak > inherited.saturating_add(SLACK)).then_some(peak)
}

fn bytes(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_that_may_be_the_hosts_says_nothing() {
        assert_eq!(beyond(100 << 20, 20 << 20), Some(100 << 20));
        assert_eq!((beyond(20 << 20, 20 << 20), beyond(1, u64::MAX)), (None, None));
        assert!(own_peak() > 1 << 20, "the test itself has more than a megabyte");
    }
}
