//! The memory of an idle pool: the host with four workers, and each worker compared with a plain interpreter: `cargo
//! bench --bench memory`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a benchmark: it may end with a panic, prints its table, and starts the plain interpreter itself"
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
        let plain = plain_interpreter();
        println!("idle host with 4 workers: {:.1} MiB resident", proc::resident_mib());
        println!("plain interpreter: {:.1} MiB PSS", mib(plain));
        for pss in workers {
            println!("worker: {:.1} MiB PSS, {:+.1} over the plain interpreter", mib(pss), mib(pss) - mib(plain));
        }
        pool.shutdown(Duration::from_secs(5)).await.expect("an end");
    });
}

/// Measures an interpreter that runs no application. It runs at the same time as the workers, so that shared pages
/// count alike.
fn plain_interpreter() -> u64 {
    let script = "import time; print(1, flush=True); time.sleep(9)";
    let mut child = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python3");
    let mut started = [0];
    child.stdout.take().expect("its output").read_exact(&mut started).expect("a first byte");
    let pss = pss(child.id());
    child.kill().expect("its end");
    child.wait().expect("its status");
    pss
}

fn pss(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}
