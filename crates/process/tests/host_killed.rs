//! R30: the host is killed with `SIGKILL`, and nothing of its workers is left. The host is this test binary, started again in
//! the role that a variable names.

use crate::support::{Watch, line, lines, numbers, python, raw, shell, started, until, watchdog_of};
use herder_process::{
    Signal, SpawnError,
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

/// What a worker does while its host dies. Each has said its pids on the calls socket before.
const IDLE: &str = "calls.recv(1)";
const IN_PYTHON: &str = "while True: pass";
const HOLDS_THE_GIL_IN_C: &str = "re.match(r'(a+)+$', 'a' * 40 + 'b')";
const IN_A_SUBPROCESS: &str = "g.wait()";

#[test]
fn an_idle_worker_and_its_grandchild_go_with_the_host() {
    everything_goes(IDLE);
}

#[test]
fn a_worker_busy_in_python_goes_with_the_host() {
    everything_goes(IN_PYTHON);
}

#[test]
fn a_worker_that_holds_the_gil_in_c_goes_with_the_host() {
    everything_goes(HOLDS_THE_GIL_IN_C);
}

#[test]
fn a_worker_that_waits_for_a_subprocess_goes_with_the_host() {
    everything_goes(IN_A_SUBPROCESS);
}

/// The host ends as if its process group had been interrupted, too: its watchdog ignores what ends the host.
#[test]
fn the_watchdog_outlives_the_signals_of_a_terminal() {
    let mut host = Host::start(IDLE);
    let watchdog = watchdog_of(host.pid()).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(raw(watchdog), signal).unwrap();
    }
    assert!(Watch::new(watchdog).is_alive());
    let watched = host.watches();
    host.kill();
    watched.iter().for_each(Watch::ended);
}

/// A host that just returns from `main` takes its workers along as well.
#[test]
fn a_host_that_ends_by_itself_leaves_nothing() {
    let mut host = Host::start("calls.recv(1) # leave");
    let watched = host.watches();
    drop(host.process.stdin.take());
    assert!(host.process.wait().unwrap().success());
    watched.iter().for_each(Watch::ended);
}

/// If the watchdog dies it is reaped, and its successor knows the groups that live.
#[test]
fn a_watchdog_that_was_killed_is_replaced_and_reaped() {
    let mut host = Host::start(IDLE);
    let first = watchdog_of(host.pid()).unwrap();
    kill_process(raw(first), Signal::KILL).unwrap();
    until("another watchdog", || watchdog_of(host.pid()).filter(|&next| next != first));
    until("the first one is reaped", || stat(first).is_none().then_some(()));
    let watched = host.watches();
    host.kill();
    watched.iter().for_each(Watch::ended);
}

/// It holds its lifeline, and a descriptor that tells of the host; no terminal, no listening socket, no worker's socket.
#[test]
fn the_watchdog_holds_nothing_of_the_hosts() {
    let host = Host::start(IDLE);
    let watchdog = watchdog_of(host.pid()).unwrap();
    let held = descriptors(watchdog).into_values();
    let mut kinds: Vec<String> = held.map(|target| target.split(':').next().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["anon_inode", "socket"]);
    let group = rustix::process::getsid(Some(raw(watchdog))).unwrap();
    assert_eq!(group, raw(watchdog), "a session of its own");
}

/// There is no moment between fork and exec, or exec and registration, in which the host may die and leave a group.
#[test]
fn a_host_killed_while_it_starts_workers_leaves_none() {
    for round in 0..8 {
        let mark = format!("{}-{round}", std::process::id());
        let mut host = Host::start_with("starting", &mark);
        let _ = host.words.read(&mut [0; 64]); // a little later each round: starts go on meanwhile
        (0..round * 3).for_each(|_| drop(line(&mut host.words)));
        let processes = MarkedProcesses::new(&mark);
        assert!(!processes.processes().is_empty(), "the host has it too");
        host.kill();
        until("no process with the mark", || processes.processes().is_empty().then_some(()));
    }
}

/// A shortage is named as one, and it passes.
#[test]
fn out_of_descriptors_is_a_shortage_that_passes() {
    let mut host = Host::start_with("starved", "");
    assert_eq!(host.read_to_end(), "true true\n");
}

fn everything_goes(then: &str) {
    let mut host = Host::start(then);
    let watched = host.watches();
    assert_eq!(watched.len(), 5, "two workers, their grandchildren, and the watchdog");
    assert!(watched.iter().all(Watch::is_alive));
    host.kill();
    watched.iter().for_each(Watch::ended);
}

/// The process that will be killed.
struct Host {
    process: Child,
    words: BufReader<ChildStdout>,
    workers: Vec<u32>,
}

impl Host {
    fn start(then: &str) -> Self {
        let mut host = Self::start_with(then, "");
        let told = until("its workers' pids", || Some(line(&mut host.words)).filter(|line| line.starts_with("PIDS ")));
        host.workers = numbers(&told);
        host
    }

    fn start_with(role: &str, mark: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "host_killed::host", "--nocapture", "--include-ignored", "-q"])
            .env(ROLE, role)
            .env(MARK, mark);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = BufReader::new(process.stdout.take().unwrap());
        Self { process, words, workers: Vec::new() }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn watches(&self) -> Vec<Watch> {
        self.workers.iter().copied().chain(watchdog_of(self.pid())).map(Watch::new).collect()
    }

    /// Kills it, and reads its output to the end: a watchdog that held it open would make this wait for ever.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        assert_eq!(self.process.wait().unwrap().signal(), Some(9));
        self.read_to_end();
    }

    fn read_to_end(&mut self) -> String {
        let lines = self.words.by_ref().lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with("true") || line.starts_with("false")).map(|line| line + "\n").collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The host's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn host() {
    match std::env::var(ROLE).unwrap_or_default().as_str() {
        "" => {}
        "starting" => start_for_ever().await,
        "starved" => starve().await,
        then => keep_two(then).await,
    }
}

/// Keeps two workers until standard input ends.
async fn keep_two(then: &str) {
    let script = format!("g = subprocess.Popen(['sleep', '1000'])\nsay(os.getpid(), g.pid)\n{then}");
    let (one, two) = (started(python(&script)).await, started(python(&script)).await);
    let pids = [&one, &two].map(|worker| line(&mut lines(worker.calls.try_clone().unwrap())));
    println!("\nPIDS {}", pids.join(" "));
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

async fn start_for_ever() {
    let mut workers = Vec::new();
    loop {
        workers.push(started(shell("sleep 1000 & sleep 1000 & wait")).await);
        println!("another");
        if workers.len() > 40 {
            workers.clear();
        }
    }
}

/// Tries without descriptors, then with some again.
async fn starve() {
    started(shell("true")).await.child.wait().await;
    let limit = getrlimit(Resource::Nofile);
    let open = descriptors(std::process::id()).len() as u64;
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(open + 3), ..limit }).unwrap();
    let error = spawn(shell("true")).await.err().unwrap();
    let names_the_limit = error.to_string().contains(&format!("its limit is {} (`ulimit -n`)", open + 3));
    setrlimit(Resource::Nofile, limit).unwrap();
    let named = |error: SpawnError| {
        error.is_resource() && error.is_out_of_descriptors() && matches!(error, SpawnError::Resources { .. })
    };
    println!("\n{} {}", names_the_limit && named(error), spawn(shell("true")).await.is_ok());
}
