//! Signals that a service meets: those its starter ignores or blocks, and a SIGTERM that comes to every process of it.

use crate::support::{Reply, Server, folder, is_alive, post, wait_until};
use herder::testing::Signal;
use serde_json::json;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
};

/// One worker with commands that start programs.
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

/// A worker that writes down each of its starts, and that SIGTERM ends.
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

/// `nohup`, a starter that wants no zombies, and one that blocks signals to read them from a descriptor.
const HOSTILE: [&str; 3] = [
    "signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())",
];

/// The signals 32 and 33 are the C library's own, which ignores them in what it starts.
const INTERNAL: u64 = 0b11 << 31;

/// The processes that this one started and that live.
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

/// R30: what the starter ignores and blocks reaches neither workers nor their programs, and exit statuses are read.
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
            server.signal(Signal::HUP); // as when its terminal closes
            assert_eq!(server.call("one/false", "{}", &[]).result(), &json!(1));
        }
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0), "{script}: SIGTERM and SIGINT are not blocked");
    }
}

/// R30: systemd's `KillMode=control-group`: SIGTERM to the host, its workers and its watchdog at once. Calls in flight are answered,
/// the server ends as for one SIGTERM, and nothing is left. A program that a handler started ends.
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
    assert!(processes.iter().all(|&pid| is_alive(pid.into())), "the watchdog is there to the end");
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.log().contains("signal 15"), "no worker ended of it: {}", server.log());
    wait_until("the worker and the watchdog are gone", || {
        !is_alive(worker) && !processes.iter().any(|&pid| is_alive(pid.into()))
    });
}

/// R30: the limit of that: programs that handlers started have the default, and end. The handler goes on.
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

/// Sends several signals of which the server sees the first only when all are there.
fn at_once(server: &Server, signals: &[Signal]) {
    server.signal(Signal::STOP);
    wait_until("it is stopped", || herder::testing::stat(server.pid()).is_some_and(|seen| seen.state == 'T'));
    signals.iter().for_each(|signal| server.signal(*signal));
    server.signal(Signal::CONT);
}

/// R30: `timeout`, shells and some supervisors send two signals: the second is the same stop, and calls in flight are answered.
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

/// R30: SIGHUP in a server without a terminal is logged, each time, and changes nothing.
#[test]
fn r30_sighup_without_a_terminal_is_ignored() {
    let mut server = started_by("os.setsid()");
    let worker = server.call("one/pid", "{}", &[]).result().clone();
    for times in 1..=2 {
        server.signal(Signal::HUP);
        wait_until("it is logged", || server.log().matches("SIGHUP ignored").count() == times);
    }
    assert_eq!(server.call("one/pid", "{}", &[]).result(), &worker);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// R30: with a terminal SIGHUP means that it was closed, and ends the server as any program there. No process of it is left.
#[test]
fn r30_a_terminal_that_closes_ends_the_server() {
    let terminal = "os.setsid(); (ours, theirs) = os.openpty(); os.set_inheritable(ours, True); os.open(os.ttyname(theirs), os.O_RDWR)";
    let mut server = started_by(terminal);
    let processes = children(server.pid());
    server.signal(Signal::HUP);
    assert_eq!(server.wait().signal(), Some(1));
    wait_until("its worker and its watchdog are gone", || !processes.iter().any(|&pid| is_alive(pid.into())));
}

/// R30: the service manager's SIGTERM ends workers too (those that do not ignore it): none is started again while the server ends.
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
    assert_eq!(fs::read_to_string(server.file("started")).unwrap(), mortal, "it was started once");
}

/// R30: but for a call that waits for one: here of a request whose body comes late.
#[test]
fn r30_a_worker_is_started_for_a_call_that_waits_while_the_server_ends() {
    let mut server = started_by("");
    let worker = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
    let request = post("/v1/pools/one/call/pid", "").header("Content-Length", "2").header("Expect", "100-continue");
    let mut late = request.open(server.address);
    // The server has the head of the request: of a connection without one it would see no request, and close it.
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
