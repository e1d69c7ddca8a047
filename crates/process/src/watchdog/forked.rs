//! The watchdog process itself: forked from the host, never calls exec, kills the listed groups when the host has exited. It
//! keeps the user that the host had at the fork, and signals groups for a host that has changed its user.
//!
//! The host has threads, so the forked child may only make async-signal-safe calls until it exits: system calls through rustix
//! and libc, no allocation, no locks, no logging, no panics, no drops of values from the host.

#![expect(unsafe_code, reason = "fork and descriptors by number have no safe interface")]

use super::record::{Record, Table};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    process::{Pid, Signal, kill_process_group, setsid},
};
use std::{
    convert::Infallible,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// Forks the watchdog with its end of the lifeline and the current groups.
pub(super) fn fork(lifeline: &OwnedFd, mut table: Box<Table>) -> io::Result<Pid> {
    let host = host_descriptor();
    let host_fd = host.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: the child calls only `watch`, which makes no call that is forbidden after a fork of a process with threads.
    unsafe { crate::fork::fork(|| watch(lifeline.as_raw_fd(), host_fd, &mut table)) }
}

/// Returns a descriptor that shows the exit of the host even if other code has forked the host and holds a copy of its
/// lifeline.
#[cfg(target_os = "linux")]
fn host_descriptor() -> Option<OwnedFd> {
    rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn host_descriptor() -> Option<OwnedFd> {
    None
}

/// The body of the watchdog process.
fn watch(lifeline: RawFd, host: RawFd, table: &mut Table) -> Infallible {
    detach_from_host(lifeline, host);
    // SAFETY: both were open before the fork, nothing in this process closes them, and `host` is used only if it is valid.
    let (line, host) = unsafe {
        (BorrowedFd::borrow_raw(lifeline), (host >= 0).then_some(host).map(|host| BorrowedFd::borrow_raw(host)))
    };
    let _ = send(line, &[1], SendFlags::empty());
    while let WatchState::Running = wait(line, host, table) {}
    for group in table.groups() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    crate::fork::exit(0)
}

/// Detaches the process from the session, signals, descriptors, directory and name of the host.
fn detach_from_host(lifeline: RawFd, host: RawFd) {
    let _ = setsid();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: async-signal-safe, and `SIG_IGN` calls no function.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    close_all_but(lifeline, host);
    // SAFETY: the path is a constant that ends with a zero. The result does not matter: the call only allows file systems to be
    // unmounted.
    let _ = unsafe { libc::chdir(c"/".as_ptr()) };
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"herder-watchdog");
}

enum WatchState {
    Running,
    Done,
}

/// Waits for records and applies them. Records that were sent before the host exited are read before the exit counts.
fn wait(line: BorrowedFd<'_>, host: Option<BorrowedFd<'_>>, table: &mut Table) -> WatchState {
    // Without a second descriptor the lifeline is listed twice, which has no effect.
    let mut fds =
        [PollFd::from_borrowed_fd(line, PollFlags::IN), PollFd::from_borrowed_fd(host.unwrap_or(line), PollFlags::IN)];
    if poll(&mut fds, None).is_err() {
        return WatchState::Running;
    }
    let host_is_gone = host.is_some() && !fds[1].revents().is_empty();
    let mut bytes = [0_u8; 512 * Record::SIZE];
    loop {
        match recv(line, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return WatchState::Done,
            Ok((_, count)) => table.apply(bytes.get(..count).unwrap_or(&[]), |group, signal| {
                let _ = kill_process_group(group, signal);
            }),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if host_is_gone => return WatchState::Done,
            Err(Errno::AGAIN) => return WatchState::Running,
            Err(_) => return WatchState::Done,
        }
    }
}

/// Closes every descriptor but two; the second may be -1.
fn close_all_but(one: RawFd, other: RawFd) {
    let (low, high) = (one.min(other), one.max(other));
    close_range(0, low - 1);
    close_range(low.max(-1) + 1, high - 1);
    close_range(high + 1, RawFd::MAX);
}

#[cfg(target_os = "linux")]
fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: nothing in this process uses any other descriptor than the two.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed != 0 {
        close_each(first, last);
    }
}

#[cfg(not(target_os = "linux"))]
use close_each as close_range;

/// Closes descriptors one by one, up to the current limit.
fn close_each(first: RawFd, last: RawFd) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills in the given struct.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    // The limit can be a thousand million; no host has that many open descriptors.
    let open = RawFd::try_from(limit.rlim_cur.min(1 << 20)).unwrap_or(1 << 20);
    for fd in first..=last.min(open) {
        // SAFETY: nothing in this process uses the descriptor.
        unsafe { libc::close(fd) };
    }
}
