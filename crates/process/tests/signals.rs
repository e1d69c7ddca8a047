//! R30: no signal that the host, or whoever started it, ignores or blocks reaches a worker so. The host is this test binary, started
//! again by a Python script that ignores and blocks what it can.

#![expect(clippy::panic, reason = "a test that can't go on has failed")]

use crate::support::{python, shell, started};
use herder_process::{ExitStatus, reset_signals};
use std::process::Command;

const ROLE: &str = "HERDER_TEST_SIGNALS_ROLE";

/// The signals 32 and 33 are the C library's own: it lets nobody change them, and ignores them itself in what it starts.
const INTERNAL: u64 = 0b11 << 31;

/// Ignores every signal, blocks every signal, and becomes the host.
const HOSTILE: &str = "
import os, signal, sys
for each in range(1, signal.NSIG):
    try: signal.signal(each, signal.SIG_IGN)
    except (OSError, ValueError): pass # SIGKILL, SIGSTOP, and those of the C library
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
";

/// What a host in this role prints after `SEEN`.
fn host_of_a_hostile_starter(role: &str) -> String {
    let this = std::env::current_exe().unwrap();
    let output = Command::new("python3")
        .args(["-c", HOSTILE])
        .arg(this)
        .args(["--exact", "signals::host", "--nocapture", "--include-ignored", "-q"])
        .env(ROLE, role)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let seen = text.lines().find_map(|line| line.strip_prefix("SEEN "));
    seen.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

/// R30: what a worker starts with is not what its host was started with.
#[test]
fn r30_a_worker_starts_with_no_signal_ignored_or_blocked() {
    let seen = host_of_a_hostile_starter("masks");
    let (worker, host) = seen.split_once(" HOST ").unwrap();
    let numbers =
        |masks: &str| masks.split(' ').map(|mask| u64::from_str_radix(mask, 16).unwrap() & !INTERNAL).collect();
    let (worker, host): (Vec<u64>, Vec<u64>) = (numbers(worker), numbers(host));
    assert_eq!(worker, [0, 0], "blocked, ignored");
    assert!(host.iter().all(|mask| mask.count_ones() > 50), "the script did what it should: {host:?}");
}

/// R30: what a host loses that ignores SIGCHLD; and what gives it back.
#[test]
fn r30_exit_statuses_of_a_host_that_ignores_sigchld() {
    assert_eq!(host_of_a_hostile_starter("statuses"), "Unknown Unknown");
    assert_eq!(host_of_a_hostile_starter("reset"), "Code(3) Signal(9)");
}

/// R30: `kill -TERM` reaches a host that was started with SIGTERM blocked.
#[test]
fn r30_reset_signals_unblocks_sigterm_and_sigint() {
    assert_eq!(host_of_a_hostile_starter("unblocked"), "false false true");
}

/// The host's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn host() {
    let seen = match std::env::var(ROLE).unwrap_or_default().as_str() {
        "masks" => format!("{} HOST {}", printed("grep ^Sig /proc/self/status").await, masks(&own_status())),
        "statuses" => statuses().await,
        "reset" => {
            reset_signals();
            statuses().await
        }
        "unblocked" => {
            reset_signals();
            let blocked = u64::from_str_radix(masks(&own_status()).split(' ').next().unwrap(), 16).unwrap();
            let is_blocked = |signal: u32| blocked >> (signal - 1) & 1 == 1;
            format!("{} {} {}", is_blocked(15), is_blocked(2), is_blocked(1))
        }
        _ => return,
    };
    println!("\nSEEN {seen}");
}

/// How a worker that exits, and one that is killed, are told to have ended.
async fn statuses() -> String {
    let mut statuses: Vec<ExitStatus> = Vec::new();
    for end in ["os._exit(3)", "os.kill(os.getpid(), 9)"] {
        let worker = started(python(&format!("calls.recv(1)\n{end}"))).await;
        drop(worker.calls);
        statuses.push(worker.child.wait().await);
    }
    format!("{:?} {:?}", statuses[0], statuses[1])
}

/// The masks of a worker that prints its status.
async fn printed(script: &str) -> String {
    let child = started(shell(script)).await.child;
    child.wait().await;
    masks(&child.output_tail().join("\n"))
}

fn own_status() -> String {
    std::fs::read_to_string("/proc/thread-self/status").unwrap()
}

/// Which signals are blocked and ignored, as in `/proc/PID/status`.
fn masks(status: &str) -> String {
    let mask = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    format!("{} {}", mask("SigBlk:"), mask("SigIgn:"))
}
