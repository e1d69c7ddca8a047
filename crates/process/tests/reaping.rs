//! R30: orphans that are left to the host, as to the first process of a container. The host is this test binary, started again as a
//! subreaper, to which orphans are left as well.

use crate::support::{python, shell, started, until};
use herder_process::{
    ExitStatus, Signal,
    inspect::{children, zombies},
    reap_orphans,
};
use rustix::process::{getpid, set_child_subreaper};
use std::{
    process::{Command, id},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

const ROLE: &str = "HERDER_TEST_REAPING_ROLE";
/// How many orphans each worker leaves, and how many workers there are.
const ORPHANS: usize = 25;
const WORKERS: usize = 4;

/// R30: many orphans end at the same moment as the workers. All are reaped, and no exit status of a worker is lost.
#[test]
fn r30_orphans_are_reaped_and_no_workers_status_is_taken() {
    assert_eq!(host("storm"), format!("{} orphans, statuses told", ORPHANS * WORKERS));
}

/// R30: children that the application started are left to it, and do not hide orphans behind them.
#[test]
fn r30_the_applications_own_children_are_left_to_it() {
    assert_eq!(host("own"), "2 orphans, own 7");
}

fn host(role: &str) -> String {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "reaping::subreaper", "--nocapture", "--include-ignored", "-q"];
    let output = Command::new(this).args(arguments).env(ROLE, role).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| line.strip_prefix("TELLS "));
    assert!(told.is_some(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    told.unwrap_or_default().to_owned()
}

/// The host's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn subreaper() {
    let Ok(role) = std::env::var(ROLE) else { return };
    set_child_subreaper(Some(getpid())).unwrap();
    match role.as_str() {
        "storm" => println!("\nTELLS {}", storm().await),
        _ => println!("\nTELLS {}", own().await),
    }
}

/// Leaves orphans in sessions of their own that end when the worker's end of a pipe does, so with the worker.
const LEAVES: &str = "
reading, writing = os.pipe()
for _ in range(ORPHANS):
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(writing)
            os.read(reading, 1)
        os._exit(0)
    os.waitpid(middle, 0)
say('left')
calls.recv(1)
";

async fn storm() -> String {
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reaper = {
        let (done, count) = (done.clone(), count.clone());
        // Without a pause, so that each worker's end meets it.
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                count.fetch_add(reap_orphans(|_| false), Ordering::AcqRel);
                thread::yield_now();
            }
        })
    };
    let mut workers = Vec::new();
    for at in 0..WORKERS {
        let end = if at % 2 == 0 { format!("os._exit({at})") } else { "os.kill(os.getpid(), 9)".to_owned() };
        let script = LEAVES.replace("ORPHANS", &ORPHANS.to_string()) + &end;
        workers.push(started(python(&script)).await);
    }
    for worker in &workers {
        crate::support::line(&mut crate::support::lines(worker.calls.try_clone().unwrap()));
    }
    let children: Vec<_> = workers.into_iter().map(|worker| worker.child).collect();
    for (at, child) in children.iter().enumerate() {
        let expected = if at % 2 == 0 { ExitStatus::Code(at as i32) } else { ExitStatus::Signal(9) };
        assert_eq!(child.wait().await, expected, "worker {at}");
    }
    until("all orphans are reaped", || (count.load(Ordering::Acquire) == ORPHANS * WORKERS).then_some(()));
    done.store(true, Ordering::Release);
    reaper.join().unwrap();
    assert_eq!(zombies(), []);
    format!("{} orphans, statuses told", count.load(Ordering::Acquire))
}

async fn own() -> String {
    let mut own = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    until("it is a zombie", || zombies().iter().any(|seen| seen.pid == own.id()).then_some(()));
    let worker = started(shell("(setsid sleep 1000 & setsid sleep 1000 &); sleep 1000")).await.child;
    let orphans = || children(id()).filter(|seen| seen.name == "sleep").map(|seen| seen.pid);
    until("both are left to this process", || (orphans().count() == 2).then_some(()));
    for orphan in orphans() {
        rustix::process::kill_process(crate::support::raw(orphan), Signal::KILL).unwrap();
    }
    let own_pid = own.id();
    let mut count = 0;
    until("both are reaped", || {
        count += reap_orphans(|pid| pid == own_pid);
        (count == 2).then_some(())
    });
    worker.kill();
    assert_eq!(worker.wait().await, ExitStatus::Signal(9));
    format!("{count} orphans, own {:?}", own.wait().unwrap().code().unwrap_or(-1))
}
