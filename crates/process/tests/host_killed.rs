//! R30: if the host is killed with `SIGKILL`, no process of its workers remains. The host is this test binary, started again in
//! a role that an environment variable names.

use crate::support::{Watch, line_reader, numbers, python, raw, read_line, shell, start, wait_until, watchdog_of};
use herder_process::{
    ArgumentSlab, ResultSlab, Signal, SpawnError,
    inspect::{MARK, MarkedProcesses, descriptors, stat},
    spawn,
};
use rustix::process::{Resource, getrlimit, kill_process, setrlimit};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdout, Command, Stdio},
};

const ROLE: &str = "HERDER_TEST_ROLE";

/// The code that a worker runs while its host is killed. Before, each worker has sent the process ids of itself and of its
/// grandchild.
const IDLE: &str = "calls.recv(1)";
const IN_PYTHON: &str = "while True: pass";
const HOLDS_THE_GIL_IN_C: &str = "re.match(r'(a+)+$', 'a' * 40 + 'b')";
const IN_A_SUBPROCESS: &str = "g.wait()";

#[test]
fn killing_the_host_ends_an_idle_worker_and_its_grandchild() {
    killing_the_host_ends_all_processes(IDLE);
}

#[test]
fn killing_the_host_ends_a_worker_busy_in_python() {
    killing_the_host_ends_all_processes(IN_PYTHON);
}

#[test]
fn killing_the_host_ends_a_worker_holding_the_gil_in_c() {
    killing_the_host_ends_all_processes(HOLDS_THE_GIL_IN_C);
}

#[test]
fn killing_the_host_ends_a_worker_waiting_for_a_subprocess() {
    killing_the_host_ends_all_processes(IN_A_SUBPROCESS);
}

/// The watchdog must outlive a host that is ended by a signal to its process group, so it ignores these signals.
#[test]
fn watchdog_ignores_terminal_signals() {
    let mut host = Host::start(IDLE);
    let watchdog = watchdog_of(host.pid()).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(raw(watchdog), signal).unwrap();
    }
    assert!(Watch::new(watchdog).is_alive());
    let watched = host.watches();
    host.kill();
    watched.iter().for_each(Watch::wait_for_exit);
}

/// The workers of a host that returns from `main` end, too.
#[test]
fn host_that_exits_leaves_no_process() {
    let mut host = Host::start("calls.recv(1) # until the host exits");
    let watched = host.watches();
    drop(host.process.stdin.take());
    assert!(host.process.wait().unwrap().success());
    watched.iter().for_each(Watch::wait_for_exit);
}

/// A watchdog that dies is reaped, and its successor receives the groups of the running workers.
#[test]
fn killed_watchdog_is_replaced_and_reaped() {
    let mut host = Host::start(IDLE);
    let first = watchdog_of(host.pid()).unwrap();
    kill_process(raw(first), Signal::KILL).unwrap();
    wait_until("another watchdog is running", || watchdog_of(host.pid()).filter(|&next| next != first));
    wait_until("the first one is reaped", || stat(first).is_none().then_some(()));
    let watched = host.watches();
    host.kill();
    watched.iter().for_each(Watch::wait_for_exit);
}

/// The watchdog holds its lifeline and a descriptor that reports the exit of the host. It holds no terminal, no listening
/// socket and no worker's socket.
#[test]
fn watchdog_holds_no_descriptor_of_the_host() {
    let host = Host::start(IDLE);
    let watchdog = watchdog_of(host.pid()).unwrap();
    let held = descriptors(watchdog).into_values();
    let mut kinds: Vec<String> = held.map(|target| target.split(':').next().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["anon_inode", "socket"]);
    let group = rustix::process::getsid(Some(raw(watchdog))).unwrap();
    assert_eq!(group, raw(watchdog), "the watchdog leads a new session");
}

/// A host may be killed at any time between fork, exec and the registration with the watchdog, and leaves no group.
#[test]
fn host_killed_while_starting_workers_leaves_no_process() {
    for round in 0..8 {
        let mark = format!("{}-{round}", std::process::id());
        let mut host = Host::start_with("starting", &mark);
        let _ = host.output.read(&mut [0; 64]); // later in each round, while starts continue
        (0..round * 3).for_each(|_| drop(read_line(&mut host.output)));
        let processes = MarkedProcesses::new(&mark);
        assert!(!processes.processes().is_empty(), "the host has the mark, too");
        host.kill();
        wait_until("no process with the mark remains", || processes.processes().is_empty().then_some(()));
    }
}

/// A lack of descriptors is reported as such, with the limit. A start succeeds after the limit is raised.
#[test]
fn lack_of_descriptors_is_reported_and_temporary() {
    let mut host = Host::start_with("no-descriptors", "");
    assert_eq!(host.read_to_end(), "true true\n");
}

/// A limit on the size of files (`ulimit -f`) applies to slabs. Beyond it, the system would end the host by `SIGXFSZ`.
#[cfg(target_os = "linux")]
#[test]
fn limit_on_files_makes_slabs_fail() {
    let mut host = Host::start_with("small-files", "");
    assert_eq!(host.read_to_end(), "true true true\n");
    assert!(host.process.wait().unwrap().success());
}

fn killing_the_host_ends_all_processes(then: &str) {
    let mut host = Host::start(then);
    let watched = host.watches();
    assert_eq!(watched.len(), 5, "two workers, their grandchildren, and the watchdog");
    assert!(watched.iter().all(Watch::is_alive));
    host.kill();
    watched.iter().for_each(Watch::wait_for_exit);
}

/// The host: a process that the test kills.
struct Host {
    process: Child,
    output: BufReader<ChildStdout>,
    workers: Vec<u32>,
}

impl Host {
    fn start(then: &str) -> Self {
        let mut host = Self::start_with(then, "");
        let pids = wait_until("the process ids of the workers", || {
            Some(read_line(&mut host.output)).filter(|line| line.starts_with("PIDS "))
        });
        host.workers = numbers(&pids);
        host
    }

    fn start_with(role: &str, mark: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "host_killed::host", "--nocapture", "--include-ignored", "-q"])
            .env(ROLE, role)
            .env(MARK, mark);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output, workers: Vec::new() }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn watches(&self) -> Vec<Watch> {
        self.workers.iter().copied().chain(watchdog_of(self.pid())).map(Watch::new).collect()
    }

    /// Kills the host and reads its output to the end. The read would block forever if the watchdog held the output open.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        assert_eq!(self.process.wait().unwrap().signal(), Some(9));
        self.read_to_end();
    }

    fn read_to_end(&mut self) -> String {
        let lines = self.output.by_ref().lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with("true") || line.starts_with("false")).map(|line| line + "\n").collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The entry point of the host. Does nothing when it is run as a test.
#[tokio::test]
#[ignore = "a role: started by the other tests"]
async fn host() {
    match std::env::var(ROLE).unwrap_or_default().as_str() {
        "" => {}
        "starting" => start_endlessly().await,
        "no-descriptors" => start_without_descriptors().await,
        "small-files" => make_slabs_beyond_the_limit_on_files(),
        then => keep_two(then).await,
    }
}

/// Runs two workers until standard input is closed.
async fn keep_two(then: &str) {
    let script = format!("g = subprocess.Popen(['sleep', '1000'])\nsend(os.getpid(), g.pid)\n{then}");
    let (one, two) = (start(python(&script)).await, start(python(&script)).await);
    let pids = [&one, &two].map(|worker| read_line(&mut line_reader(worker.calls.try_clone().unwrap())));
    println!("\nPIDS {}", pids.join(" "));
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

async fn start_endlessly() {
    let mut workers = Vec::new();
    loop {
        workers.push(start(shell("sleep 1000 & sleep 1000 & wait")).await);
        println!("started");
        if workers.len() > 40 {
            workers.clear();
        }
    }
}

/// Tries to start a worker without free descriptors, then with some.
async fn start_without_descriptors() {
    start(shell("true")).await.child.wait().await;
    let limit = getrlimit(Resource::Nofile);
    let open = descriptors(std::process::id()).len() as u64;
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(open + 3), ..limit }).unwrap();
    let error = spawn(shell("true")).await.err().unwrap();
    let names_the_limit = error.to_string().contains(&format!("its limit is {} (`ulimit -n`)", open + 3));
    setrlimit(Resource::Nofile, limit).unwrap();
    let is_named = |error: SpawnError| {
        error.is_resource() && error.is_out_of_descriptors() && matches!(error, SpawnError::Resources { .. })
    };
    println!("\n{} {}", names_the_limit && is_named(error), spawn(shell("true")).await.is_ok());
}

/// Makes slabs of more bytes than files may have, then one of as many.
fn make_slabs_beyond_the_limit_on_files() {
    let limit = 1 << 16;
    let limits = rustix::process::Rlimit { current: Some(limit), ..getrlimit(Resource::Fsize) };
    setrlimit(Resource::Fsize, limits).unwrap();
    let limit = limit as usize;
    let is_too_large = |error: std::io::Error| error.kind() == std::io::ErrorKind::FileTooLarge;
    let arguments = ArgumentSlab::create(2 * limit).is_err_and(is_too_large);
    let results = ResultSlab::create(2 * limit).is_err_and(is_too_large);
    println!("\n{arguments} {results} {}", ResultSlab::create(limit).is_ok());
}
