//! What is known of the memory of a worker that died (R38).

use crate::support::{Watch, line, lines, python, started};
use herder_process::{ExitStatus, Spawned};

const MIB: u64 = 1 << 20;

/// What this process has in memory is what its workers inherit, so the two tests exclude each other.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A worker that has touched so many bytes and then waits.
async fn hog(bytes: u64) -> Spawned {
    let script =
        format!("hog = bytearray({bytes})\nhog[::4096] = b'x' * len(hog[::4096])\nsay('full')\ntime.sleep(3600)");
    started(python(&script)).await
}

/// R38: the peak of a worker that somebody else killed: at least what it had, and far from double. A kill without evidence is not
/// called one for a lack of memory.
#[tokio::test]
async fn r38_the_peak_of_a_dead_worker_is_told() {
    let _alone = MEMORY.lock().await;
    let Spawned { calls, child, .. } = hog(100 * MIB).await;
    assert_eq!(line(&mut lines(calls)), "full");
    assert_eq!(child.exit_memory().peak_memory, None, "it lives");
    Watch::new(child.pid()).kill();
    assert_eq!(child.wait().await, ExitStatus::Signal(9));
    let death = child.exit_memory();
    let peak = death.peak_memory.unwrap();
    assert!((100 * MIB..200 * MIB).contains(&peak), "{peak}");
    assert_eq!(death.out_of_memory, None);
}

/// What the host has in memory when it forks is counted by the system as the worker's own; it is not told as such.
#[tokio::test]
async fn r38_host_memory_is_not_reported_as_the_workers() {
    let _alone = MEMORY.lock().await;
    let ballast = vec![1_u8; (300 * MIB) as usize];
    let small = started(python("pass")).await;
    assert_eq!(std::hint::black_box(&ballast)[0], 1);
    assert_eq!(small.child.wait().await, ExitStatus::Code(0));
    assert_eq!(small.child.exit_memory().peak_memory, None);
}
