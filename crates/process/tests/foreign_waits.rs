//! R30: applications that take exit statuses away, because they ignore SIGCHLD or have a thread that waits for any child. The
//! application is this test binary, started again in the role that a variable names.

#![expect(clippy::panic, reason = "a waker panics on purpose")]

use crate::support::{Watch, line, lines, numbers, python, shell, started, until};
use herder_process::{Command, ExitStatus, SpawnError, spawn};
use rustix::process::WaitOptions;
use std::{
    future::Future,
    io::{BufReader, Read, Write},
    pin::pin,
    process::{Child, ChildStdout, Stdio},
    sync::Arc,
    task::{Context, Wake, Waker},
    thread,
};

const ROLE: &str = "HERDER_TEST_WAITS_ROLE";
/// Who takes the statuses: the kernel at once, or a thread of the application.
const THIEVES: [&str; 2] = ["ignores", "waits"];
const IGNORES: &str =
    "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";

/// R30: a start that fails says why, every time, and the starts after it succeed. The application aborts if anything panics.
#[test]
fn r30_failed_starts_are_told_where_somebody_else_reaps() {
    for thief in THIEVES {
        let told = Application::start(thief, "fails").told();
        assert_eq!(told, "ProgramNotFound ProgramNotFound WorkingDirectory InterpreterNotFound", "{thief}");
    }
}

/// R30: a process that has ended by the time its host looks at it was started all the same.
#[test]
fn r30_a_process_that_exits_at_once_was_started() {
    for thief in THIEVES {
        assert_eq!(Application::start(thief, "exits").told(), "100", "{thief}");
    }
}

/// R30: what a worker leaves in its group is killed at the worker's end, whoever reaps the worker.
#[test]
fn r30_the_group_is_killed_whoever_reaps_its_leader() {
    for thief in THIEVES {
        let mut application = Application::start(thief, "leaves");
        let left: Vec<Watch> = numbers(&application.told()).into_iter().map(Watch::new).collect();
        assert_eq!(left.len(), WORKERS);
        assert!(left.iter().all(Watch::is_alive), "{thief}");
        application.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let statuses = application.told();
        match thief {
            "ignores" => assert_eq!(statuses, "Unknown", "nobody can read them"),
            _ => assert!(statuses.split(' ').all(|status| ["Code(0)", "Unknown"].contains(&status)), "{statuses}"),
        }
        left.iter().for_each(Watch::ended);
        assert!(application.process.try_wait().unwrap().is_none(), "{thief}: not by the end of the host");
    }
}

/// R30: the death of such a host takes the groups along, too.
#[test]
fn r30_everything_goes_with_a_host_whose_children_others_reap() {
    for thief in THIEVES {
        let mut application = Application::start(thief, "leaves");
        let left: Vec<Watch> = numbers(&application.told()).into_iter().map(Watch::new).collect();
        application.process.kill().unwrap();
        left.iter().for_each(Watch::ended);
    }
}

/// R30: a caller's runtime that panics when it is woken ends none of the threads that all pools share.
#[tokio::test]
async fn r30_a_panicking_waker_ends_no_thread() {
    let waker = Waker::from(Arc::new(Panics));
    let mut context = Context::from_waker(&waker);
    let mut start = Box::pin(spawn(shell("true")));
    while start.as_mut().poll(&mut context).is_ready() {
        start = Box::pin(spawn(shell("true"))); // it was faster than this thread, and woke nobody
    }
    let worker = started(shell("sleep 1000")).await;
    {
        let mut end = pin!(worker.child.wait());
        assert!(end.as_mut().poll(&mut context).is_pending());
        worker.child.kill();
        until("its end", || worker.child.try_status());
    }
    let next = started(shell("exit 4")).await.child;
    assert_eq!(next.wait().await, ExitStatus::Code(4));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose: the waker of a caller");
    }
}

/// The process that will have its exit statuses taken away.
struct Application {
    process: Child,
    words: BufReader<ChildStdout>,
}

impl Application {
    fn start(thief: &str, role: &str) -> Self {
        let mut command = std::process::Command::new("python3");
        command.args([
            "-c",
            if thief == "ignores" { IGNORES } else { "import os, sys; os.execv(sys.argv[1], sys.argv[1:])" },
        ]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "foreign_waits::application", "--nocapture", "--include-ignored", "-q"]);
        command.env(ROLE, format!("{thief} {role}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let words = BufReader::new(process.stdout.take().unwrap());
        Self { process, words }
    }

    /// The next thing that it tells.
    fn told(&mut self) -> String {
        loop {
            let mut line = String::new();
            let count = std::io::BufRead::read_line(&mut self.words, &mut line).unwrap();
            assert!(count > 0, "the application ended: {:?}", self.process.wait());
            if let Some(told) = line.trim_end().strip_prefix("TELLS ") {
                return told.to_owned();
            }
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The application's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn application() {
    let role = std::env::var(ROLE).unwrap_or_default();
    let Some((thief, role)) = role.split_once(' ') else { return };
    if thief == "waits" {
        thread::spawn(|| {
            loop {
                let _ = rustix::process::wait(WaitOptions::empty());
            }
        });
    }
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    match role {
        "fails" => println!("\nTELLS {}", fails().await),
        "exits" => println!("\nTELLS {}", exits().await),
        _ => leaves().await,
    }
}

/// How starts fail, each named as its error is.
async fn fails() -> String {
    let script = std::env::temp_dir().join(format!("herder-waits-{}", std::process::id()));
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let marked = shell("chmod +x \"$0\" && read go").arg(&script);
    started(marked).await.child.wait().await;
    let nothing = || Command::new("no-such-program");
    let mut seen = Vec::new();
    for command in [nothing(), nothing(), shell("true").cwd("/no/such/place"), Command::new(&script)] {
        seen.push(match spawn(command).await {
            Err(SpawnError::ProgramNotFound { .. }) => "ProgramNotFound".to_owned(),
            Err(SpawnError::WorkingDirectory { .. }) => "WorkingDirectory".to_owned(),
            Err(SpawnError::InterpreterNotFound { .. }) => "InterpreterNotFound".to_owned(),
            other => format!("{other:?}"),
        });
    }
    std::fs::remove_file(&script).unwrap();
    seen.join(" ")
}

/// How many of a hundred processes that exit at once were started.
async fn exits() -> usize {
    let mut count = 0;
    for _ in 0..100 {
        match spawn(shell("exit 3")).await {
            Ok(spawned) => count += usize::from(spawned.child.wait().await != ExitStatus::Signal(9)),
            Err(error) => println!("{error}"),
        }
    }
    count
}

const WORKERS: usize = 10;

/// Keeps workers with a grandchild each, then lets the workers end, and lives on.
async fn leaves() {
    let script = "g = subprocess.Popen(['sleep', '1000'])\nsay(g.pid)\ncalls.recv(1)";
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(started(python(script)).await);
    }
    let pids = workers.iter().map(|worker| line(&mut lines(worker.calls.try_clone().unwrap())));
    println!("\nTELLS {}", pids.collect::<Vec<_>>().join(" "));
    let _ = std::io::stdin().read(&mut [0]);
    let mut statuses = Vec::new();
    for worker in workers {
        drop((worker.calls, worker.control));
        statuses.push(format!("{:?}", worker.child.wait().await));
    }
    statuses.sort();
    statuses.dedup();
    println!("\nTELLS {}", statuses.join(" "));
    let _ = std::io::stdin().read(&mut [0]);
}
