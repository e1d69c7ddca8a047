//! The peak memory of a process, as the system counts it. Two system calls that rustix does not have; no state.

#![expect(unsafe_code, reason = "`getrusage` and `wait4` have no safe interface")]

use rustix::process::Pid;
use std::mem::MaybeUninit;

/// The unit of `ru_maxrss`, in bytes.
const UNIT: u64 = if cfg!(target_os = "linux") { 1024 } else { 1 };
/// The peak of a worker is its own only if it exceeds that of the fork by more than the error of the system's counters.
const SLACK: u64 = 1 << 20;

/// Returns the peak memory of this process in bytes, or 0 if it is unknown. Async-signal-safe.
///
/// Between fork and exec it returns the peak inherited from the host, which Linux continues to count as the child's own after
/// exec.
pub(crate) fn own_peak() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable and has the type that the call fills in; all zeros are a valid value if the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    bytes(&usage)
}

/// Reaps a child that has exited, and returns its peak memory in bytes. `None` if other code has reaped it.
pub(crate) fn reap(pid: Pid) -> Option<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: a null status is allowed; `usage` is as above. The call waits for this one child and does not block.
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

/// Returns the peak if it is certainly the worker's own, given the peak inherited from the host.
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
