//! R30: a worker starts without ignored or blocked signals, whatever its host or the host's parent ignores or blocks. The host
//! is this test binary, started again by a Python script that ignores and blocks all signals.

#![expect(clippy::panic, reason = "the test cannot continue without the result of the host")]

use crate::support::{python, shell, start};
use herder_process::{ExitStatus, reset_signals};
use std::process::Command;

const ROLE: &str = "HERDER_TEST_SIGNALS_ROLE";

/// The signals 32 and 33 belong to the C library: programs cannot change them, and it sets them to ignored in processes that it
/// starts.
const INTERNAL: u64 = 0b11 << 31;

/// Ignores and blocks every signal, then becomes the host.
const IGNORE_AND_BLOCK: &str = "
import os, signal, sys
for each in range(1, signal.NSIG):
    try: signal.signal(each, signal.SIG_IGN)
    except (OSError, ValueError): pass # SIGKILL, SIGSTOP and the signals of the C library
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
";

/// Runs a host with this role and returns its result, the line after `RESULT`.
fn run_host_with_ignored_and_blocked_signals(role: &str) -> String {
    let test_binary = std::env::current_exe().unwrap();
    let output = Command::new("python3")
        .args(["-c", IGNORE_AND_BLOCK])
        .arg(test_binary)
        .args(["--exact", "signals::host", "--nocapture", "--include-ignored", "-q"])
        .env(ROLE, role)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    result.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

/// R30: a worker does not inherit the signal masks of its host.
#[test]
fn r30_worker_starts_with_no_signal_ignored_or_blocked() {
    let result = run_host_with_ignored_and_blocked_signals("masks");
    let (worker, host) = result.split_once(" HOST ").unwrap();
    let numbers =
        |masks: &str| masks.split(' ').map(|mask| u64::from_str_radix(mask, 16).unwrap() & !INTERNAL).collect();
    let (worker, host): (Vec<u64>, Vec<u64>) = (numbers(worker), numbers(host));
    assert_eq!(worker, [0, 0], "blocked, ignored");
    assert!(
        host.iter().all(|mask| mask.count_ones() > 50),
        "the host itself has ignored and blocked signals: {host:?}"
    );
}

/// R30: a host that ignores SIGCHLD cannot read exit statuses; `reset_signals` makes them readable again.
#[test]
fn r30_exit_statuses_are_unknown_until_sigchld_is_reset() {
    assert_eq!(run_host_with_ignored_and_blocked_signals("statuses"), "Unknown Unknown");
    assert_eq!(run_host_with_ignored_and_blocked_signals("reset"), "Code(3) Signal(9)");
}

/// R30: `reset_signals` unblocks SIGTERM and SIGINT, so that `kill -TERM` ends a host that was started with SIGTERM blocked.
#[test]
fn r30_reset_signals_unblocks_sigterm_and_sigint() {
    assert_eq!(run_host_with_ignored_and_blocked_signals("unblocked"), "false false true");
}

/// The entry point of the host. Does nothing when it is run as a test.
#[tokio::test]
#[ignore = "a role: started by the other tests"]
async fn host() {
    let result = match std::env::var(ROLE).unwrap_or_default().as_str() {
        "masks" => format!("{} HOST {}", masks_of_worker("grep ^Sig /proc/self/status").await, masks(&own_status())),
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
    println!("\nRESULT {result}");
}

/// Returns the reported exit statuses of a worker that exits and of one that is killed.
async fn statuses() -> String {
    let mut statuses: Vec<ExitStatus> = Vec::new();
    for end in ["os._exit(3)", "os.kill(os.getpid(), 9)"] {
        let worker = start(python(&format!("calls.recv(1)\n{end}"))).await;
        drop(worker.calls);
        statuses.push(worker.child.wait().await);
    }
    format!("{:?} {:?}", statuses[0], statuses[1])
}

/// Returns the signal masks of a worker that prints its `/proc` status.
async fn masks_of_worker(script: &str) -> String {
    let child = start(shell(script)).await.child;
    child.wait().await;
    masks(&child.output_tail().join("\n"))
}

fn own_status() -> String {
    std::fs::read_to_string("/proc/thread-self/status").unwrap()
}

/// Returns the masks of blocked and of ignored signals from the text of `/proc/PID/status`.
fn masks(status: &str) -> String {
    let mask = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    format!("{} {}", mask("SigBlk:"), mask("SigIgn:"))
}
