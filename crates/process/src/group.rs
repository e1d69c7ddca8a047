//! Kills the remaining process group of a worker that other code has reaped. Reads `/proc` on old kernels; holds no state.
//!
//! The kernel does not reuse the number of a group while the group has members. When the leader was reaped and the last member
//! has exited, the number is free: after all other numbers were used, another process and its group may get it. A group without
//! its leader is therefore not killed by its number alone.

#![expect(
    unsafe_code,
    reason = "a signal to the group of a pidfd, and a session outside of the namespace, have no safe interface"
)]

use crate::sample::fields;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group, test_kill_process},
};
use std::{fs, os::fd::BorrowedFd};

/// Returns the session of this process, which its forked children share. 0 is a session outside its PID namespace.
pub(crate) fn own_session() -> i32 {
    // SAFETY: the call returns a number. rustix has it too, but treats 0 as impossible.
    unsafe { libc::getsid(0) }
}

/// Kills the members of a group whose leader was reaped by other code. `leader` is a pidfd of the leader; `session` is the
/// session of the group.
pub(crate) fn kill_left(group: Pid, leader: Option<BorrowedFd<'_>>, session: i32) {
    let by_leader = leader.map_or(Err(Errno::NOSYS), kill_by_leader);
    // ESRCH means that the group has no members left. All other errors mean that this kernel or a sandbox does not support the
    // call.
    if by_leader.is_err_and(|errno| errno != Errno::SRCH) && is_left(group, session) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Kills the group that the process of the pidfd led, even if another process has its id by now. Needs Linux 6.9.
#[cfg(target_os = "linux")]
fn kill_by_leader(leader: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    let (fd, nothing) = (leader.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open, and a null pointer for the details of the signal is allowed.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, nothing, PIDFD_SIGNAL_PROCESS_GROUP) };
    match sent {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_by_leader(_: BorrowedFd<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Whether a group is the remaining group of a worker of this session, as far as an older kernel can tell.
///
/// If a process has the number as its id, the number was reused and nothing is left of the worker's group: the leader was
/// reaped, so it cannot be that process. If no process has it, the group is the worker's, with one exception: another process
/// got the number after the worker was reaped, led a group, and was reaped before this call. The session excludes most of these
/// cases, because all members of a group are in one session.
fn is_left(group: Pid, session: i32) -> bool {
    if test_kill_process(group) != Err(Errno::SRCH) {
        return false;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.any(|pid| membership(pid) == Some((group, session)))
}

/// Returns the group and the session of a process.
fn membership(pid: i32) -> Option<(Pid, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = fields(&text)?;
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some((number(2).and_then(Pid::from_raw)?, number(3)?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::{
        io::Read,
        os::{fd::AsFd, unix::process::CommandExt},
        process::{Child, ChildStdout, Command, Stdio},
    };

    /// Starts the leader of a group and a member that holds the pipe.
    #[expect(clippy::unwrap_used, reason = "these are tests")]
    fn group(script: &str) -> (Child, ChildStdout) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut leader = command.spawn().unwrap();
        let output = leader.stdout.take().unwrap();
        (leader, output)
    }

    /// R30: on a kernel that cannot kill a group by pidfd, only the remaining members of the worker's group are killed.
    #[test]
    fn r30_what_is_left_is_found_without_its_leader() {
        let session = own_session();
        let (mut leader, mut output) = group("sleep 1000 & read end");
        let number = Pid::from_child(&leader);
        assert!(!is_left(number, session), "its leader has the number");
        drop(leader.stdin.take());
        leader.wait().unwrap();
        assert!(!is_left(number, session + 1), "a group of another session");
        assert!(is_left(number, session));
        kill_left(number, None, session);
        assert_eq!(output.read(&mut [0]).unwrap(), 0, "the member is gone");
    }

    /// R30: newer kernels find the group by the pidfd of its leader, and nothing once the group is empty.
    #[test]
    fn r30_a_pidfd_means_the_group_of_a_leader_that_was_reaped() {
        let (mut leader, mut output) = group("sleep 1000 & read end");
        let number = Pid::from_child(&leader);
        let pidfd = crate::exit::pidfd(number).unwrap().unwrap();
        drop(leader.stdin.take());
        leader.wait().unwrap();
        match kill_by_leader(pidfd.as_fd()) {
            Err(Errno::INVAL) => return, // a kernel before 6.9
            sent => sent.unwrap(),
        }
        assert_eq!(output.read(&mut [0]).unwrap(), 0, "the member is gone");
    }
}
