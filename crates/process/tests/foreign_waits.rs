//! R30: applications that take exit statuses from Herder, because they ignore SIGCHLD or wait for any child in a thread. The
//! application is this test binary, started again in a role that an environment variable names.

#![expect(clippy::panic, reason = "a waker panics deliberately")]

use crate::support::{Watch, line_reader, numbers, python, read_line, shell, start, wait_until};
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
/// How exit statuses are taken: by the kernel when SIGCHLD is ignored, or by a thread of the application that waits for any
/// child.
const STATUS_TAKERS: [&str; 2] = ["ignores", "waits"];
const IGNORES: &str =
    "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";

/// R30: a failed start reports its cause each time. The application aborts if a thread panics.
#[test]
fn r30_start_errors_are_reported_if_exit_statuses_are_taken() {
    for taker in STATUS_TAKERS {
        let errors = Application::start(taker, "fails").next_result();
        assert_eq!(errors, "ProgramNotFound ProgramNotFound WorkingDirectory InterpreterNotFound", "{taker}");
    }
}

/// R30: a process that has already exited when its host checks it counts as started.
#[test]
fn r30_process_that_exits_at_once_counts_as_started() {
    for taker in STATUS_TAKERS {
        assert_eq!(Application::start(taker, "exits").next_result(), "100", "{taker}");
    }
}

/// R30: the rest of a worker's group is killed when the worker exits, whoever reaps the worker.
#[test]
fn r30_group_is_killed_whoever_reaps_its_leader() {
    for taker in STATUS_TAKERS {
        let mut application = Application::start(taker, "grandchildren");
        let grandchildren: Vec<Watch> = numbers(&application.next_result()).into_iter().map(Watch::new).collect();
        assert_eq!(grandchildren.len(), WORKERS);
        assert!(grandchildren.iter().all(Watch::is_alive), "{taker}");
        application.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let statuses = application.next_result();
        match taker {
            "ignores" => assert_eq!(statuses, "Unknown", "the kernel discards the exit statuses"),
            _ => assert!(statuses.split(' ').all(|status| ["Code(0)", "Unknown"].contains(&status)), "{statuses}"),
        }
        grandchildren.iter().for_each(Watch::wait_for_exit);
        assert!(application.process.try_wait().unwrap().is_none(), "{taker}: the host must still be running");
    }
}

/// R30: killing such a host also ends the groups of its workers.
#[test]
fn r30_killing_the_host_ends_all_groups_whoever_reaps_their_leaders() {
    for taker in STATUS_TAKERS {
        let mut application = Application::start(taker, "grandchildren");
        let grandchildren: Vec<Watch> = numbers(&application.next_result()).into_iter().map(Watch::new).collect();
        application.process.kill().unwrap();
        grandchildren.iter().for_each(Watch::wait_for_exit);
    }
}

/// R30: a caller's waker that panics ends none of the threads that all pools share.
#[tokio::test]
async fn r30_panicking_waker_ends_no_thread() {
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut context = Context::from_waker(&waker);
    let mut starting = Box::pin(spawn(shell("true")));
    while starting.as_mut().poll(&mut context).is_ready() {
        starting = Box::pin(spawn(shell("true"))); // ready at the first poll, so the waker was not called
    }
    let worker = start(shell("sleep 1000")).await;
    {
        let mut end = pin!(worker.child.wait());
        assert!(end.as_mut().poll(&mut context).is_pending());
        worker.child.kill();
        wait_until("the worker has exited", || worker.child.try_status());
    }
    let next = start(shell("exit 4")).await.child;
    assert_eq!(next.wait().await, ExitStatus::Code(4));
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("requested panic of a caller's waker");
    }
}

/// The application: a process whose exit statuses are taken.
struct Application {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Application {
    fn start(taker: &str, role: &str) -> Self {
        let mut command = std::process::Command::new("python3");
        command.args([
            "-c",
            if taker == "ignores" { IGNORES } else { "import os, sys; os.execv(sys.argv[1], sys.argv[1:])" },
        ]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "foreign_waits::application", "--nocapture", "--include-ignored", "-q"]);
        command.env(ROLE, format!("{taker} {role}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// Returns the next result that the application prints.
    fn next_result(&mut self) -> String {
        loop {
            let mut line = String::new();
            let count = std::io::BufRead::read_line(&mut self.output, &mut line).unwrap();
            assert!(count > 0, "the application ended: {:?}", self.process.wait());
            if let Some(result) = line.trim_end().strip_prefix("RESULT ") {
                return result.to_owned();
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

/// The entry point of the application. Does nothing when it is run as a test.
#[tokio::test]
#[ignore = "a role: started by the other tests"]
async fn application() {
    let role = std::env::var(ROLE).unwrap_or_default();
    let Some((taker, role)) = role.split_once(' ') else { return };
    if taker == "waits" {
        thread::spawn(|| {
            loop {
                let _ = rustix::process::wait(WaitOptions::empty());
            }
        });
    }
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    match role {
        "fails" => println!("\nRESULT {}", errors_of_failed_starts().await),
        "exits" => println!("\nRESULT {}", count_started_processes().await),
        _ => run_workers_with_grandchildren().await,
    }
}

/// Returns the name of the error of each failed start.
async fn errors_of_failed_starts() -> String {
    let script = std::env::temp_dir().join(format!("herder-waits-{}", std::process::id()));
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let make_executable = shell("chmod +x \"$0\" && read go").arg(&script);
    start(make_executable).await.child.wait().await;
    let missing = || Command::new("no-such-program");
    let mut errors = Vec::new();
    for command in [missing(), missing(), shell("true").cwd("/no/such/place"), Command::new(&script)] {
        errors.push(match spawn(command).await {
            Err(SpawnError::ProgramNotFound { .. }) => "ProgramNotFound".to_owned(),
            Err(SpawnError::WorkingDirectory { .. }) => "WorkingDirectory".to_owned(),
            Err(SpawnError::InterpreterNotFound { .. }) => "InterpreterNotFound".to_owned(),
            other => format!("{other:?}"),
        });
    }
    std::fs::remove_file(&script).unwrap();
    errors.join(" ")
}

/// Starts a hundred processes that exit at once and returns how many count as started.
async fn count_started_processes() -> usize {
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

/// Runs workers with a grandchild each, lets the workers exit when a line arrives, and keeps running.
async fn run_workers_with_grandchildren() {
    let script = "g = subprocess.Popen(['sleep', '1000'])\nsend(g.pid)\ncalls.recv(1)";
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(start(python(script)).await);
    }
    let pids = workers.iter().map(|worker| read_line(&mut line_reader(worker.calls.try_clone().unwrap())));
    println!("\nRESULT {}", pids.collect::<Vec<_>>().join(" "));
    let _ = std::io::stdin().read(&mut [0]);
    let mut statuses = Vec::new();
    for worker in workers {
        drop((worker.calls, worker.control));
        statuses.push(format!("{:?}", worker.child.wait().await));
    }
    statuses.sort();
    statuses.dedup();
    println!("\nRESULT {}", statuses.join(" "));
    let _ = std::io::stdin().read(&mut [0]);
}
