//! R30: reaping of orphans, which the first process of a container inherits. The host is this test binary, started again as a
//! subreaper, which inherits orphans as well.

use crate::support::{python, shell, start, wait_until};
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
/// The number of orphans that each worker creates, and the number of workers.
const ORPHANS: usize = 25;
const WORKERS: usize = 4;

/// R30: many orphans exit at the same time as the workers. All are reaped, and each worker's exit status is reported.
#[test]
fn r30_orphans_are_reaped_and_every_worker_status_is_reported() {
    assert_eq!(run_host("concurrent-exits"), format!("{} orphans, all statuses reported", ORPHANS * WORKERS));
}

/// R30: children that the application itself started are not reaped, and do not prevent that orphans are.
#[test]
fn r30_children_of_the_application_are_not_reaped() {
    assert_eq!(run_host("own-children"), "2 orphans, own 7");
}

fn run_host(role: &str) -> String {
    let test_binary = std::env::current_exe().unwrap();
    let arguments = ["--exact", "reaping::subreaper", "--nocapture", "--include-ignored", "-q"];
    let output = Command::new(test_binary).args(arguments).env(ROLE, role).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    assert!(result.is_some(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    result.unwrap_or_default().to_owned()
}

/// The entry point of the host. Does nothing when it is run as a test.
#[tokio::test]
#[ignore = "a role: started by the other tests"]
async fn subreaper() {
    let Ok(role) = std::env::var(ROLE) else { return };
    set_child_subreaper(Some(getpid())).unwrap();
    match role.as_str() {
        "concurrent-exits" => println!("\nRESULT {}", concurrent_exits().await),
        _ => println!("\nRESULT {}", own_children().await),
    }
}

/// Creates orphans, each in a new session. They exit when the worker's end of a pipe closes, that is, when the worker exits.
const CREATE_ORPHANS: &str = "
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
send('ready')
calls.recv(1)
";

async fn concurrent_exits() -> String {
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reaper = {
        let (done, count) = (done.clone(), count.clone());
        // Reaps without pauses, so that reaping coincides with the exit of each worker.
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                count.fetch_add(reap_orphans(|_| false), Ordering::AcqRel);
                thread::yield_now();
            }
        })
    };
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        let end = if index % 2 == 0 { format!("os._exit({index})") } else { "os.kill(os.getpid(), 9)".to_owned() };
        let script = CREATE_ORPHANS.replace("ORPHANS", &ORPHANS.to_string()) + &end;
        workers.push(start(python(&script)).await);
    }
    for worker in &workers {
        crate::support::read_line(&mut crate::support::line_reader(worker.calls.try_clone().unwrap()));
    }
    // Drops the sockets: all workers exit now, and their orphans with them.
    let children: Vec<_> = workers.into_iter().map(|worker| worker.child).collect();
    for (index, child) in children.iter().enumerate() {
        let expected = if index % 2 == 0 { ExitStatus::Code(index as i32) } else { ExitStatus::Signal(9) };
        assert_eq!(child.wait().await, expected, "worker {index}");
    }
    wait_until("all orphans are reaped", || (count.load(Ordering::Acquire) == ORPHANS * WORKERS).then_some(()));
    done.store(true, Ordering::Release);
    reaper.join().unwrap();
    assert_eq!(zombies(), []);
    format!("{} orphans, all statuses reported", count.load(Ordering::Acquire))
}

async fn own_children() -> String {
    let mut own = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    wait_until("the child of the application is a zombie", || {
        zombies().iter().any(|process| process.pid == own.id()).then_some(())
    });
    let worker = start(shell("(setsid sleep 1000 & setsid sleep 1000 &); sleep 1000")).await.child;
    let orphans = || children(id()).filter(|process| process.name == "sleep").map(|process| process.pid);
    wait_until("both orphans have this process as their parent", || (orphans().count() == 2).then_some(()));
    for orphan in orphans() {
        rustix::process::kill_process(crate::support::raw(orphan), Signal::KILL).unwrap();
    }
    let own_pid = own.id();
    let mut count = 0;
    wait_until("both orphans are reaped", || {
        count += reap_orphans(|pid| pid == own_pid);
        (count == 2).then_some(())
    });
    worker.kill();
    assert_eq!(worker.wait().await, ExitStatus::Signal(9));
    format!("{count} orphans, own {:?}", own.wait().unwrap().code().unwrap_or(-1))
}
