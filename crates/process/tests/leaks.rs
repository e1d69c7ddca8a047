//! R30: a hundred workers later the host is as it was: no descriptor more, no child but the watchdog. A binary of its own, since
//! tests beside it would open descriptors meanwhile.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use herder_process::{
    Command, ExitStatus, Spawned,
    inspect::{children, descriptors},
    spawn,
};
use support::{shell, started, watchdog_of};

#[tokio::test]
async fn no_descriptor_and_no_zombie_is_left() {
    started(shell("true")).await.child.wait().await; // the threads, the watchdog
    let us = std::process::id();
    let before = descriptors(us);

    for round in 0..10 {
        let workers: Vec<Spawned> = join((0..10).map(|n| shell(&format!("echo {n}; sleep 1000 & exit {n}")))).await;
        for (code, worker) in workers.iter().enumerate() {
            assert_eq!(worker.child.wait().await, ExitStatus::Code(code as i32), "round {round}");
        }
        spawn(Command::new("no-such-program")).await.unwrap_err();
    }

    assert_eq!(descriptors(us), before);
    let left: Vec<_> = children(us).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(watchdog_of(us), Some(left[0].pid));
}

async fn join(commands: impl Iterator<Item = Command>) -> Vec<Spawned> {
    let tasks: Vec<_> = commands.map(|command| tokio::spawn(spawn(command))).collect();
    let mut workers = Vec::new();
    for task in tasks {
        workers.push(task.await.unwrap().unwrap());
    }
    workers
}
