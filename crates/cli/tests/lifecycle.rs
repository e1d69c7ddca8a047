//! The server's life: readiness, clients who leave, the end in order and the end now.

use crate::support::{Reply, Server, folder, get, herder, is_alive, wait_until};
use herder::testing::Signal;
use serde_json::json;
use std::{fs, net::Shutdown, os::unix::process::ExitStatusExt};

const ONE: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\ntimeout = '10m'\nqueue.timeout = '10m'\n\
                   cancel = { interrupt = '10ms', kill = '10m' }\n";

#[test]
fn readyz_is_200_once_each_pool_has_a_worker() {
    let folder = folder(ONE);
    let go = folder.path().join("go");
    let late = format!("import os, time\nwhile not os.path.exists({:?}): time.sleep(0.01)\n", go.display().to_string());
    fs::write(folder.path().join("app.py"), late + crate::support::APP).unwrap();
    let server = Server::start(folder, &[], &[]);
    let before = server.get("/readyz");
    let problem = before.problem(503, "not-ready");
    assert_eq!(problem["detail"], "not ready: `one` has 0 of 1 workers ready");
    assert_eq!(problem["pools"]["one"]["healthy"], false);
    assert_eq!(before.header("retry-after"), Some("1"));
    assert_eq!(server.get("/healthz").json["status"], "ok");
    fs::write(go, "").unwrap();
    wait_until("it is ready", || server.get("/readyz").status == 200);
    assert_eq!(server.get("/readyz").json["pools"]["one"]["ready_workers"], 1);
}

/// R35: a client that goes away cancels its call. The worker is interrupted and lives on, its slot is free again.
#[test]
fn r35_disconnected_client_cancels_its_call() {
    let server = Server::with(ONE);
    let pid = server.call("one/pid", "{}", &[]).result().clone();
    for how in [Shutdown::Both, Shutdown::Write] {
        let client = server.request("one/wait", r#"{"file": "never"}"#, &[]).open(server.address);
        server.until_queue("one", 0, 1);
        client.shutdown(how).unwrap();
        server.until_queue("one", 0, 0);
    }
    // One that waits in the queue is taken out of it.
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("one/wait", &body, &[]);
    server.until_queue("one", 0, 1);
    let waiting = server.request("one/echo", "{}", &[]).open(server.address);
    server.until_queue("one", 1, 1);
    drop(waiting);
    server.until_queue("one", 0, 1);
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(server.call("one/pid", "{}", &[]).result(), &pid, "the same process");
    assert_eq!(server.get("/v1/pools/one").json["counters"]["abandoned"], 3);
}

/// R35, R38: what can't be interrupted is killed for a client that left, and the session that was there is told where it hung.
#[test]
fn r35_disconnected_client_with_a_hanging_call_kills_the_worker() {
    let config = "[pools.one]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n\
                  cancel = { interrupt = '10ms', kill = '100ms' }\n";
    let hang = "\nimport ctypes\n\n@app.command\ndef hang(file: str):\n    open(file, 'w').close()\n    \
                mutex = ctypes.create_string_buffer(128)\n    \
                for _ in range(2): ctypes.PyDLL(None).pthread_mutex_lock(mutex)\n";
    let folder = folder(config);
    fs::write(folder.path().join("app.py"), format!("{}{hang}", crate::support::APP)).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    let ann = [("Herder-Session", "ann")];
    assert_eq!(server.call("one/count", "{}", &ann).result(), &json!(1));
    let begun = server.file("begun");
    let client = server.request("one/hang", &json!({ "file": begun }).to_string(), &[]).open(server.address);
    wait_until("it hangs", || begun.exists());
    drop(client);
    let lost = server.call("one/count", "{}", &ann);
    let problem = lost.problem(410, "session-worker-lost");
    assert!(problem["stack"].as_str().is_some_and(|stack| stack.contains("in hang")), "{problem}");
    assert_eq!((&problem["signal"], &problem["may_have_run"]), (&json!(9), &json!(false)), "{problem}");
    assert_eq!(server.call("one/count", "{}", &ann).result(), &json!(1));
    server.until_logged("in hang");
}

/// A client that sends its next request before it has its answer has not left.
#[test]
fn client_that_pipelines_is_not_disconnected() {
    let server = Server::with(ONE);
    let body = json!({ "file": server.file("go") }).to_string();
    let keep = [("Connection", "keep-alive")];
    let first = server.request("one/wait", &body, &keep).text(server.address).replace("Connection: close\r\n", "");
    let mut client = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut client, first.as_bytes()).unwrap();
    server.until_queue("one", 0, 1);
    std::io::Write::write_all(&mut client, get("/healthz").text(server.address).as_bytes()).unwrap();
    fs::write(server.file("go"), "").unwrap();
    let both = Reply::read(client);
    assert_eq!(both.status, 200);
    assert!(both.body.contains("waited") && both.body.contains("\"status\":\"ok\""), "{both:?}");
}

/// R30: after the first signal what runs may finish; then the server ends with 0, and no worker is left.
#[test]
fn r30_signal_drains_connections_and_calls() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::with(ONE);
        let pid = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
        let idle = std::net::TcpStream::connect(server.address).unwrap(); // must hold up nothing
        let body = json!({ "file": server.file("go") }).to_string();
        let running = server.background("one/wait", &body, &[]);
        server.until_queue("one", 0, 1);
        server.signal(signal);
        server.until_logged("requests and calls may finish within 10s");
        wait_until("nobody is let in", || std::net::TcpStream::connect(server.address).is_err());
        fs::write(server.file("go"), "").unwrap();
        assert_eq!(running.join().unwrap().result(), "waited");
        assert_eq!(server.wait().code(), Some(0));
        assert!(server.log().contains("pool `one` stopped in"), "{}", server.log());
        wait_until("the worker is gone", || !is_alive(pid));
        drop(idle);
    }
}

/// No time to drain is too long: what is idle ends at once.
#[test]
fn r30_a_drain_may_take_as_long_as_any_clock_counts() {
    let mut server = Server::start(folder(ONE), &["--shutdown-timeout", "18446744073709551615s"], &[]);
    server.until_ready();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

/// What does not finish within the drain's time is told so.
#[test]
fn r30_unfinished_calls_are_answered_at_the_timeout() {
    let mut server = Server::start(folder(ONE), &["--shutdown-timeout", "50ms"], &[]);
    server.until_ready();
    let running = server.background("one/wait", r#"{"file": "never"}"#, &[]);
    server.until_queue("one", 0, 1);
    server.signal(Signal::TERM);
    assert_eq!(running.join().unwrap().problem(503, "pool-closed")["may_have_run"], true);
    assert_eq!(server.wait().code(), Some(0));
}

/// R30: but one within a second is the same stop.
#[test]
fn r30_a_second_signal_stops_now() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut server = Server::with(ONE);
        let pid = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
        let _running = server.request("one/wait", r#"{"file": "never"}"#, &[]).open(server.address);
        server.until_queue("one", 0, 1);
        server.signal(Signal::INT);
        server.until_logged("stops at once");
        let mut ended = None;
        wait_until("a signal is no longer the same stop", || {
            server.signal(signal);
            ended = server.try_wait();
            ended.is_some()
        });
        let status = ended.unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        wait_until("the worker is gone", || !is_alive(pid));
    }
}

const BROKEN: &str = "[pools.bad]\napp = 'bad.py:app'\npool_size = 1\noverflow = 0\n";

fn with_broken_app(config: &str) -> tempfile::TempDir {
    let folder = folder(config);
    fs::write(folder.path().join("bad.py"), "import nonsense_that_is_not_there\n").unwrap();
    folder
}

/// R13: when each pool has used up its restarts and no worker of any ever was ready, the server ends: what started it has to know, and may start it
/// again.
#[test]
fn r13_a_server_without_any_worker_ends_with_1() {
    let restart = "restart = { max = 1, backoff = '1ms' }\n";
    let config = format!("{BROKEN}{restart}{}{restart}", BROKEN.replace("pools.bad", "pools.worse"));
    let mut server = Server::start(with_broken_app(&config), &[], &[]);
    assert_eq!(server.wait().code(), Some(1));
    let log = server.log();
    let last = log.split("\nerror: ").last().unwrap();
    assert!(last.starts_with("no worker of any pool has started"), "{log}");
    for pool in ["`bad`: ", "`worse`: "] {
        assert!(last.contains(pool) && last.contains("nonsense_that_is_not_there"), "{log}");
    }
}

/// R13: one worker is enough for the server to go on, whatever fails beside it, in another pool or its own; it ends in order then.
#[test]
fn r13_a_server_with_a_worker_goes_on() {
    let restart = "restart = { max = 1, backoff = '1ms' }\n";
    let beside = format!("{ONE}{BROKEN}{restart}");
    let only_the_first =
        format!("{}{restart}", BROKEN.replace("pools.bad", "pools.one").replace("size = 1", "size = 2"));
    let first = format!("import os\nos.close(os.open('once', os.O_CREAT | os.O_EXCL))\n{}", crate::support::APP);
    for (config, app) in [(beside, "import nonsense_that_is_not_there\n"), (only_the_first, first.as_str())] {
        let folder = with_broken_app(&config);
        fs::write(folder.path().join("bad.py"), app).unwrap();
        let mut server = Server::start(folder, &[], &[]);
        wait_until("a pool has failed", || {
            server.get("/v1/pools").json["pools"].as_array().unwrap().iter().any(|pool| pool["state"] == "failed")
        });
        server.until_logged("pool failed: too many restarts");
        assert_eq!(server.call("one/echo", r#"{"x": 1}"#, &[]).result()["x"], 1);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    }
}

/// R13: a signal that comes before that finds the same out; one that comes before any start has failed does not.
#[test]
fn r13_a_signal_does_not_hide_that_no_worker_started() {
    let restart = "restart = { max = 1000, backoff = '10m', max_backoff = '10m' }\n";
    let mut server = Server::start(with_broken_app(&format!("{BROKEN}{restart}")), &[], &[]);
    server.until_logged("worker could not be started");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.log().contains("\nerror: no worker of any pool has started"), "{}", server.log());
    let slow = with_broken_app(BROKEN);
    fs::write(slow.path().join("bad.py"), "import time\nopen('begun', 'w').close()\ntime.sleep(600)\n").unwrap();
    let mut server = Server::start(slow, &[], &[]);
    wait_until("it starts", || server.file("begun").exists());
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_port_in_use_is_told() {
    let server = Server::start(folder(ONE), &[], &[]);
    let folder = folder(ONE);
    let output = herder(folder.path(), &["serve", "--listen", &server.address.to_string()]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("{} is in use", server.address)) && output.stdout.is_empty(), "{told}");
}

/// R40: what workers print is in the server's log, with the worker's name.
#[test]
fn r40_output_of_workers_is_logged() {
    let server = Server::with(ONE);
    assert_eq!(server.call("one/tell", r#"{"text": "hello from python"}"#, &[]).status, 200);
    wait_until("it is logged", || {
        server.log().lines().any(|line| line.contains("hello from python") && line.contains("w1"))
    });
}
