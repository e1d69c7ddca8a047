//! The signals of a service: signals that its starter ignores or blocks, and a SIGTERM that is sent to all its
//! processes.

use crate::support::{Reply, Server, folder, is_alive, post, wait_until};
use herder::testing::Signal;
use serde_json::json;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
};

/// A pool with one worker, whose commands start programs.
const CONFIG: &str = "[pools.one]\nworker_type = 'enhanced'\napp = 'starts.py:app'\npool_size = 1\noverflow = 0\n";
const STARTS: &str = r#"
import os, subprocess, sys, time
import herder
app = herder.App()

@app.command
def false(): return subprocess.run(["false"]).returncode

@app.command
def masks(): return subprocess.run(["grep", "^Sig[BI]", "/proc/self/status"], stdout=subprocess.PIPE).stdout.decode()

@app.command
def pid(): return os.getpid()

@app.command
def die(): os._exit(3)

@app.command
def wait(file: str):
    while not os.path.exists(file): time.sleep(0.01)
    return "waited"

@app.command
def wait_longer(file: str):
    answer = wait(file)
    time.sleep(0.5)
    return answer

@app.command
def program(started: str):
    child = subprocess.Popen(["sleep", "1000"])
    with open(started + ".new", "w") as file: file.write(str(child.pid))
    os.rename(started + ".new", started)
    return child.wait()
"#;

/// An app that records each of its starts, and that SIGTERM kills.
const MORTAL: &str = r#"
import os, signal
import herder
app = herder.App()

@app.command
def nothing(): pass

@app.on_start
def start():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open("started", "a") as file: print(os.getpid(), file=file)
"#;

/// The effects of `nohup`, of a starter that wants no zombies, and of one that blocks signals to read them from a
/// descriptor.
const HOSTILE: [&str; 3] = [
    "signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())",
];

/// The signals 32 and 33 are internal to the C library, which ignores them in the processes that it starts.
const INTERNAL: u64 = 0b11 << 31;

/// Returns the running children of a process.
fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&pid| herder::testing::stat(pid).is_some_and(|seen| seen.parent == parent && seen.state != 'Z'))
        .collect()
}

fn started_by(script: &str) -> Server {
    let folder = folder(CONFIG);
    fs::write(folder.path().join("starts.py"), STARTS).unwrap();
    let server = Server::by(&format!("import os, signal, sys\n{script}\nos.execv(sys.argv[1], sys.argv[1:])"), folder);
    server.until_ready();
    server
}

/// R30: signals that the starter ignores or blocks are restored for workers and their programs, and exit statuses are
/// read.
#[test]
fn r30_the_signals_of_its_starter_reach_no_worker() {
    for script in HOSTILE {
        let mut server = started_by(script);
        assert_eq!(server.call("one/false", "{}", &[]).result(), &json!(1), "{script}");
        let masks = server.call("one/masks", "{}", &[]);
        let masks = masks.result().as_str().unwrap().to_owned();
        let bits = |line: &str| u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap() & !INTERNAL;
        assert_eq!(masks.lines().map(bits).collect::<Vec<_>>(), [0, 0], "{script}: {masks}");
        let lost = server.call("one/die", "{}", &[]);
        assert_eq!(lost.problem(502, "worker-lost")["exit_status"], 3, "{script}");
        wait_until("another worker", || server.get("/readyz").status == 200);
        if script.contains("SIGHUP") {
            server.signal(Signal::HUP); // as if its terminal had closed
            assert_eq!(server.call("one/false", "{}", &[]).result(), &json!(1));
        }
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0), "{script}: SIGTERM and SIGINT are not blocked");
    }
}

/// R30: systemd's `KillMode=control-group` sends SIGTERM to the host, its workers and its watchdog at once. Calls in
/// flight are answered, the server stops as after one SIGTERM, and nothing is left. A program that a handler has
/// started ends.
#[test]
fn r30_a_sigterm_to_every_process_of_the_service_drains() {
    let mut server = started_by("");
    let worker = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
    let processes = children(server.pid());
    assert_eq!(processes.len(), 2, "the worker and the watchdog: {processes:?}");
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("one/wait", &body, &[]);
    server.until_queue("one", 0, 1);
    terminate(processes.iter().copied().chain([server.pid()]));
    server.until_logged("requests and calls may finish within 10s");
    assert!(processes.iter().all(|&pid| is_alive(pid.into())), "the watchdog runs until the end");
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.log().contains("signal 15"), "no worker was killed by it: {}", server.log());
    wait_until("the worker and the watchdog have exited", || {
        !is_alive(worker) && !processes.iter().any(|&pid| is_alive(pid.into()))
    });
}

/// R30: programs that handlers have started do not ignore SIGTERM, and end. The handler continues.
#[test]
fn r30_a_sigterm_to_every_process_ends_what_handlers_started() {
    let mut server = started_by("");
    let started = server.file("started");
    let running = server.background("one/program", &json!({ "started": started }).to_string(), &[]);
    wait_until("the program runs", || started.exists());
    let program: u32 = fs::read_to_string(started).unwrap().parse().unwrap();
    terminate(children(server.pid()).into_iter().chain([program, server.pid()]));
    assert_eq!(running.join().unwrap().result(), &json!(-15));
    assert_eq!(server.wait().code(), Some(0));
}

/// Sends several signals. The server is stopped meanwhile, so that it receives the first one when all are pending.
fn at_once(server: &Server, signals: &[Signal]) {
    server.signal(Signal::STOP);
    wait_until("the server is stopped", || herder::testing::stat(server.pid()).is_some_and(|seen| seen.state == 'T'));
    signals.iter().for_each(|signal| server.signal(*signal));
    server.signal(Signal::CONT);
}

/// R30: `timeout`, shells and some supervisors send two signals. The second one belongs to the same stop, and calls in
/// flight are answered.
#[test]
fn r30_two_signals_within_a_second_are_one_stop() {
    let mut server = started_by("");
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("one/wait", &body, &[]);
    server.until_queue("one", 0, 1);
    at_once(&server, &[Signal::INT, Signal::TERM]);
    server.until_logged("the same stop");
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(server.wait().code(), Some(0));
}

/// R30: each SIGHUP to a server without a terminal is logged, and has no other effect.
#[test]
fn r30_sighup_without_a_terminal_is_ignored() {
    let mut server = started_by("os.setsid()");
    let worker = server.call("one/pid", "{}", &[]).result().clone();
    for times in 1..=2 {
        server.signal(Signal::HUP);
        wait_until("the signal is logged", || server.log().matches("SIGHUP ignored").count() == times);
    }
    assert_eq!(server.call("one/pid", "{}", &[]).result(), &worker);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// R30: SIGHUP to a server with a terminal means that the terminal was closed. It ends the server like any other
/// program, and no process is left.
#[test]
fn r30_a_terminal_that_closes_ends_the_server() {
    let terminal = "os.setsid(); (ours, theirs) = os.openpty(); os.set_inheritable(ours, True); os.open(os.ttyname(theirs), os.O_RDWR)";
    let mut server = started_by(terminal);
    let processes = children(server.pid());
    server.signal(Signal::HUP);
    assert_eq!(server.wait().signal(), Some(1));
    wait_until("the worker and the watchdog have exited", || !processes.iter().any(|&pid| is_alive(pid.into())));
}

/// R30: SIGTERM of the service manager also kills workers that do not ignore it. They are not restarted while the
/// server stops.
#[test]
fn r30_no_worker_is_started_again_while_the_server_ends() {
    let folder = folder(&format!("{CONFIG}{}", CONFIG.replace("one", "two").replace("starts.py", "mortal.py")));
    fs::write(folder.path().join("starts.py"), STARTS).unwrap();
    fs::write(folder.path().join("mortal.py"), MORTAL).unwrap();
    let mut server = Server::start(folder, &[], &[]);
    server.until_ready();
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("one/wait_longer", &body, &[]);
    server.until_queue("one", 0, 1);
    server.signal(Signal::TERM);
    server.until_logged("requests and calls may finish within 10s");
    wait_until("no connection is accepted", || TcpStream::connect(server.address).is_err());
    let mortal = fs::read_to_string(server.file("started")).unwrap();
    herder::testing::signal(mortal.trim().parse().unwrap(), Signal::TERM).unwrap();
    server.until_logged("worker lost");
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(fs::read_to_string(server.file("started")).unwrap(), mortal, "the worker was started once");
}

/// R30: a worker is restarted for a call that waits for it, here that of a request whose body arrives late.
#[test]
fn r30_a_worker_is_started_for_a_call_that_waits_while_the_server_ends() {
    let mut server = started_by("");
    let worker = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
    let request = post("/v1/pools/one/call/pid", "").header("Content-Length", "2").header("Expect", "100-continue");
    let mut late = request.open(server.address);
    // Wait until the server has read the head of the request: it closes a connection without one, because it is idle.
    let mut interim = [0; 25];
    late.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.signal(Signal::TERM);
    server.until_logged("requests and calls may finish within 10s");
    wait_until("no connection is accepted", || TcpStream::connect(server.address).is_err());
    herder::testing::signal(u32::try_from(worker).unwrap(), Signal::KILL).unwrap();
    server.until_logged("worker lost");
    late.write_all(b"{}").unwrap();
    assert_ne!(Reply::read(late).result(), worker);
    assert_eq!(server.wait().code(), Some(0));
}

fn terminate(processes: impl Iterator<Item = u32>) {
    processes.for_each(|process| herder::testing::signal(process, Signal::TERM).unwrap());
}
