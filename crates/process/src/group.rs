//! Kills what is left of the process group of a worker that somebody else has reaped. Reads `/proc` where the kernel is old; holds no
//! state.
//!
//! While a group has members, the kernel does not reuse its number. But when the leader was reaped and the last member has ended, the
//! number is free. Once the kernel has used all other numbers, another process gets it, and its group may have it, too. So a group without
//! its leader is not killed by its number alone.

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

/// The session this process is in, and so are the processes that it forks. 0 is one outside of its PID namespace.
pub(crate) fn own_session() -> i32 {
    // SAFETY: the call reads a number. rustix has it, but takes 0 for impossible.
    unsafe { libc::getsid(0) }
}

/// Kills the members of a group whose leader was reaped by other code. `leader` is a pidfd of the leader, `session` the session of the group.
pub(crate) fn kill_left(group: Pid, leader: Option<BorrowedFd<'_>>, session: i32) {
    let by_leader = leader.map_or(Err(Errno::NOSYS), kill_by_leader);
    // ESRCH says that nobody is left in it. All other errors mean that this kernel, or a sandbox, does not know the call.
    if by_leader.is_err_and(|errno| errno != Errno::SRCH) && is_left(group, session) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Kills the group that the pidfd's process led, even if another process has its number by now. Linux 6.9 and later.
#[cfg(target_os = "linux")]
fn kill_by_leader(leader: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    let (fd, nothing) = (leader.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open, and a null in place of the signal's details is allowed.
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

/// Whether a group is what a worker of this session has left, as far as an older kernel can tell.
///
/// If a process has the number, the number was given away, so that nothing is left of the worker's group: its leader can't be a member, as
/// it was reaped. If none has it, the group is the worker's, unless another process got the number after the worker was reaped, led a
/// group, and was reaped as well, all before this was called; and then it must have been of this session too, which all members of a
/// group are in.
fn is_left(group: Pid, session: i32) -> bool {
    if test_kill_process(group) != Err(Errno::SRCH) {
        return false;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.any(|pid| membership(pid) == Some((group, session)))
}

/// The group and the session of a process.
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

    /// A leader of a group, with a member that holds the pipe.
    #[expect(clippy::unwrap_used, reason = "these are tests")]
    fn group(script: &str) -> (Child, ChildStdout) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut leader = command.spawn().unwrap();
        let output = leader.stdout.take().unwrap();
        (leader, output)
    }

    /// R30: on a kernel that can't kill by a pidfd, what is left is killed, and only that.
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

    /// R30: the way of newer kernels finds the group by the leader's pidfd, and nobody once it is empty.
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
