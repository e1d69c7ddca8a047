//! File descriptors run out: `herder serve` with limits that services have, and with a limit that is lowered while it
//! runs.

use crate::support::{Reply, Server, folder, get, herder, through, wait_until};
use herder::testing::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

const ONE: &str =
    "[pools.one]\napp = 'limits.py:app'\npool_size = 1\noverflow = 0\nrestart = { max = 1, max_backoff = '100ms' }\n";
const APP: &str = r#"
import os, resource, time
import herder
app = herder.App()

@app.command(idempotent=True)
def pid(): return os.getpid()

@app.command
def wait(file: str):
    while not os.path.exists(file): time.sleep(0.01)

@app.command
def limit(): return resource.getrlimit(resource.RLIMIT_NOFILE)
"#;

fn limited(soft: u64, hard: u64, config: &str) -> Server {
    let script = format!(
        "import os, resource, sys\nresource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\nos.execv(sys.argv[1], sys.argv[1:])"
    );
    let folder = folder(config);
    fs::write(folder.path().join("limits.py"), APP).unwrap();
    let server = Server::by(&script, folder);
    server.until_ready();
    server
}

/// Sets the soft limit of a running server whose hard limit is 1000.
fn limit(server: &Server, soft: u64) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(1000) }).unwrap();
}

/// Returns the number of open descriptors of the server.
fn open(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Requests the pool's status repeatedly on one connection.
struct StatusOf {
    connection: BufReader<TcpStream>,
    request: String,
}

impl StatusOf {
    fn new(server: &Server) -> Self {
        let request = get("/v1/pools/one").text(server.address).replace("Connection: close\r\n", "");
        Self { connection: BufReader::new(TcpStream::connect(server.address).unwrap()), request }
    }

    fn get(&mut self) -> Value {
        self.connection.get_mut().write_all(self.request.as_bytes()).unwrap();
        let lines = self.connection.by_ref().lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.connection.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

/// R28: the server raises its limit. Its workers have the limit that the server was started with, because `select`
/// fails for larger descriptor numbers.
#[test]
fn r28_the_limit_is_raised_for_the_server_and_not_for_its_workers() {
    let server = limited(256, 4096, ONE);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "{line}");
    assert_eq!(server.call("one/limit", "{}", &[]).result(), &json!([256, 4096]));
}

/// R28: a worker works even if the numbers of its sockets exceed its limit, because the server had many connections
/// when it started the worker.
#[test]
fn r28_a_worker_works_with_sockets_beyond_its_limit() {
    let server = limited(64, 1000, &ONE.replace("overflow = 0", "overflow = 1"));
    let mut idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    wait_until("the connections are accepted", || open(&server) > 120);
    let base = server.background("one/wait", &json!({ "file": server.file("go") }).to_string(), &[]);
    server.until_queue("one", 0, 1);
    let overflow = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
    let numbers = fs::read_dir(format!("/proc/{overflow}/fd")).unwrap();
    let highest = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok()).max();
    assert!(highest > Some(64), "{highest:?}");
    assert_eq!(server.call("one/limit", "{}", &[]).result(), &json!([64, 1000]));
    idle.clear();
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(base.join().unwrap().status, 200);
}

/// R28: idle connections leave enough descriptors to restart a worker. Further connections wait.
#[test]
fn r28_connections_leave_descriptors_for_workers() {
    let server = limited(200, 200, ONE);
    let pid = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
    let mut status = StatusOf::new(&server);
    assert_eq!(status.get()["workers"][0]["generation"], 1);
    let idle: Vec<TcpStream> = (0..180).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    wait_until("the largest number of connections is accepted", || open(&server) > 150);
    herder::testing::signal(u32::try_from(pid).unwrap(), Signal::KILL).unwrap();
    server.until_logged("worker lost");
    wait_until("another worker", || {
        let worker = status.get()["workers"][0].clone();
        worker["generation"] == 2 && worker["state"] == "ready"
    });
    drop(idle);
    assert_ne!(server.call("one/pid", "{}", &[]).result(), pid);
    assert!(!server.log().contains("file descriptors left"), "{}", server.log());
}

/// R28: without free descriptors no worker can start. This is logged once, with the limit, and does not make the pool
/// fail. Workers start, and waiting connections are served, when there are descriptors again.
#[test]
fn r28_a_pool_recovers_when_the_host_has_descriptors_again() {
    let server = limited(1000, 1000, ONE);
    let pid = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
    let mut status = StatusOf::new(&server);
    let mut starts = || {
        let status = status.get();
        assert_ne!(status["state"], "failed", "{}", server.log());
        status["counters"]["starts"].as_u64().unwrap()
    };
    assert_eq!(starts(), 1);
    limit(&server, 10); // all lower numbers are in use
    herder::testing::signal(u32::try_from(pid).unwrap(), Signal::KILL).unwrap();
    server.until_logged("worker failed to start");
    wait_until("there were more attempts than restarts are allowed", || starts() > 6);
    let waiting = server.request("one/pid", "{}", &[]).open(server.address); // the system accepts the connection, but the server cannot
    limit(&server, 1000);
    assert_ne!(Reply::read(waiting).result(), pid);
    server.until_logged("the host has file descriptors again");
    let log = server.log();
    assert_eq!(log.matches("worker failed to start").count(), 1, "{log}");
    assert!(log.contains("file descriptors left") && log.contains("(`ulimit -n`)"), "{log}");
    assert!(!log.contains("cannot be written") && !log.contains("pool failed"), "{log}");
}

/// R13: 20 descriptors are too few for a server. The error contains the limit and the needed number; the exit code is
/// 1.
#[test]
fn r13_with_20_descriptors_the_server_exits_with_the_needed_number() {
    let folder = folder(ONE);
    fs::write(folder.path().join("limits.py"), APP).unwrap();
    let serve = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let output = through("sh", &["-c", "ulimit -n 20; exec \"$0\" \"$@\""], &serve).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("the limit of open file descriptors is 20 (`ulimit -n`)") && error.contains("at least"),
        "{error}"
    );
}

/// R13: with 200 descriptors, a server runs two pools with all their workers.
#[test]
fn r13_with_200_descriptors_two_pools_serve() {
    let two = ["one", "two"].map(|name| ONE.replace("one", name).replace("size = 1", "size = 4")).concat();
    let mut server = limited(200, 200, &two);
    for command in ["one/pid", "two/pid"] {
        let replies: Vec<_> = (0..100).map(|_| server.background(command, "{}", &[])).collect();
        replies.into_iter().for_each(|reply| assert!(reply.join().unwrap().result().is_u64()));
    }
    assert!(!server.log().contains("WARN"), "{}", server.log());
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}
