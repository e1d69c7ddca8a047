//! R38: what is reported about the memory of a worker that died.

use crate::support::{Watch, line_reader, python, read_line, start};
use herder_process::{ExitStatus, Spawned};

const MIB: u64 = 1 << 20;

/// Excludes the two tests from each other: the memory of this process affects what its workers report.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Starts a worker that touches this many bytes and then waits.
async fn start_with_memory(bytes: u64) -> Spawned {
    let script =
        format!("hog = bytearray({bytes})\nhog[::4096] = b'x' * len(hog[::4096])\nsend('full')\ntime.sleep(3600)");
    start(python(&script)).await
}

/// R38: the peak memory of a worker killed by another process is at least what it used, and less than twice as much. A SIGKILL
/// without evidence is not reported as a kill for lack of memory.
#[tokio::test]
async fn r38_peak_memory_of_a_dead_worker_is_reported() {
    let _exclusive = MEMORY.lock().await;
    let Spawned { calls, child, .. } = start_with_memory(100 * MIB).await;
    assert_eq!(read_line(&mut line_reader(calls)), "full");
    assert_eq!(child.exit_memory().peak_memory, None, "the worker is still running");
    Watch::new(child.pid()).kill();
    assert_eq!(child.wait().await, ExitStatus::Signal(9));
    let memory = child.exit_memory();
    let peak = memory.peak_memory.unwrap();
    assert!((100 * MIB..200 * MIB).contains(&peak), "{peak}");
    assert_eq!(memory.out_of_memory, None);
}

/// The kernel counts the memory of the host at the time of the fork as the worker's peak. It is not reported as the worker's.
#[tokio::test]
async fn r38_host_memory_is_not_reported_as_the_workers() {
    let _exclusive = MEMORY.lock().await;
    let ballast = vec![1_u8; (300 * MIB) as usize];
    let small = start(python("pass")).await;
    assert_eq!(std::hint::black_box(&ballast)[0], 1);
    assert_eq!(small.child.wait().await, ExitStatus::Code(0));
    assert_eq!(small.child.exit_memory().peak_memory, None);
}
