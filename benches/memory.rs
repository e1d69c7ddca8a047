//! What a pool at rest holds: the host with four workers, and each worker beside a bare interpreter: `cargo bench --bench memory`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a benchmark: it may end with a panic, prints its table, and starts the bare interpreter itself"
)]

#[path = "common/proc.rs"]
mod proc;

use herder::{Pool, PoolConfig};
use proc::{kib, mib};
use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = PoolConfig::basic("memory").app("herder.demo:app").pool_size(4).build().expect("a configuration");
        let pool = Pool::start(config).await.expect("a pool");
        let mut workers = Vec::new();
        for worker in pool.workers().await.expect("workers") {
            workers.push(pss(worker.pid.expect("a process")));
        }
        let bare = bare_interpreter();
        println!("host at rest with 4 workers: {:.1} MiB resident", proc::resident_mib());
        println!("bare interpreter: {:.1} MiB PSS", mib(bare));
        for pss in workers {
            println!("worker: {:.1} MiB PSS, {:+.1} over the bare interpreter", mib(pss), mib(pss) - mib(bare));
        }
        pool.shutdown(Duration::from_secs(5)).await.expect("an end");
    });
}

/// An interpreter that did nothing but start, measured beside the workers: shared pages count as in their case.
fn bare_interpreter() -> u64 {
    let script = "import time; print(1, flush=True); time.sleep(9)";
    let mut child = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python3");
    let mut started = [0];
    child.stdout.take().expect("its output").read_exact(&mut started).expect("a sign of life");
    let pss = pss(child.id());
    child.kill().expect("its end");
    child.wait().expect("its status");
    pss
}

fn pss(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}
