//! R30: after a hundred workers the host has the same descriptors as before and no child but the watchdog. A separate binary,
//! because other tests in the same process would open descriptors meanwhile.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use herder_process::{
    Command, ExitStatus, Spawned,
    inspect::{children, descriptors},
    spawn,
};
use support::{shell, start, watchdog_of};

#[tokio::test]
async fn no_descriptor_and_no_zombie_is_left() {
    start(shell("true")).await.child.wait().await; // starts the threads and the watchdog
    let own_pid = std::process::id();
    let before = descriptors(own_pid);

    for round in 0..10 {
        let workers: Vec<Spawned> =
            spawn_all((0..10).map(|n| shell(&format!("echo {n}; sleep 1000 & exit {n}")))).await;
        for (code, worker) in workers.iter().enumerate() {
            assert_eq!(worker.child.wait().await, ExitStatus::Code(code as i32), "round {round}");
        }
        spawn(Command::new("no-such-program")).await.unwrap_err();
    }

    assert_eq!(descriptors(own_pid), before);
    let remaining: Vec<_> = children(own_pid).collect();
    assert_eq!(remaining.len(), 1, "{remaining:?}");
    assert_eq!(watchdog_of(own_pid), Some(remaining[0].pid));
}

async fn spawn_all(commands: impl Iterator<Item = Command>) -> Vec<Spawned> {
    let tasks: Vec<_> = commands.map(|command| tokio::spawn(spawn(command))).collect();
    let mut workers = Vec::new();
    for task in tasks {
        workers.push(task.await.unwrap().unwrap());
    }
    workers
}
