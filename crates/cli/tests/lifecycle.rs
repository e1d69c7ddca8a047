//! The lifecycle of the server: readiness, disconnected clients, graceful and immediate stops.

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
    assert_eq!(problem["detail"], "not ready: pool `one`: 0 of 1 workers ready");
    assert_eq!(problem["pools"]["one"]["healthy"], false);
    assert_eq!(before.header("retry-after"), Some("1"));
    assert_eq!(server.get("/healthz").json["status"], "ok");
    fs::write(go, "").unwrap();
    wait_until("the server is ready", || server.get("/readyz").status == 200);
    assert_eq!(server.get("/readyz").json["pools"]["one"]["ready_workers"], 1);
}

/// R11: a lazy pool is ready before its first call.
#[test]
fn r11_all_pools_are_ready_if_one_is_lazy() {
    let config = format!("{ONE}lazy = true\n");
    let server = Server::start(folder(&config), &[], &[]);
    assert_eq!(server.banner[0], "pool one: basic, 1 worker, started by the first call, app.py:app");
    server.until_logged("all pools are ready");
    assert_eq!(server.get("/v1/pools/one").json["state"], "idle");
    assert_eq!(server.call("one/echo", "{}", &[]).result(), &json!({}));
}

/// R35: the call of a client that disconnects is cancelled. The worker is interrupted and continues; its call slot is
/// free again.
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
    // A waiting call is removed from the queue.
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

/// R35, R38: a call that cannot be interrupted is killed after its client has disconnected. The session on that worker
/// gets the error with the stack of the hung handler.
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
    wait_until("the call hangs", || begun.exists());
    drop(client);
    let lost = server.call("one/count", "{}", &ann);
    let problem = lost.problem(410, "session-worker-lost");
    assert!(problem["stack"].as_str().is_some_and(|stack| stack.contains("in hang")), "{problem}");
    assert_eq!((&problem["signal"], &problem["may_have_run"]), (&json!(9), &json!(false)), "{problem}");
    assert_eq!(server.call("one/count", "{}", &ann).result(), &json!(1));
    server.until_logged("in hang");
}

/// A client that sends its next request before it has the response has not disconnected.
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

/// R30: after the first signal, running calls may finish. Then the server exits with 0, and no worker is left.
#[test]
fn r30_signal_drains_connections_and_calls() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::with(ONE);
        let pid = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
        let idle = std::net::TcpStream::connect(server.address).unwrap(); // must not delay the shutdown
        let body = json!({ "file": server.file("go") }).to_string();
        let running = server.background("one/wait", &body, &[]);
        server.until_queue("one", 0, 1);
        server.signal(signal);
        server.until_logged("requests and calls may finish within 10s");
        wait_until("no connection is accepted", || std::net::TcpStream::connect(server.address).is_err());
        fs::write(server.file("go"), "").unwrap();
        assert_eq!(running.join().unwrap().result(), "waited");
        assert_eq!(server.wait().code(), Some(0));
        assert!(server.log().contains("pool `one` stopped in"), "{}", server.log());
        wait_until("the worker has exited", || !is_alive(pid));
        drop(idle);
    }
}

/// Any shutdown timeout is accepted, and an idle server stops immediately.
#[test]
fn r30_a_shutdown_timeout_may_exceed_the_range_of_the_clock() {
    let mut server = Server::start(folder(ONE), &["--shutdown-timeout", "18446744073709551615s"], &[]);
    server.until_ready();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

/// Calls that do not finish within the shutdown timeout get an error.
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

/// R30: a second signal stops the server immediately. One within a second belongs to the same stop.
#[test]
fn r30_a_second_signal_stops_immediately() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut server = Server::with(ONE);
        let pid = server.call("one/pid", "{}", &[]).result().as_u64().unwrap();
        let _running = server.request("one/wait", r#"{"file": "never"}"#, &[]).open(server.address);
        server.until_queue("one", 0, 1);
        server.signal(Signal::INT);
        server.until_logged("stops immediately");
        let mut ended = None;
        wait_until("a signal no longer belongs to the same stop", || {
            server.signal(signal);
            ended = server.try_wait();
            ended.is_some()
        });
        let status = ended.unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        wait_until("the worker has exited", || !is_alive(pid));
    }
}

const BROKEN: &str = "[pools.bad]\napp = 'bad.py:app'\npool_size = 1\noverflow = 0\n";

fn with_broken_app(config: &str) -> tempfile::TempDir {
    let folder = folder(config);
    fs::write(folder.path().join("bad.py"), "import nonsense_that_is_not_there\n").unwrap();
    folder
}

/// R13: the server exits when each pool has used up its restarts and no worker has ever been ready. Whoever started it
/// must notice, and can start it again.
#[test]
fn r13_a_server_without_any_worker_ends_with_1() {
    let restart = "restart = { max = 1, backoff = '1ms' }\n";
    let config = format!("{BROKEN}{restart}{}{restart}", BROKEN.replace("pools.bad", "pools.worse"));
    let mut server = Server::start(with_broken_app(&config), &[], &[]);
    assert_eq!(server.wait().code(), Some(1));
    let log = server.log();
    let last = log.split("\nerror: ").last().unwrap();
    assert!(last.starts_with("no worker of any pool could be started"), "{log}");
    for pool in ["`bad`: ", "`worse`: "] {
        assert!(last.contains(pool) && last.contains("nonsense_that_is_not_there"), "{log}");
    }
}

/// R13: the server continues if one worker is ready, whatever fails in this pool or another. It can then be stopped
/// gracefully.
#[test]
fn r13_a_server_with_a_worker_continues() {
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
        server.until_logged("pool failed: too many deaths and failed starts of workers");
        server.until_logged("retry_in=30s");
        if config.contains("pools.bad") {
            let mut commands = herder(server.folder.path(), &["commands", "bad", "--url", &server.url()]);
            let output = commands.output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert!(
                output.status.code() == Some(1) && err.contains("the pool is failed: `herder status bad`"),
                "{err}"
            );
        }
        assert_eq!(server.call("one/echo", r#"{"x": 1}"#, &[]).result()["x"], 1);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    }
}

/// R13: a signal before all restarts are used up gives the same error. A signal before any start has failed does not.
#[test]
fn r13_a_signal_does_not_hide_that_no_worker_started() {
    let restart = "restart = { max = 1000, backoff = '10m', max_backoff = '10m' }\n";
    let mut server = Server::start(with_broken_app(&format!("{BROKEN}{restart}")), &[], &[]);
    server.until_logged("worker failed to start");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.log().contains("\nerror: no worker of any pool could be started"), "{}", server.log());
    let slow = with_broken_app(BROKEN);
    fs::write(slow.path().join("bad.py"), "import time\nopen('begun', 'w').close()\ntime.sleep(600)\n").unwrap();
    let mut server = Server::start(slow, &[], &[]);
    wait_until("the worker starts", || server.file("begun").exists());
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_port_in_use_is_reported() {
    let server = Server::start(folder(ONE), &[], &[]);
    let folder = folder(ONE);
    let output = herder(folder.path(), &["serve", "--listen", &server.address.to_string()]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("{} is already in use", server.address)) && error.ends_with("with --listen\n"),
        "{error}"
    );
    assert!(output.stdout.is_empty(), "{error}");
}

/// R40: the server's log contains the output of workers, with the name of the worker.
#[test]
fn r40_output_of_workers_is_logged() {
    let server = Server::with(ONE);
    assert_eq!(server.call("one/tell", r#"{"text": "hello from python"}"#, &[]).status, 200);
    wait_until("the output is logged", || {
        server.log().lines().any(|line| line.contains("hello from python") && line.contains("w1"))
    });
}
